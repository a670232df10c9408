// Generated kernels of these programs are compiled by g++, for the simulated device.
#include "cuda/ops/generated_kernel.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/cuda_sim/gxx_compiler.h"

namespace ingot {
namespace {

class UseGxx final : public testing::Environment {
  void SetUp() override { cuda::use_kernel_compiler(std::make_unique<sim::GxxCompiler>(kChecksAccesses)); }
};

[[maybe_unused]] const auto* const use_gxx = testing::AddGlobalTestEnvironment(new UseGxx);

}  // namespace
}  // namespace ingot
