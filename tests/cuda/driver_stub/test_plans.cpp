// Plans of cuDNN's for batch norm, its gradient and average pooling, whose engines it compiles on the spot:
// with a driver that has no device (make_stub.py) it makes them for a described GPU. Each problem that
// Ingot's lowerings pose has a plan, the first that the target's promises allow, or is known to have none.
#include "core/base/error.h"
#include "cuda/libs/cudnn.h"
#include "io/target_file.h"
#include "tests/support/cudnn_recorder/recording.h"

namespace ingot::test {
namespace {

class CudnnCompiledPlans : public CudnnRecording {};

// Whether there is a plan as it should be.
void expect_plan(const cuda::CudnnProblem& problem) {
  SCOPED_TRACE(cuda::to_string(problem));
  const cuda::CudnnPlans found = cuda::cudnn_plans(problem, read_target("h200"));
  const CudnnRecord record = taken();
  EXPECT_EQ(join(record.faults), "");
  ASSERT_EQ(found.plans.size(), 1u) << found.why;
  expect_first_allowed(found.plans[0]->name, found.plans[0]->workspace_bytes, record, true, false);
  // What makes it wait for a driver. Another engine would need none, and could come before our own kernels.
  ASSERT_FALSE(record.plans.empty());
  EXPECT_TRUE(has(record.plans.back().engine, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION));
}

cuda::CudnnBatchNorm batch_norm_of(DType dtype) {
  cuda::CudnnBatchNorm p;
  p.dtype = dtype;
  p.n = 32, p.c = 64, p.h = 56, p.w = 56;
  return p;
}

TEST_F(CudnnCompiledPlans, BatchNorm) {
  for (const DType dtype : kCudnnTypes) {
    cuda::CudnnBatchNorm p = batch_norm_of(dtype);
    expect_plan(p);
    p.relu = true;
    expect_plan(p);
    p.residual = true;
    expect_plan(p);
  }
}

// As cuda/libs/cudnn.h says: it is declined with cuDNN's reason in one line.
TEST_F(CudnnCompiledPlans, AResidualWithoutAReluHasNone) {
  for (const DType dtype : kCudnnTypes) {
    cuda::CudnnBatchNorm p = batch_norm_of(dtype);
    p.residual = true;
    const cuda::CudnnPlans found = cuda::cudnn_plans(p, read_target("h200"));
    EXPECT_TRUE(found.plans.empty()) << found.plans[0]->name;
    EXPECT_EQ(found.why.find("cuDNN has no plan: "), 0u) << found.why;
    EXPECT_EQ(found.why.find('\n'), std::string::npos) << found.why;
  }
}

TEST_F(CudnnCompiledPlans, BatchNormGrad) {
  for (const DType dtype : kCudnnTypes) {
    cuda::CudnnBatchNorm p = batch_norm_of(dtype);
    p.backward = true;
    expect_plan(p);
  }
}

// ResNet's and Inception's windows, and what ceil_mode reaches behind the image.
TEST_F(CudnnCompiledPlans, AveragePooling) {
  const cuda::CudnnAveragePool halved{.n = 32, .c = 64, .h = 56, .w = 56, .oh = 28, .ow = 28};
  cuda::CudnnAveragePool same = halved;
  same.oh = same.ow = 56, same.kernel = {3, 3}, same.stride = {1, 1}, same.padding = same.end = {1, 1};
  cuda::CudnnAveragePool beyond = halved;
  beyond.h = 55, beyond.kernel = {3, 2}, beyond.padding = {0, 0}, beyond.end = {2, 0};
  beyond.oh = 28, beyond.count_include_pad = false;
  cuda::CudnnAveragePool cut = halved;  // no window reaches the last row
  cut.h = 57;
  for (const DType dtype : kCudnnTypes)
    for (cuda::CudnnAveragePool p : {halved, same, beyond, cut}) {
      p.dtype = dtype;
      expect_plan(p);
    }
  same.count_include_pad = false;
  expect_plan(same);
}

}  // namespace
}  // namespace ingot::test
