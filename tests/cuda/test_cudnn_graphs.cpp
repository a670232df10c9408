// Batch norm, its gradient and average pooling as cuDNN understood them, read back from its descriptors
// (tests/support/cudnn_recorder): dims, channels-last strides, types, which tensor plays which part, what is
// passed by value, window, strides and paddings. Without a driver cuDNN lists no engines for them, which are
// compiled on the spot, so this is as far as it goes here; plans are made in driver_stub/test_plans.cpp.
#if defined(INGOT_CUDNN_RECORDER)
#include "core/base/error.h"
#include "cuda/libs/cudnn.h"
#include "io/target_file.h"
#include "tests/support/cudnn_recorder/recording.h"

namespace ingot::test {
namespace {

class CudnnGraphs : public CudnnRecording {};

CudnnTensor numbered(std::int64_t id, CudnnTensor t) {
  t.id = id;
  return t;
}
// Numbers passed by value and tensors between two steps have identifiers of the frontend's choice.
std::int64_t id_of(const CudnnOperation& o, cudnnBackendAttributeName_t name) {
  const auto at = o.tensors.find(name);
  return at == o.tensors.end() ? -1 : at->second.id;
}

std::vector<CudnnOperation> recorded(const cuda::CudnnProblem& problem) {
  const cuda::CudnnPlans found = cuda::cudnn_plans(problem, read_target("h200"));
  const CudnnRecord r = taken();
  EXPECT_EQ(join(r.faults), "");
  EXPECT_TRUE(found.plans.empty() || !r.plans.empty());
  if (found.plans.empty()) {
    EXPECT_EQ(found.why.find("cuDNN has no plan: "), 0u) << found.why;
  }
  EXPECT_EQ(r.graphs.size(), 1u) << found.why;
  return r.graphs.empty() ? std::vector<CudnnOperation>{CudnnOperation{}} : r.graphs[0];
}

const Shape kImages{6, 24, 10, 7};

cuda::CudnnBatchNorm batch_norm_of(DType dtype) {
  cuda::CudnnBatchNorm p;
  p.dtype = dtype;
  p.n = kImages[0], p.c = kImages[1], p.h = kImages[2], p.w = kImages[3];
  return p;
}

TEST_F(CudnnGraphs, BatchNormAsMeant) {
  const CudnnTensor each = channels_last({1, kImages[1], 1, 1}, DType::F32);
  for (const DType dtype : kCudnnTypes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        cuda::CudnnBatchNorm p = batch_norm_of(dtype);
        p.eps = 1e-3, p.momentum = 0.25, p.residual = residual, p.relu = relu;
        SCOPED_TRACE(cuda::to_string(p));
        const std::vector<CudnnOperation> seen = recorded(p);
        const CudnnTensor image = channels_last(kImages, dtype);
        CudnnTensor number = channels_last({1, 1, 1, 1}, DType::F32);
        number.by_value = true;
        CudnnOperation norm;
        norm.kind = CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR;
        norm.norm = CUDNN_BATCH_NORM, norm.phase = CUDNN_NORM_FWD_TRAINING;
        const auto has = [&](cudnnBackendAttributeName_t name, std::int64_t id, const CudnnTensor& t) {
          norm.tensors[name] = numbered(id, t);
        };
        const bool alone = !residual && !relu;
        has(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, 1, image);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, 11, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, 12, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC, 17, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC, 18, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, 13, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, 14, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC, 19, each);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC, 20, each);
        for (const auto name :
             {CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC})
          has(name, id_of(seen[0], name), number);
        has(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC,
            alone ? 5 : id_of(seen[0], CUDNN_ATTR_OPERATION_NORM_FWD_YDESC), alone ? image : between(image));
        EXPECT_NE(id_of(seen[0], CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC),
                  id_of(seen[0], CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC));
        std::vector<CudnnOperation> want{norm};
        const auto then = [&](cudnnPointwiseMode_t mode, bool last) {
          CudnnOperation o;
          o.mode = mode, o.beta = 1.0;
          o.x = between(image), o.y = last ? image : between(image);
          o.has_w = mode == CUDNN_POINTWISE_ADD;
          if (o.has_w) o.w = image;
          want.push_back(o);
        };
        if (residual) then(CUDNN_POINTWISE_ADD, !relu);
        if (relu) then(CUDNN_POINTWISE_RELU_FWD, true);
        EXPECT_EQ(text(seen), text(want));
        if (residual) {
          EXPECT_EQ(seen.at(1).w.id, 4);
        }
        if (!alone) {
          EXPECT_EQ(seen.back().y.id, 5);
        }
      }
}

TEST_F(CudnnGraphs, BatchNormGradAsMeant) {
  const CudnnTensor each = channels_last({1, kImages[1], 1, 1}, DType::F32);
  for (const DType dtype : kCudnnTypes) {
    cuda::CudnnBatchNorm p = batch_norm_of(dtype);
    p.backward = true;
    SCOPED_TRACE(cuda::to_string(p));
    const CudnnTensor image = channels_last(kImages, dtype);
    CudnnOperation norm;
    norm.kind = CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR;
    norm.norm = CUDNN_BATCH_NORM;
    norm.tensors = {{CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, numbered(1, image)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, numbered(2, image)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, numbered(11, each)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, numbered(13, each)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, numbered(14, each)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, numbered(3, image)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, numbered(15, each)},
                    {CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, numbered(16, each)}};
    EXPECT_EQ(text(recorded(p)), text(std::vector{norm}));
  }
}

TEST_F(CudnnGraphs, AveragePoolingAsMeant) {
  for (const DType dtype : kCudnnTypes)
    for (const bool count_include_pad : {false, true}) {
      cuda::CudnnAveragePool p;
      p.dtype = dtype;
      p.n = kImages[0], p.c = kImages[1], p.h = kImages[2], p.w = kImages[3];
      p.kernel = {3, 2}, p.stride = {2, 3}, p.padding = {1, 0}, p.end = {0, 1};
      p.oh = 5, p.ow = 3;
      p.count_include_pad = count_include_pad;
      SCOPED_TRACE(cuda::to_string(p));
      CudnnOperation pool;
      pool.kind = CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR;
      pool.resample =
          count_include_pad ? CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING : CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING;
      pool.padding = CUDNN_ZERO_PAD, pool.nan = CUDNN_PROPAGATE_NAN;
      pool.window = {3, 2}, pool.padding_before = {1, 0}, pool.padding_behind = {0, 1}, pool.stride = {2, 3};
      pool.tensors = {{CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC, numbered(1, channels_last(kImages, dtype))},
                      {CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC,
                       numbered(2, channels_last({kImages[0], kImages[1], p.oh, p.ow}, dtype))}};
      EXPECT_EQ(text(recorded(p)), text(std::vector{pool}));
    }
}

}  // namespace
}  // namespace ingot::test

#else
#include "gtest/gtest.h"

TEST(CudnnGraphs, NeedsCudnn) {
  GTEST_SKIP() << "this build has no cuDNN to ask: it was configured without cudnn.h, cudnn_frontend.h, "
                  "libcudnn or nvcc";
}
#endif
