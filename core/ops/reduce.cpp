#include "core/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/expr/scalar_ops.h"
#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reference.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using ops::reduced_axes;
using ops::reduced_count;
using ops::reduced_shape;

// Offsets into the keepdim result for each input element: strides of the result, 0 along reduced axes.
ops::Strides result_strides(const Shape& shape, const std::vector<bool>& reduced) {
  return ops::broadcast_strides(reduced_shape(shape, reduced, true), shape);
}

template <class A>
std::vector<TensorType> infer_like(const InferArgs& a, DType dtype) {
  const auto& r = a.attrs.as<A>();
  return {{dtype, reduced_shape(a.shape(0), reduced_axes(r.axes, a.shape(0)), r.keepdim)}};
}

std::vector<TensorType> infer_sum(const InferArgs& a) {
  if (a.dtype(0) == DType::Bool)
    throw ShapeError(cat(a.op, ": expects a numeric operand, got bool; convert with cast()"));
  return infer_like<ReduceAttrs>(a, a.dtype(0));
}

std::vector<TensorType> infer_mean(const InferArgs& a) {
  ops::check_floating(a, 0, "the operand");
  return infer_like<ReduceAttrs>(a, a.dtype(0));
}

std::vector<TensorType> infer_var(const InferArgs& a) {
  ops::check_floating(a, 0, "the operand");
  return infer_like<ReduceVarAttrs>(a, a.dtype(0));
}

std::vector<TensorType> infer_extremum(const InferArgs& a) {
  auto types = infer_sum(a);
  const auto reduced = reduced_axes(a.attrs.as<ReduceAttrs>().axes, a.shape(0));
  if (reduced_count(a.shape(0), reduced) == 0)
    throw ShapeError(
        cat(a.op, ": has no value over zero elements; the operand's shape is ", to_string(a.shape(0))));
  return types;
}

std::vector<TensorType> infer_argmax(const InferArgs& a) {
  const auto& r = a.attrs.as<ArgmaxAttrs>();
  if (a.dtype(0) == DType::Bool)
    throw ShapeError(cat(a.op, ": expects a numeric operand, got bool; convert with cast()"));
  const int axis = ops::check_axis(a, r.axis, a.shape(0));
  if (a.shape(0)[axis] == 0)
    throw ShapeError(cat(a.op, ": axis ", axis, " of shape ", to_string(a.shape(0)), " has no element"));
  Shape s = a.shape(0);
  s.erase(axis);
  if (r.keepdim) s.insert(axis, 1);
  return {{DType::I64, s}};
}

// The gradient of the result in the keepdim shape, so that it broadcasts against the operand.
Value kept(GradContext& c, Value v, const Axes& axes) {
  const Shape shape = c.input(0).shape();
  return reshape(v, reduced_shape(shape, reduced_axes(axes, shape), true));
}

double count_of(GradContext& c, const Axes& axes) {
  const Shape shape = c.input(0).shape();
  return static_cast<double>(reduced_count(shape, reduced_axes(axes, shape)));
}

std::vector<Value> gradient_sum(GradContext& c) {
  const auto r = c.attrs<ReduceAttrs>();
  return {broadcast_to(kept(c, c.grad(), r.axes), c.input(0).shape())};
}

std::vector<Value> gradient_mean(GradContext& c) {
  const auto r = c.attrs<ReduceAttrs>();
  return {broadcast_to(kept(c, c.grad(), r.axes) * (1.0 / count_of(c, r.axes)), c.input(0).shape())};
}

std::vector<Value> gradient_extremum(GradContext& c) {
  const auto r = c.attrs<ReduceAttrs>();
  const Value x = c.input(0);
  const Value chosen = cast(eq(x, kept(c, c.output(), r.axes)), x.dtype());
  return {chosen * (kept(c, c.grad(), r.axes) / sum(chosen, r.axes, true))};
}

std::vector<Value> gradient_var(GradContext& c) {
  const auto r = c.attrs<ReduceVarAttrs>();
  const Value x = c.input(0);
  const double scale = 2.0 / std::max(0.0, count_of(c, r.axes) - r.correction);
  return {(kept(c, c.grad(), r.axes) * scale) * (x - mean(x, r.axes, true))};
}

// Integers sum exactly, floating types in double.
template <class T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, std::int64_t, double>;

template <class T>
Accumulator<T> widen(T v) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<std::int64_t>(v);
  else
    return to_double(v);
}

template <class T>
T narrow(Accumulator<T> v) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(v);
  else
    return from_double<T>(v);
}

