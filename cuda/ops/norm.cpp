// Batch norm of channels-last tensors, in training and inference, group norm of such, and layer norm of
// row-major ones.
#include "core/ops/norm.h"

#include "core/ops/group_norm.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/group_norm.h"
#include "cuda/kernels/layer_norm.h"
#include "cuda/ops/clip.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// [N, C, ...] with the channels innermost.
TensorType channels_last(const TensorType& t) {
  return {t.dtype, t.shape, Layout::channels_last(t.shape.rank())};
}

// Every operand and result of x's shape lies channels-last, every other one row-major.
bool lies_well(const Problem& p, const TensorType& x) {
  if (!is_float(x.dtype)) return false;
  const auto well = [&](const TensorType& t) {
    return t.same_memory(t.shape == x.shape && t.shape.rank() > 1 ? channels_last(t)
                                                                  : TensorType{t.dtype, t.shape});
  };
  return all_operands(p, well);
}

// The layouts that lies_well() asks for; operand `model` is x.
template <int model>
Backend::Layouts last_channels(const Problem& p, const std::vector<bool>&) {
  const Shape& x = p.in(model).shape;
  const auto of = [&](const TensorType& t) {
    return t.shape == x && x.rank() > 1 ? Layout::channels_last(x.rank()) : Layout::row_major();
  };
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs.push_back(of(p.in(i)));
  for (int i = 0; i < p.num_outputs(); ++i) l.outputs.push_back(of(p.out(i)));
  return l;
}

BatchNormShape batch_shape(const Shape& x) {
  BatchNormShape s{x[0], 1, x[1]};
  for (int d = 2; d < x.rank(); ++d) s.pixels *= x[d];
  return s;
}

const std::int32_t* rows_at(void* const* in, bool present) {
  return present ? static_cast<const std::int32_t*>(in[5]) : nullptr;
}

std::unique_ptr<Step> lower_batch_norm(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!lies_well(p, x)) return nullptr;
  const auto& at = p.attrs<BatchNormAttrs>();
  const BatchNormConfig config{x.dtype, p.in(1).dtype, at.eps, at.momentum, clip_named(p, at.activation)};
  const BatchNormShape s = batch_shape(x.shape);
  const int residual = at.has_residual ? p.num_inputs() - 1 : -1;
  std::vector<std::array<int, 2>> in_place{{0, 0}, {3, 3}, {4, 4}};
  if (residual >= 0) in_place.push_back({residual, 0});
  return launch_step(
      "batch_norm",
      [=, valid = at.has_valid](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        batch_norm(config, s,
                   {in[0], in[1], in[2], in[3], in[4], rows_at(in, valid),
                    residual >= 0 ? in[residual] : nullptr, out[0], out[1], out[2], out[3], out[4]},
                   workspace, stream);
      },
      batch_norm_workspace(x.dtype, s), std::move(in_place));
}

std::unique_ptr<Step> lower_batch_norm_grad(const Problem& p) {
  const TensorType& x = p.in(1);
  if (!lies_well(p, x)) return nullptr;
  const auto& at = p.attrs<BatchNormGradAttrs>();
  const BatchNormConfig config{x.dtype, p.in(2).dtype, at.eps, 0.0, clip_named(p, at.activation)};
  const BatchNormShape s = batch_shape(x.shape);
  return launch_step(
      "batch_norm",
      [=, valid = at.has_valid, last = p.num_inputs() - 1, residual = at.has_residual, both = at.has_dy2,
       from_x = at.mask_from_x](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        batch_norm_grad(
            config, s,
            {in[0], in[1], in[2], in[3], in[4], rows_at(in, valid),
             config.clip.masks() && !from_x ? in[5 + valid] : nullptr, from_x ? in[5 + valid] : nullptr,
             both ? in[last] : nullptr, out[0], out[1], out[2], residual ? out[3] : nullptr},
            workspace, stream);
      },
      batch_norm_workspace(x.dtype, s, at.has_dy2),
      op("batch_norm_grad").in_place(p.node.attrs, p.num_inputs()));
}

std::unique_ptr<Step> lower_batch_norm_apply(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!lies_well(p, x)) return nullptr;
  const auto& at = p.attrs<BatchNormApplyAttrs>();
  const BatchNormConfig config{
      .dtype = x.dtype, .params = p.in(1).dtype, .clip = clip_named(p, at.activation)};
  return launch_step(
      "batch_norm",
      [config, s = batch_shape(x.shape), valid = at.has_valid, residual = at.has_residual](
          void* const* in, void* const* out, void*, const Stream& stream) {
        batch_norm_infer(config, s,
                         {.x = in[0],
                          .gamma = in[1],
                          .beta = in[2],
                          .mean = in[3],
                          .rstd = in[4],
                          .valid_rows = rows_at(in, valid),
                          .residual = residual ? in[5 + valid] : nullptr,
                          .y = out[0]},
                         stream);
      },
      0, op("batch_norm_apply").in_place(p.node.attrs, p.num_inputs()));
}

