// Thousands of generated kernels compile much faster together than one by one: when all op cases run, their
// kernels are compiled before the first test.
#include "core/base/error.h"
#include "cuda/ops/generated_kernel.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/typed_case.h"

namespace ingot::test {
namespace {

void expect_all(const CaseIn& p) {
  for (const bool mixed : {false, true}) {
    if (mixed && p.dtype == DType::F32) continue;
    const auto t = typed_case(p.c, p.dtype, mixed);
    if (!t) continue;
    for (std::uint32_t n = 0; n < t->graph.nodes().size(); ++n) expect_on_device(t->graph, {n});
    for (const Graph& g : image_layouts(t->graph)) expect_on_device(g, {0});
    if (mixed) continue;
    try {
      expect_on_device(*compile(t->graph, {.target = cuda_target()}));
    } catch (const UsageError&) {
      // The backend refuses it; the test of the case says so.
    }
  }
}

class GeneratedKernelsOfTests final : public testing::Environment {
  void SetUp() override {
    const std::vector<CaseIn> cases = all_cases();
    if (testing::UnitTest::GetInstance()->test_to_run_count() < static_cast<int>(cases.size())) return;
    for (const CaseIn& p : cases) expect_all(p);
    cuda::compile_generated_kernels();
  }
};

[[maybe_unused]] const auto* const environment =
    testing::AddGlobalTestEnvironment(new GeneratedKernelsOfTests);

}  // namespace
}  // namespace ingot::test
