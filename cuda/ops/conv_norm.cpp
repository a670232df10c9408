// Convolutions that hand batch norm its sums: by cuDNN, whose kernels make them as they store their result,
// and else by our convolutions with a reading of the result behind them. The latter save nothing: they exist
// so that every op of the registry runs, and the pass fuse-sums makes these ops only for a library's kernel
// (CudaBackend::accelerates).
#include "core/ops/conv_norm.h"

#include "core/ops/norm.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/ops/clip.h"
#include "cuda/ops/conv_problem.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

BatchNormShape image_shape(const Shape& s) {
  BatchNormShape b{s[0], 1, s[1]};
  for (int d = 2; d < s.rank(); ++d) b.pixels *= s[d];
  return b;
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

std::unique_ptr<Step> lower_conv2d_sums(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return nullptr;
  const ConvProblem q = problem_of(p, p.attrs<Conv2dAttrs>(), p.in(0).shape, p.in(1).shape);
  const BatchNormShape s = image_shape(p.out().shape);
  return launch_step(
      "conv+sums",
      [q, s](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        conv_forward(q, in[0], in[1], out[0], {}, workspace, stream);
        batch_norm_grad_sums({.dtype = q.dtype}, s,
                             {.dy = out[0], .x = out[0], .dgamma = out[2], .dbeta = out[1]}, workspace,
                             stream);
      },
      std::max(conv_forward_workspace(q), batch_norm_sums_workspace(q.dtype, s)));
}

// y is made once more, for its sign, and the convolution's result lies where u will.
std::unique_ptr<Step> lower_grad_input_sums(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return nullptr;
  const auto& a = p.attrs<Conv2dGradInputSumsAttrs>();
  const ConvProblem q = problem_of(p, a, p.out().shape, p.in(1).shape);
  const BatchNormShape s = image_shape(p.out().shape);
  const BatchNormConfig config{.dtype = q.dtype, .params = p.in(3).dtype, .clip = Clip::relu()};
  const bool two = a.has_residual || a.has_second;
  const std::size_t y_bytes = two ? aligned(p.out().bytes()) : 0;
  return launch_step(
      "conv_grad_input+sums",
      [q, s, config, y_bytes, two, second = a.has_second](void* const* in, void* const* out, void* workspace,
                                                          const Stream& stream) {
        void* const rest = static_cast<std::byte*>(workspace) + y_bytes;
        conv_grad_input(q, in[0], in[1], out[0], rest, stream);
        BatchNormGradOperands o{.dy = out[0],
                                .x = in[2],
                                .gamma = in[3],
                                .save_mean = in[5],
                                .save_rstd = in[6],
                                .beta = in[4],
                                .dgamma = out[1],
                                .dbeta = out[2],
                                .dresidual = out[0]};
        if (two) {
          BatchNormInferOperands y{.x = in[2],
                                   .gamma = in[3],
                                   .beta = in[4],
                                   .mean = in[5],
                                   .rstd = in[6],
                                   .residual = second ? nullptr : in[8],
                                   .y = workspace};
          if (second)
            batch_norm_infer_two(config, s, y,
                                 {.x = in[8], .gamma = in[9], .beta = in[10], .mean = in[11], .rstd = in[12]},
                                 stream);
          else
            batch_norm_infer(config, s, y, stream);
          o.y = workspace, o.dy2 = in[7];
        }
        batch_norm_grad_sums(config, s, o, rest, stream);
        if (second)
          batch_norm_grad_sums({.dtype = config.dtype, .params = config.params}, s,
                               {.dy = out[0],
                                .x = in[8],
                                .save_mean = in[11],
                                .save_rstd = in[12],
                                .dgamma = out[3],
                                .dbeta = out[4]},
                               rest, stream);
      },
      y_bytes + std::max(conv_grad_input_workspace(q), batch_norm_sums_workspace(q.dtype, s)));
}

std::unique_ptr<Step> lower_statistics(const Problem& p) {
  if (!all_plain(p) || p.in(0).dtype != DType::F32 || !is_float(p.in(2).dtype)) return nullptr;
  const auto& a = p.attrs<BatchNormStatisticsAttrs>();
  const DType params = p.in(2).dtype;
  return launch_step(
      "batch_norm",
      [config = BatchNormConfig{.dtype = params, .params = params, .eps = a.eps, .momentum = a.momentum},
       s = BatchNormShape{a.rows, a.pixels, p.in(0).numel()},
       valid = a.has_valid](void* const* in, void* const* out, void*, const Stream& stream) {
        batch_norm_statistics(config, s, in[0], in[1],
                              {.running_mean = in[2],
                               .running_var = in[3],
                               .valid_rows = valid ? static_cast<const std::int32_t*>(in[4]) : nullptr,
                               .save_mean = out[0],
                               .save_rstd = out[1],
                               .new_running_mean = out[2],
                               .new_running_var = out[3]},
                              stream);
      },
      0, {{2, 2}, {3, 3}});
}

bool lies_well(const Problem& p, const TensorType& x) {
  return is_float(x.dtype) && all_channels_innermost(p);
}

std::unique_ptr<Step> lower_grad_apply(const Problem& p) {
  const TensorType& x = p.in(1);
  if (!lies_well(p, x)) return nullptr;
  const auto& a = p.attrs<BatchNormGradApplyAttrs>();
  return launch_step(
      "batch_norm",
      [config = BatchNormConfig{.dtype = x.dtype, .params = p.in(2).dtype}, s = image_shape(x.shape),
       second = a.has_second, valid = a.has_valid ? p.num_inputs() - 1 : -1](
          void* const* in, void* const* out, void*, const Stream& stream) {
        BatchNormGradOperands o{.dy = in[0],
                                .x = in[1],
                                .gamma = in[2],
                                .save_mean = in[3],
                                .save_rstd = in[4],
                                .dx = out[0],
                                .dgamma = in[5],
                                .dbeta = in[6]};
        if (valid >= 0) o.valid_rows = static_cast<const std::int32_t*>(in[valid]);
        if (second)
          batch_norm_grad_apply_two(config, s, o,
                                    {.x = in[7],
                                     .gamma = in[8],
                                     .save_mean = in[9],
                                     .save_rstd = in[10],
                                     .dx = out[1],
                                     .dgamma = in[11],
                                     .dbeta = in[12]},
                                    stream);
        else
          batch_norm_grad_apply(config, s, o, stream);
      },
      0, op("batch_norm_grad_apply").in_place(p.node.attrs, p.num_inputs()));
}

std::unique_ptr<Step> lower_apply_two(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!lies_well(p, x)) return nullptr;
  const auto& a = p.attrs<BatchNormApplyAttrs>();
  return launch_step(
      "batch_norm",
      [config =
           BatchNormConfig{.dtype = x.dtype, .params = p.in(1).dtype, .clip = clip_named(p, a.activation)},
       s = image_shape(x.shape),
       valid = a.has_valid](void* const* in, void* const* out, void*, const Stream& stream) {
        batch_norm_infer_two(config, s,
                             {.x = in[0],
                              .gamma = in[1],
                              .beta = in[2],
                              .mean = in[3],
                              .rstd = in[4],
                              .valid_rows = valid ? static_cast<const std::int32_t*>(in[10]) : nullptr,
                              .y = out[0]},
                             {.x = in[5], .gamma = in[6], .beta = in[7], .mean = in[8], .rstd = in[9]},
                             stream);
      },
      0, {{0, 0}, {5, 0}});
}

}  // namespace

void add_conv_norm(LoweringTable& table) {
  const auto both = [&](const char* op, LowerFn cudnn, LowerFn own) {
    table.add(
        op, {.lower = cudnn, .layouts = channels_last_layouts, .name = "cudnn", .alternatives = kCudnnPlans});
    table.add(op, {.lower = own, .layouts = channels_last_layouts});
  };
  both("conv2d_sums", cudnn_conv2d_sums, lower_conv2d_sums);
  both("conv2d_grad_input_sums", cudnn_conv2d_grad_input_sums, lower_grad_input_sums);
  table.add("batch_norm_statistics", {.lower = lower_statistics});
  table.add("batch_norm_grad_apply", {.lower = lower_grad_apply, .layouts = channels_innermost_layouts});
  table.add("batch_norm_apply_two", {.lower = lower_apply_two, .layouts = channels_innermost_layouts});
}

}  // namespace ingot::cuda