std::unique_ptr<Step> lower_batch_norm_infer(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!lies_well(p, x)) return nullptr;
  const BatchNormConfig config{
      .dtype = x.dtype, .params = p.in(1).dtype, .eps = p.attrs<BatchNormInferAttrs>().eps};
  return launch_step(
      "batch_norm",
      [config, s = batch_shape(x.shape)](void* const* in, void* const* out, void*, const Stream& stream) {
        batch_norm_infer(
            config, s, {.x = in[0], .gamma = in[1], .beta = in[2], .mean = in[3], .var = in[4], .y = out[0]},
            stream);
      },
      0, {{0, 0}});
}

// Row-major, so that the normalised axes are rows in one piece.
std::unique_ptr<Step> lower_layer_norm(const Problem& p) {
  if (!all_plain(p) || !is_float(p.in(0).dtype)) return nullptr;
  const LayerNormConfig config{p.in(0).dtype, p.in(1).dtype, p.attrs<LayerNormAttrs>().eps};
  const LayerNormShape s{p.out(1).numel(), p.in(1).numel()};
  return launch_step("layer_norm",
                     [=](void* const* in, void* const* out, void*, const Stream& stream) {
                       layer_norm(config, s, {in[0], in[1], in[2], out[0], out[1], out[2]}, stream);
                     },
                     0, {{0, 0}});
}

std::unique_ptr<Step> lower_layer_norm_grad(const Problem& p) {
  if (!all_plain(p) || !is_float(p.in(1).dtype)) return nullptr;
  const LayerNormConfig config{p.in(1).dtype, p.in(2).dtype, p.attrs<LayerNormAttrs>().eps};
  const LayerNormShape s{p.in(3).numel(), p.in(2).numel()};
  return launch_step("layer_norm",
                     [=](void* const* in, void* const* out, void* workspace, const Stream& stream) {
                       layer_norm_grad(config, s, {in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2]},
                                       workspace, stream);
                     },
                     layer_norm_grad_workspace(p.in(1).dtype, s), {{0, 0}, {1, 0}});
}

GroupNormShape group_shape(const Shape& x, std::int64_t groups) {
  const BatchNormShape s = batch_shape(x);
  return {s.rows, s.pixels, s.channels, groups};
}

std::unique_ptr<Step> lower_group_norm(const Problem& p) {
  if (!lies_well(p, p.in(0))) return nullptr;
  const auto& at = p.attrs<GroupNormAttrs>();
  const GroupNormConfig config{p.in(0).dtype, p.in(1).dtype, at.eps};
  return launch_step("group_norm",
                     [config, s = group_shape(p.in(0).shape, at.groups)](void* const* in, void* const* out,
                                                                         void*, const Stream& stream) {
                       group_norm(config, s, {in[0], in[1], in[2], out[0], out[1], out[2]}, stream);
                     },
                     0, {{0, 0}});
}

std::unique_ptr<Step> lower_group_norm_grad(const Problem& p) {
  if (!lies_well(p, p.in(1))) return nullptr;
  const auto& at = p.attrs<GroupNormAttrs>();
  const GroupNormConfig config{p.in(1).dtype, p.in(2).dtype, at.eps};
  const GroupNormShape s = group_shape(p.in(1).shape, at.groups);
  return launch_step("group_norm",
                     [=](void* const* in, void* const* out, void* workspace, const Stream& stream) {
                       group_norm_grad(config, s, {in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2]},
                                       workspace, stream);
                     },
                     group_norm_grad_workspace(s), {{0, 0}, {1, 0}});
}

}  // namespace

void add_norm(LoweringTable& table) {
  table.add("group_norm", {.lower = lower_group_norm, .layouts = last_channels<0>});
  table.add("group_norm_grad", {.lower = lower_group_norm_grad, .layouts = last_channels<1>});
  table.add("batch_norm", {.lower = lower_batch_norm, .layouts = last_channels<0>});
  table.add("batch_norm_grad", {.lower = lower_batch_norm_grad, .layouts = last_channels<1>});
  const auto cudnn = [&](const char* op, LowerFn lower, LayoutFn layouts) {
    table.add(op, {.lower = lower, .layouts = layouts, .name = "cudnn", .alternatives = kCompiledCudnnPlans});
  };
  cudnn("batch_norm", cudnn_batch_norm, last_channels<0>);
  cudnn("batch_norm_grad", cudnn_batch_norm_grad, last_channels<1>);
  table.add("batch_norm_apply", {.lower = lower_batch_norm_apply, .layouts = last_channels<0>});
  table.add("batch_norm_infer", {.lower = lower_batch_norm_infer, .layouts = last_channels<0>});
  table.add("layer_norm", {.lower = lower_layer_norm});
  table.add("layer_norm_grad", {.lower = lower_layer_norm_grad});
}

}  // namespace ingot::cuda
