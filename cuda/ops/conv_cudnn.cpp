// Convolutions by cuDNN.
#include "core/ops/conv_norm.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

template <class A>
std::unique_ptr<Step> planned(const Problem& p, const A& a, ConvDirection direction, const TensorType& x,
                              const TensorType& w, const TensorType& y, CudnnConv q = {}) {
  if (const std::string why = cudnn_refuses(p); !why.empty()) return p.decline(why);
  q.direction = direction;
  q.dtype = x.dtype;
  q.n = x.shape[0], q.c = x.shape[1], q.h = x.shape[2], q.w = x.shape[3];
  q.o = w.shape[0], q.kh = w.shape[2], q.kw = w.shape[3];
  q.oh = y.shape[2], q.ow = y.shape[3];
  q.stride = a.stride, q.padding = a.padding, q.dilation = a.dilation;
  q.groups = a.groups;
  q.allow_tf32 = p.target.allow_tf32;
  q.deterministic = p.target.deterministic;
  return cudnn_step(p, q, kCudnnPlans);
}

constexpr const char* kLayouts = "cuDNN is used for channels-last f32, f16 and bf16";

// Parameters and sums lie in f32, all else in f16: no other types have engines.
std::string sums_refuse(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return kLayouts;
  const bool known = all_operands(
      p, [](const TensorType& t) { return t.dtype == (t.shape.rank() == 1 ? DType::F32 : DType::F16); });
  return known ? "" : "cuDNN sums a convolution's result in f16, with parameters in f32";
}

}  // namespace

std::unique_ptr<Step> cudnn_conv2d(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  const auto& a = p.attrs<Conv2dAttrs>();
  if (!a.activation.empty() && a.activation != "relu")
    return p.decline("cuDNN's precompiled engines have no activation ", a.activation);
  CudnnConv q;
  q.bias = a.has_bias, q.residual = a.has_residual, q.relu = !a.activation.empty();
  return planned(p, a, ConvDirection::Forward, p.in(0), p.in(1), p.out(), q);
}

std::unique_ptr<Step> cudnn_conv2d_grad_input(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  return planned(p, p.attrs<Conv2dGradInputAttrs>(), ConvDirection::GradInput, p.out(), p.in(1), p.in(0));
}

std::unique_ptr<Step> cudnn_conv2d_grad_weight(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  return planned(p, p.attrs<Conv2dGradWeightAttrs>(), ConvDirection::GradWeight, p.in(0), p.out(), p.in(1));
}

std::unique_ptr<Step> cudnn_conv2d_sums(const Problem& p) {
  if (const std::string why = sums_refuse(p); !why.empty()) return p.decline(why);
  CudnnConv q;
  q.sums = true;
  return planned(p, p.attrs<Conv2dAttrs>(), ConvDirection::Forward, p.in(0), p.in(1), p.out(), q);
}

std::unique_ptr<Step> cudnn_conv2d_grad_input_sums(const Problem& p) {
  if (const std::string why = sums_refuse(p); !why.empty()) return p.decline(why);
  const auto& a = p.attrs<Conv2dGradInputSumsAttrs>();
  CudnnConv q;
  q.sums = true, q.residual = a.has_residual, q.second = a.has_second;
  return planned(p, a, ConvDirection::GradInput, p.out(), p.in(1), p.in(0), q);
}

}  // namespace ingot::cuda
