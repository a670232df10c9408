#include "core/ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

std::vector<TensorType> infer_forward(const InferArgs& a) {
  ops::check_floating(a, 0, "x");
  ops::check_axis(a, a.attrs.as<SoftmaxAttrs>().axis, a.shape(0));
  return {a.inputs[0]};
}

std::vector<TensorType> infer_grad(const InferArgs& a) {
  ops::check_floating(a, 0, "dy");
  ops::check_dtype(a, 1, "y", a.dtype(0));
  ops::check_shape(a, 1, "y (as dy)", a.shape(0));
  ops::check_axis(a, a.attrs.as<SoftmaxAttrs>().axis, a.shape(0));
  return {a.inputs[0]};
}

std::vector<Value> grad_softmax(GradContext& c) {
  return {softmax_grad(c.grad(), c.output(), c.attrs<SoftmaxAttrs>().axis)};
}

std::vector<Value> grad_log_softmax(GradContext& c) {
  return {log_softmax_grad(c.grad(), c.output(), c.attrs<SoftmaxAttrs>().axis)};
}

// dx = y (dy - s), s = sum(dy y). The map from dy to dx is symmetric.
std::vector<Value> grad_softmax_grad(GradContext& c) {
  const std::int64_t axis = c.attrs<SoftmaxAttrs>().axis;
  const Value dy = c.input(0), y = c.input(1), g = c.grad();
  std::vector<Value> out(2);
  if (c.needs(0)) out[0] = softmax_grad(g, y, axis);
  if (c.needs(1)) {
    const Value s = sum(mul(dy, y), {axis}, true), t = sum(mul(g, y), {axis}, true);
    out[1] = sub(mul(g, sub(dy, s)), mul(dy, t));
  }
  return out;
}

// dx = dy - exp(y) s, s = sum(dy).
std::vector<Value> grad_log_softmax_grad(GradContext& c) {
  const std::int64_t axis = c.attrs<SoftmaxAttrs>().axis;
  const Value dy = c.input(0), y = c.input(1), g = c.grad();
  std::vector<Value> out(2);
  const Value weighted = mul(g, exp(y));
  if (c.needs(0)) out[0] = sub(g, sum(weighted, {axis}, true));
  if (c.needs(1)) out[1] = neg(mul(weighted, sum(dy, {axis}, true)));
  return out;
}

// Calls f(start, stride, n) for each run of elements along the axis.
template <class F>
void for_each_run(const RefArgs& r, F&& f) {
  const Shape& shape = r.outputs[0].shape();
  const auto s =
      ops::split_at(shape, shape.normalize_axis(static_cast<int>(r.attrs.as<SoftmaxAttrs>().axis)));
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t i = 0; i < s.inner; ++i) f(o * s.dim * s.inner + i, s.inner, s.dim);
}

template <bool Log>
void reference_forward(const RefArgs& r) {
  ops::visit_floating(Log ? "log_softmax" : "softmax", r.outputs[0].dtype(), [&]<class T>() {
    for_each_run(r, [&](std::int64_t start, std::int64_t stride, std::int64_t n) {
      const T* x = r.inputs[0].data<T>() + start;
      T* y = r.outputs[0].data<T>() + start;
      double top = -std::numeric_limits<double>::infinity(), total = 0.0;
      for (std::int64_t i = 0; i < n; ++i) top = std::max(top, static_cast<double>(x[i * stride]));
      for (std::int64_t i = 0; i < n; ++i) total += std::exp(static_cast<double>(x[i * stride]) - top);
      for (std::int64_t i = 0; i < n; ++i) {
        const double v = static_cast<double>(x[i * stride]) - top;
        y[i * stride] = static_cast<T>(Log ? v - std::log(total) : std::exp(v) / total);
      }
    });
  });
}

template <bool Log>
void reference_grad(const RefArgs& r) {
  ops::visit_floating(Log ? "log_softmax_grad" : "softmax_grad", r.outputs[0].dtype(), [&]<class T>() {
    for_each_run(r, [&](std::int64_t start, std::int64_t stride, std::int64_t n) {
      const T *dy = r.inputs[0].data<T>() + start, *y = r.inputs[1].data<T>() + start;
      T* dx = r.outputs[0].data<T>() + start;
      double total = 0.0;
      for (std::int64_t i = 0; i < n; ++i)
        total += static_cast<double>(dy[i * stride]) * (Log ? 1.0 : static_cast<double>(y[i * stride]));
      for (std::int64_t i = 0; i < n; ++i) {
        const auto g = static_cast<double>(dy[i * stride]), v = static_cast<double>(y[i * stride]);
        dx[i * stride] = static_cast<T>(Log ? g - std::exp(v) * total : v * (g - total));
      }
    });
  });
}

template <int FlopsPerElement>
Cost cost_per_element(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {FlopsPerElement * static_cast<double>(out[0].numel()), ops::operand_bytes(in, out)};
}

// Each run is read as a whole before it is written, so the first operand's memory may take the result.
std::vector<std::array<int, 2>> over_first(const Attrs&, int) {
  return {{0, 0}};
}

OpDef forward(std::string name, std::string doc) {
  OpDef d;
  d.precision = Precision::Full;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.attrs = SoftmaxAttrs{};
  d.infer = infer_forward;
  d.cost = cost_per_element<5>;
  d.in_place = over_first;
  return d;
}

OpDef backward(std::string name, std::string doc) {
  OpDef d = forward(std::move(name), std::move(doc));
  d.min_inputs = d.max_inputs = 2;
  d.infer = infer_grad;
  d.cost = cost_per_element<4>;
  return d;
}

}  // namespace

Value softmax(Value x, std::int64_t axis, SourceLoc loc) {
  return apply1("softmax", {x}, SoftmaxAttrs{axis}, std::move(loc));
}
Value log_softmax(Value x, std::int64_t axis, SourceLoc loc) {
  return apply1("log_softmax", {x}, SoftmaxAttrs{axis}, std::move(loc));
}
Value softmax_grad(Value dy, Value y, std::int64_t axis, SourceLoc loc) {
  return apply1("softmax_grad", {dy, y}, SoftmaxAttrs{axis}, std::move(loc));
}
Value log_softmax_grad(Value dy, Value y, std::int64_t axis, SourceLoc loc) {
  return apply1("log_softmax_grad", {dy, y}, SoftmaxAttrs{axis}, std::move(loc));
}

namespace ops {

OpDef def_softmax() {
  OpDef d = forward("softmax", "Exponentials along an axis, divided by their sum");
  d.gradient = grad_softmax;
  d.reference = reference_forward<false>;
  return d;
}

OpDef def_log_softmax() {
  OpDef d = forward("log_softmax", "Logarithm of softmax, computed without overflow");
  d.gradient = grad_log_softmax;
  d.reference = reference_forward<true>;
  return d;
}

OpDef def_softmax_grad() {
  OpDef d = backward("softmax_grad", "Gradient of softmax from the gradient of its result and the result");
  d.gradient = grad_softmax_grad;
  d.reference = reference_grad<false>;
  return d;
}

OpDef def_log_softmax_grad() {
  OpDef d =
      backward("log_softmax_grad", "Gradient of log_softmax from the gradient of its result and the result");
  d.gradient = grad_log_softmax_grad;
  d.reference = reference_grad<true>;
  return d;
}

}  // namespace ops
}  // namespace ingot