// y = finish(fold of step over the elements).
template <class Step, class Finish>
void fold(const RefArgs& a, const Axes& axes, double start, Step step, Finish finish) {
  const Tensor &x = a.inputs[0], &y = a.outputs[0];
  visit_dtype(x.dtype(), [&]<class T>() {
    using Acc = Accumulator<T>;
    const T* in = x.data<T>();
    T* out = y.data<T>();
    std::vector<Acc> acc(static_cast<std::size_t>(y.numel()), static_cast<Acc>(start));
    std::vector<bool> first(acc.size(), true);
    ops::for_each_offset<1>(x.shape(), {result_strides(x.shape(), reduced_axes(axes, x.shape()))},
                            [&](std::int64_t i, const auto& at) {
                              const auto k = static_cast<std::size_t>(at[0]);
                              acc[k] = step(acc[k], widen(in[i]), static_cast<bool>(first[k]));
                              first[k] = false;
                            });
    for (std::size_t k = 0; k < acc.size(); ++k) out[k] = narrow<T>(static_cast<Acc>(finish(acc[k])));
  });
}

constexpr auto keep = [](auto v) { return v; };

void reference_sum(const RefArgs& a) {
  fold(
      a, a.attrs.as<ReduceAttrs>().axes, 0.0, [](auto acc, auto v, bool) { return acc + v; }, keep);
}

void reference_mean(const RefArgs& a) {
  const auto& r = a.attrs.as<ReduceAttrs>();
  const Shape& shape = a.inputs[0].shape();
  const double n = static_cast<double>(reduced_count(shape, reduced_axes(r.axes, shape)));
  fold(
      a, r.axes, 0.0, [](auto acc, auto v, bool) { return acc + v; },
      [n](auto v) { return static_cast<double>(v) / n; });
}

void reference_max(const RefArgs& a) {
  fold(
      a, a.attrs.as<ReduceAttrs>().axes, 0.0,
      [](auto acc, auto v, bool first) { return first ? v : scalar::maximum(acc, v); }, keep);
}

void reference_min(const RefArgs& a) {
  fold(
      a, a.attrs.as<ReduceAttrs>().axes, 0.0,
      [](auto acc, auto v, bool first) { return first ? v : scalar::minimum(acc, v); }, keep);
}

void reference_var(const RefArgs& a) {
  const auto& r = a.attrs.as<ReduceVarAttrs>();
  const Tensor &x = a.inputs[0], &y = a.outputs[0];
  const auto reduced = reduced_axes(r.axes, x.shape());
  const auto strides = result_strides(x.shape(), reduced);
  const double n = static_cast<double>(reduced_count(x.shape(), reduced));
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    std::vector<double> mean_of(static_cast<std::size_t>(y.numel()), 0.0), squares = mean_of;
    ops::for_each_offset<1>(x.shape(), {strides}, [&](std::int64_t i, const auto& at) {
      mean_of[static_cast<std::size_t>(at[0])] += to_double(in[i]) / n;
    });
    ops::for_each_offset<1>(x.shape(), {strides}, [&](std::int64_t i, const auto& at) {
      const double d = to_double(in[i]) - mean_of[static_cast<std::size_t>(at[0])];
      squares[static_cast<std::size_t>(at[0])] += d * d;
    });
    for (std::size_t k = 0; k < squares.size(); ++k)
      out[k] = from_double<T>(squares[k] / std::max(0.0, n - r.correction));
  });
}

void reference_argmax(const RefArgs& a) {
  const Tensor &x = a.inputs[0], &y = a.outputs[0];
  const int axis = x.shape().normalize_axis(static_cast<int>(a.attrs.as<ArgmaxAttrs>().axis));
  const ops::AxisSplit s = ops::split_at(x.shape(), axis);
  std::int64_t* out = y.data<std::int64_t>();
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* in = x.data<T>();
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t i = 0; i < s.inner; ++i) {
        const T* row = in + o * s.dim * s.inner + i;
        std::int64_t best = 0;
        for (std::int64_t k = 1; k < s.dim; ++k) {
          const auto v = widen(row[k * s.inner]), b = widen(row[best * s.inner]);
          if (v > b || (!(v == v) && b == b)) best = k;
        }
        out[o * s.inner + i] = best;
      }
  });
}

Cost cost_reduce(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return {static_cast<double>(inputs[0].numel()),
          static_cast<double>(inputs[0].bytes()) + static_cast<double>(outputs[0].bytes())};
}

