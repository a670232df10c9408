// What cuDNN understood: operation graphs, heuristics and plans, read back from cuDNN's own descriptors by
// cudnnBackendGetAttribute, so that a test compares them with what Ingot meant.
//
// The recorder is a shared object that stands in front of the real libcudnn: it exports the functions that
// make descriptors, forwards each call, and reads a descriptor after cuDNN finalised it. Its other functions
// are found in libcudnn, which it depends on. What cuDNN 9.19 does not give back is kept from the call that
// set it: a tensor's alignment, whether a convolution flips its kernel, what an elementwise step computes,
// scales, which tensor plays which part, what kind of norm it is, and with what pooling pads (it says 1 for
// 0). An operation shows its tensors with the axis of groups that cuDNN inserts, an image as [N, G, C/G, H,
// W], weights as [G, O/G, C/G, KH, KW].
//
//   void* recorder = dlopen(INGOT_CUDNN_RECORDER, RTLD_NOW);
//   cuda::use_cudnn(recorder);                                  // before the process's first plan
//   auto* take = reinterpret_cast<void (*)(CudnnRecord*)>(dlsym(recorder, "take_cudnn_record"));
//   CudnnRecord r;
//   take(&r);                                                   // since the last call
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ingot::test {

struct CudnnTensor {
  std::int64_t id = 0;
  std::vector<std::int64_t> dims, strides;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  bool is_virtual = false, by_value = false;
  std::int64_t alignment = 0, vector_count = 0;
  std::vector<std::int64_t> grouped_dims{}, grouped_strides{};  // of a convolution's
};

// A convolution or its gradient (x: image, w: weight, y: result), an elementwise step (y of x, w), or
// another operation with all of its tensors by the attributes that name them.
struct CudnnOperation {
  cudnnBackendDescriptorType_t kind = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
  CudnnTensor x, w, y;
  bool has_w = true;
  cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  // Convolutions.
  cudnnConvolutionMode_t flipped = CUDNN_CROSS_CORRELATION;
  std::vector<std::int64_t> padding_before, padding_behind, stride, dilation;
  // y = alpha * op + beta * y for convolutions, op(alpha * x, beta * w) for elementwise steps.
  double alpha = 1.0, beta = 0.0;
  // Elementwise steps.
  cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
  // Norms and pooling.
  std::map<cudnnBackendAttributeName_t, CudnnTensor> tensors{};
  cudnnBackendNormMode_t norm = CUDNN_LAYER_NORM;
  cudnnBackendNormFwdPhase_t phase = CUDNN_NORM_FWD_INFERENCE;
  // Pooling, whose paddings and strides are those of convolutions.
  std::vector<std::int64_t> window{};
  cudnnResampleMode_t resample = CUDNN_RESAMPLE_NEAREST;
  cudnnPaddingMode_t padding = CUDNN_NEG_INF_PAD;
  cudnnNanPropagation_t nan = CUDNN_NOT_PROPAGATE_NAN;
};

struct CudnnEngine {
  std::int64_t index = -1;
  std::vector<cudnnBackendNumericalNote_t> numerics;
  std::vector<cudnnBackendBehaviorNote_t> behaviors;

  bool operator==(const CudnnEngine&) const = default;
};

struct CudnnRecordedPlan {
  CudnnEngine engine;
  bool accepted = false;
  std::int64_t workspace_bytes = 0;
};

struct CudnnRecord {
  std::vector<std::vector<CudnnOperation>> graphs;
  std::vector<CudnnEngine> heuristics;   // as the heuristics listed them, best first
  std::vector<CudnnRecordedPlan> plans;  // in the order of trying
  std::vector<std::string> faults;       // descriptors that could not be read back
};

}  // namespace ingot::test
