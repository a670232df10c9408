// Generated kernels of these tests are compiled by g++, for the simulated device. A program without this
// file, that of the GPU (gpu/kernels_main.cpp), has them compiled by NVRTC.
#include <memory>

#include "cuda/ops/generated_kernel.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/cuda_sim/gxx_compiler.h"

namespace ingot {
namespace {

[[maybe_unused]] const bool chosen = [] {
  cuda::use_kernel_compiler(std::make_unique<sim::GxxCompiler>(kChecksAccesses));
  return true;
}();

}  // namespace
}  // namespace ingot