// Mean, distances, squares: three operations an element.
Cost cost_var(const Attrs& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  Cost c = cost_reduce(attrs, inputs, outputs);
  c.flops *= 4.0;
  return c;
}

OpDef reduction(std::string name, std::string doc, Attrs attrs, InferFn infer, GradFn gradient,
                RefFn reference, CostFn cost) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.gradient = gradient;
  d.reference = reference;
  d.cost = cost;
  return d;
}

}  // namespace

namespace ops {

std::vector<bool> reduced_axes(const Axes& axes, const Shape& shape) {
  std::vector<bool> out(static_cast<std::size_t>(shape.rank()), axes.empty());
  for (const std::int64_t axis : axes) {
    const std::int64_t a = axis < 0 ? axis + shape.rank() : axis;
    if (a < 0 || a >= shape.rank())
      throw ShapeError(
          cat("axis ", axis, " is out of range for shape ", to_string(shape), " of rank ", shape.rank()));
    if (out[static_cast<std::size_t>(a)])
      throw ShapeError(cat("axis ", axis, " is named twice in [", join(axes), "]"));
    out[static_cast<std::size_t>(a)] = true;
  }
  return out;
}

Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keepdim) {
  Shape out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!reduced[static_cast<std::size_t>(i)])
      out.push_back(shape[i]);
    else if (keepdim)
      out.push_back(1);
  }
  return out;
}

std::int64_t reduced_count(const Shape& shape, const std::vector<bool>& reduced) {
  std::int64_t n = 1;
  for (int i = 0; i < shape.rank(); ++i)
    if (reduced[static_cast<std::size_t>(i)]) n *= shape[i];
  return n;
}

OpDef def_reduce_sum() {
  OpDef d = reduction("reduce_sum", "Sum over axes.", ReduceAttrs{}, infer_sum, gradient_sum, reference_sum,
                      cost_reduce);
  d.precision = Precision::Full;
  return d;
}

OpDef def_reduce_mean() {
  OpDef d = reduction("reduce_mean", "Mean over axes.", ReduceAttrs{}, infer_mean, gradient_mean,
                      reference_mean, cost_reduce);
  d.precision = Precision::Full;
  return d;
}

OpDef def_reduce_max() {
  return reduction("reduce_max", "Greatest element over axes; ties share the gradient.", ReduceAttrs{},
                   infer_extremum, gradient_extremum, reference_max, cost_reduce);
}

OpDef def_reduce_min() {
  return reduction("reduce_min", "Least element over axes; ties share the gradient.", ReduceAttrs{},
                   infer_extremum, gradient_extremum, reference_min, cost_reduce);
}

OpDef def_reduce_var() {
  OpDef d = reduction("reduce_var", "Variance over axes, divided by count - correction.", ReduceVarAttrs{},
                      infer_var, gradient_var, reference_var, cost_var);
  d.precision = Precision::Full;
  return d;
}

OpDef def_argmax() {
  OpDef d = reduction("argmax", "Index of the first greatest element along one axis, as i64.", ArgmaxAttrs{},
                      infer_argmax, nullptr, reference_argmax, cost_reduce);
  d.not_differentiable = "its result is an index";
  return d;
}

}  // namespace ops

Value sum(Value x, const Axes& axes, bool keepdim, SourceLoc loc) {
  return apply1("reduce_sum", {x}, ReduceAttrs{axes, keepdim}, std::move(loc));
}
Value mean(Value x, const Axes& axes, bool keepdim, SourceLoc loc) {
  return apply1("reduce_mean", {x}, ReduceAttrs{axes, keepdim}, std::move(loc));
}
Value max(Value x, const Axes& axes, bool keepdim, SourceLoc loc) {
  return apply1("reduce_max", {x}, ReduceAttrs{axes, keepdim}, std::move(loc));
}
Value min(Value x, const Axes& axes, bool keepdim, SourceLoc loc) {
  return apply1("reduce_min", {x}, ReduceAttrs{axes, keepdim}, std::move(loc));
}
Value var(Value x, const Axes& axes, bool keepdim, double correction, SourceLoc loc) {
  return apply1("reduce_var", {x}, ReduceVarAttrs{axes, keepdim, correction}, std::move(loc));
}
Value argmax(Value x, std::int64_t axis, bool keepdim, SourceLoc loc) {
  return apply1("argmax", {x}, ArgmaxAttrs{axis, keepdim}, std::move(loc));
}

}  // namespace ingot
