#include "core/ops/scan.h"

#include <cstring>

#include "core/ops/check.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/reference.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

// --- cumsum

std::vector<TensorType> infer_cumsum(const InferArgs& a) {
  if (a.dtype(0) == DType::Bool)
    throw ShapeError(cat(a.op, ": the operand must be numeric, got bool; convert with cast()"));
  ops::check_axis(a, a.attrs.as<CumsumAttrs>().axis, a.shape(0));
  return {{a.dtype(0), a.shape(0)}};
}

// Each element enters the sums from its own place on: the gradient is summed from the other end.
std::vector<Value> gradient_cumsum(GradContext& c) {
  CumsumAttrs attrs = c.attrs<CumsumAttrs>();
  attrs.reverse = !attrs.reverse;
  return {cumsum(c.grad(), attrs)};
}

// Adds in A: double, or an unsigned integer that wraps around as every device's does. `load` and `store` know
// the dtype.
template <class A, class Load, class Store>
void sum_lines(const CumsumAttrs& attrs, const Shape& shape, const Load& load, const Store& store) {
  const ops::AxisSplit s = ops::split_at(shape, shape.normalize_axis(static_cast<int>(attrs.axis)));
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      A sum{0};
      for (std::int64_t k = 0; k < s.dim; ++k) {
        const std::int64_t at = (o * s.dim + (attrs.reverse ? s.dim - 1 - k : k)) * s.inner + i;
        const A next = sum + load(at);
        store(at, attrs.exclusive ? sum : next);
        sum = next;
      }
    }
}

void reference_cumsum(const RefArgs& a) {
  const auto& attrs = a.attrs.as<CumsumAttrs>();
  const Tensor &x = a.inputs[0], &y = a.outputs[0];
  if (is_floating(x.dtype()))
    return sum_lines<double>(
        attrs, x.shape(), [&](std::int64_t i) { return x.get(i); },
        [&](std::int64_t i, double sum) { y.set(i, sum); });
  const auto integers = [&]<class T>() {
    sum_lines<std::uint64_t>(
        attrs, x.shape(), [in = x.data<T>()](std::int64_t i) { return static_cast<std::uint64_t>(in[i]); },
        [out = y.data<T>()](std::int64_t i, std::uint64_t sum) { out[i] = static_cast<T>(sum); });
  };
  if (x.dtype() == DType::I64)
    integers.operator()<std::int64_t>();
  else if (x.dtype() == DType::I32)
    integers.operator()<std::int32_t>();
  else
    integers.operator()<std::uint8_t>();
}

// One addition an element.
Cost cost_cumsum(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType>) {
  return {static_cast<double>(inputs[0].numel()), 2.0 * static_cast<double>(inputs[0].bytes())};
}

// --- compress

std::vector<TensorType> infer_compress(const InferArgs& a) {
  const int axis = ops::check_axis(a, a.attrs.as<CompressAttrs>().axis, a.shape(0));
  ops::check_dtype(a, 1, "the mask", DType::Bool);
  ops::check_shape(a, 1, "the mask", {a.shape(0)[axis]});
  return {{a.dtype(0), a.shape(0)}, {DType::I64, {}}};
}

// A chosen slice lies where as many others come before it.
std::vector<Value> gradient_compress(GradContext& c) {
  if (!c.has_grad(0)) return {Value(), Value()};
  const Shape shape = c.input(0).shape();
  const int axis = shape.normalize_axis(static_cast<int>(c.attrs<CompressAttrs>().axis));
  const Value mask = c.input(1);
  const Value place = cumsum(cast(mask, DType::I64), {.axis = 0, .exclusive = true});
  Shape along = shape;
  for (int d = 0; d < shape.rank(); ++d) along[d] = d == axis ? shape[d] : 1;
  return {where(reshape(mask, along), gather(c.grad(0), place, axis), 0.0), Value()};
}

void reference_compress(const RefArgs& a) {
  const Tensor &x = a.inputs[0], &mask = a.inputs[1], &y = a.outputs[0];
  const int axis = x.shape().normalize_axis(static_cast<int>(a.attrs.as<CompressAttrs>().axis));
  const ops::AxisSplit s = ops::split_at(x.shape(), axis);
  const std::size_t bytes = static_cast<std::size_t>(s.inner) * size_of(x.dtype());
  const auto slice = [&](const Tensor& t, std::int64_t o, std::int64_t k) {
    return t.as_bytes().data() + static_cast<std::size_t>(o * s.dim + k) * bytes;
  };
  for (std::byte& b : y.as_bytes()) b = std::byte{0};
  std::int64_t count = 0;
  for (std::int64_t k = 0; k < s.dim; ++k) {
    if (mask.get(k) == 0.0) continue;
    for (std::int64_t o = 0; o < s.outer; ++o) std::memcpy(slice(y, o, count), slice(x, o, k), bytes);
    ++count;
  }
  a.outputs[1].data<std::int64_t>()[0] = count;
}

}  // namespace

namespace ops {

OpDef def_cumsum() {
  OpDef d;
  d.precision = Precision::Full;
  d.name = "cumsum";
  d.doc = "Running sum along an axis.";
  d.attrs = CumsumAttrs{};
  d.infer = infer_cumsum;
  d.gradient = gradient_cumsum;
  d.reference = reference_cumsum;
  d.cost = cost_cumsum;
  return d;
}

OpDef def_compress() {
  OpDef d;
  d.name = "compress";
  d.doc = "The slices along an axis that a mask chooses, in front; zeros behind; and how many they are.";
  d.min_inputs = d.max_inputs = 2;
  d.attrs = CompressAttrs{};
  d.infer = infer_compress;
  d.gradient = gradient_compress;
  d.reference = reference_compress;
  return d;
}

}  // namespace ops

Value cumsum(Value x, std::int64_t axis, SourceLoc loc) {
  return cumsum(x, CumsumAttrs{axis}, std::move(loc));
}
Value cumsum(Value x, const CumsumAttrs& attrs, SourceLoc loc) {
  return apply1("cumsum", {x}, attrs, std::move(loc));
}

Selected compress(Value x, Value mask, std::int64_t axis, SourceLoc loc) {
  const Value in[] = {x, mask};
  const auto out = apply("compress", in, CompressAttrs{axis}, std::move(loc));
  return {out[0], out[1]};
}

Selected masked_select(Value x, Value mask, SourceLoc loc) {
  if (!(x.shape() == mask.shape())) {
    ShapeError e(cat("masked_select: the mask must have the shape ", to_string(x.shape()),
                     " of what it selects from, got ", to_string(mask.shape()),
                     "; use broadcast_to(), or compress() for whole slices"));
    e.add_context("masked_select", user_line(x.graph(), std::move(loc)));
    throw e;
  }
  const Shape flat{x.shape().numel()};
  return compress(reshape(x, flat, loc), reshape(mask, flat, loc), 0, loc);
}

Selected nonzero(Value mask, SourceLoc loc) {
  const std::int64_t n = mask.shape().numel();
  return compress(iota(mask.graph(), n, DType::I64, loc), reshape(mask, Shape{n}, loc), 0, loc);
}

}  // namespace ingot
