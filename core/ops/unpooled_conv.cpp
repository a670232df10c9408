#include "core/ops/unpooled_conv.h"

#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

// Both ops are defined by the two they stand for: types, errors and values.

TensorType unpooled_type(const InferArgs& a, int dy, const MaxPool2dGradAttrs& pool) {
  const auto u = static_cast<std::size_t>(dy);
  const std::array<TensorType, 2> operands{a.inputs[u], a.inputs[u + 1]};
  return infer(op("max_pool2d_grad"), Attrs(pool), operands)[0];
}

Tensor unpooled(const RefArgs& r, int dy, const MaxPool2dGradAttrs& pool) {
  const auto u = static_cast<std::size_t>(dy);
  const Tensor to(TensorType(r.inputs[u].dtype(), pool.input_shape));
  const Attrs attrs(pool);
  op("max_pool2d_grad").reference({attrs, r.inputs.subspan(u, 2), std::span(&to, 1)});
  return to;
}

std::vector<TensorType> infer_grad_input(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dGradInputUnpooledAttrs>();
  const std::array<TensorType, 2> operands{unpooled_type(a, 0, at.pool()), a.inputs[2]};
  return infer(op("conv2d_grad_input"), Attrs(at.conv()), operands);
}

std::vector<TensorType> infer_grad_weight(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dGradWeightUnpooledAttrs>();
  const std::array<TensorType, 2> operands{a.inputs[0], unpooled_type(a, 1, at.pool())};
  return infer(op("conv2d_grad_weight"), Attrs(at.conv()), operands);
}

void reference_grad_input(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dGradInputUnpooledAttrs>();
  const std::array<Tensor, 2> operands{unpooled(r, 0, at.pool()), r.inputs[2]};
  const Attrs attrs(at.conv());
  op("conv2d_grad_input").reference({attrs, operands, r.outputs});
}

void reference_grad_weight(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dGradWeightUnpooledAttrs>();
  const std::array<Tensor, 2> operands{r.inputs[0], unpooled(r, 1, at.pool())};
  const Attrs attrs(at.conv());
  op("conv2d_grad_weight").reference({attrs, operands, r.outputs});
}

double products(const Shape& weight, const Shape& dy) {
  return 2.0 * static_cast<double>(dy.numel()) * static_cast<double>(weight[1] * weight[2] * weight[3]);
}

Cost cost_grad_input(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {products(in[2].shape, in[0].shape), ops::operand_bytes(in, out)};
}

Cost cost_grad_weight(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {products(out[0].shape, in[1].shape), ops::operand_bytes(in, out)};
}

constexpr std::string_view kNoGradient =
    "the pass fuse-unpooling makes it after differentiation; differentiate conv2d and max_pool2d";

}  // namespace

Value conv2d_grad_input_unpooled(Value dy, Value offset, Value weight,
                                 const Conv2dGradInputUnpooledAttrs& attrs, SourceLoc loc) {
  return apply1("conv2d_grad_input_unpooled", {dy, offset, weight}, attrs, std::move(loc));
}

Value conv2d_grad_weight_unpooled(Value x, Value dy, Value offset, const Conv2dGradWeightUnpooledAttrs& attrs,
                                  SourceLoc loc) {
  return apply1("conv2d_grad_weight_unpooled", {x, dy, offset}, attrs, std::move(loc));
}

namespace ops {

OpDef def_conv2d_grad_input_unpooled() {
  OpDef d;
  d.precision = Precision::Compute;
  d.name = "conv2d_grad_input_unpooled";
  d.doc = "Gradient of a max pooled conv2d with respect to its input, from the pooled image's gradient";
  d.min_inputs = d.max_inputs = 3;
  d.attrs = Conv2dGradInputUnpooledAttrs{};
  d.infer = infer_grad_input;
  d.not_differentiable = kNoGradient;
  d.reference = reference_grad_input;
  d.cost = cost_grad_input;
  return d;
}

OpDef def_conv2d_grad_weight_unpooled() {
  OpDef d;
  d.precision = Precision::Compute;
  d.name = "conv2d_grad_weight_unpooled";
  d.doc = "Gradient of a max pooled conv2d with respect to its weight, from the pooled image's gradient";
  d.min_inputs = d.max_inputs = 3;
  d.attrs = Conv2dGradWeightUnpooledAttrs{};
  d.infer = infer_grad_weight;
  d.not_differentiable = kNoGradient;
  d.reference = reference_grad_weight;
  d.cost = cost_grad_weight;
  return d;
}

}  // namespace ops
}  // namespace ingot
