// Batch norm and average pooling by engines that cuDNN compiles for the device at hand.
#include "core/ops/norm.h"
#include "core/ops/pool.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// Why the node is not for these engines, `x` being its image, or "".
std::string refuses(const Problem& p, const TensorType& x) {
  if (!p.target.described.empty())
    return "cuDNN compiles this for the device at hand, and the target is only described";
  if (!is_float(x.dtype)) return "cuDNN is used for f32, f16 and bf16";
  const auto lies_well = [&](const TensorType& t) {
    return t.shape == x.shape || t.shape.rank() == 4 ? lies_channels_last(t) : is_plain(t);
  };
  if (!all_operands(p, lies_well)) return "cuDNN is given channels-last images";
  return cudnn_refuses(p);
}

// All of the node's statistics, scales and shifts, which are its operands of one axis.
bool channels_are_f32(const Problem& p) {
  return all_operands(p, [](const TensorType& t) { return t.shape.rank() != 1 || t.dtype == DType::F32; });
}

CudnnBatchNorm batch_norm_of(const Problem& p, const TensorType& x) {
  CudnnBatchNorm q;
  q.dtype = x.dtype;
  q.n = x.shape[0], q.c = x.shape[1], q.h = x.shape[2], q.w = x.shape[3];
  q.deterministic = p.target.deterministic;
  return q;
}

}  // namespace

std::unique_ptr<Step> cudnn_batch_norm(const Problem& p) {
  if (const std::string why = refuses(p, p.in(0)); !why.empty()) return p.decline(why);
  const auto& a = p.attrs<BatchNormAttrs>();
  if (a.has_valid) return p.decline("cuDNN's batch norm has no count of valid rows");
  if (!a.activation.empty() && a.activation != "relu")
    return p.decline("cuDNN's batch norm has no activation ", a.activation);
  if (!channels_are_f32(p)) return p.decline("cuDNN is given scales and statistics in f32");
  CudnnBatchNorm q = batch_norm_of(p, p.in(0));
  q.eps = a.eps, q.momentum = a.momentum;
  q.residual = a.has_residual, q.relu = a.activation == "relu";
  // One pass over the channels writes the running statistics after it has read them.
  return cudnn_step(p, q, kCompiledCudnnPlans, {{3, 3}, {4, 4}});
}

std::unique_ptr<Step> cudnn_batch_norm_grad(const Problem& p) {
  if (const std::string why = refuses(p, p.in(1)); !why.empty()) return p.decline(why);
  const auto& a = p.attrs<BatchNormGradAttrs>();
  if (a.has_valid) return p.decline("cuDNN's batch norm has no count of valid rows");
  if (!a.activation.empty() || a.has_residual || a.has_dy2)
    return p.decline("cuDNN has no engine for the gradient of batch norm with an epilogue");
  if (!channels_are_f32(p)) return p.decline("cuDNN is given scales and statistics in f32");
  CudnnBatchNorm q = batch_norm_of(p, p.in(1));
  q.backward = true, q.eps = a.eps;
  return cudnn_step(p, q, kCompiledCudnnPlans);
}

std::unique_ptr<Step> cudnn_avg_pool2d(const Problem& p) {
  const TensorType &x = p.in(0), &y = p.out();
  if (const std::string why = refuses(p, x); !why.empty()) return p.decline(why);
  const auto& a = p.attrs<AvgPool2dAttrs>();
  CudnnAveragePool q;
  q.dtype = x.dtype;
  q.n = x.shape[0], q.c = x.shape[1], q.h = x.shape[2], q.w = x.shape[3];
  q.oh = y.shape[2], q.ow = y.shape[3];
  q.kernel = a.kernel, q.stride = a.stride, q.padding = a.padding;
  q.count_include_pad = a.count_include_pad;
  q.deterministic = p.target.deterministic;
  for (const std::size_t i : {0u, 1u}) {
    const std::int64_t in = x.shape[static_cast<int>(i) + 2], out = y.shape[static_cast<int>(i) + 2];
    q.end[i] = std::max<std::int64_t>((out - 1) * a.stride[i] + a.kernel[i] - in - a.padding[i], 0);
    // What ceil_mode reaches beyond the padding is not counted by us, and is by cuDNN.
    if (q.end[i] > a.padding[i] && a.count_include_pad)
      return p.decline("cuDNN counts cells beyond the padding, which a window of ceil_mode reaches");
  }
  return cudnn_step(p, q, kCompiledCudnnPlans);
}

}  // namespace ingot::cuda
