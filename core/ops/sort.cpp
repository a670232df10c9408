#include "core/ops/sort.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/ops/check.h"
#include "core/ops/gather.h"
#include "core/ops/reference.h"

namespace ingot {

namespace {

int check_sorted(const InferArgs& a, std::int64_t axis) {
  if (a.dtype(0) == DType::Bool)
    throw ShapeError(cat(a.op, ": the operand must be numeric, got bool; convert with cast()"));
  return ops::check_axis(a, axis, a.shape(0));
}

std::vector<TensorType> infer_sort(const InferArgs& a) {
  check_sorted(a, a.attrs.as<SortAttrs>().axis);
  return {{a.dtype(0), a.shape(0)}, {DType::I64, a.shape(0)}};
}

std::vector<TensorType> infer_topk(const InferArgs& a) {
  const auto& t = a.attrs.as<TopkAttrs>();
  const int axis = check_sorted(a, t.axis);
  Shape to = a.shape(0);
  if (t.k < 0 || t.k > to[axis])
    throw ShapeError(cat(a.op, ": k must lie in [0, ", to[axis], "], the size of axis ", axis, " of ",
                         to_string(to), ", got ", t.k));
  to[axis] = t.k;
  return {{a.dtype(0), to}, {DType::I64, to}};
}

std::vector<Value> put_back(GradContext& c, std::int64_t axis) {
  if (!c.has_grad(0)) return {Value()};
  return {put_along_axis(c.grad(0), c.output(1), axis, c.input(0).shape()[static_cast<int>(axis)])};
}
std::vector<Value> gradient_sort(GradContext& c) {
  return put_back(c, c.attrs<SortAttrs>().axis);
}
std::vector<Value> gradient_topk(GradContext& c) {
  return put_back(c, c.attrs<TopkAttrs>().axis);
}

// Whether `a` comes before `b` in a stable sort where their indices do not decide.
template <class T>
bool comes_before(T a, T b, bool descending) {
  const bool a_nan = a != a, b_nan = b != b;
  if (a_nan || b_nan) return descending ? a_nan && !b_nan : b_nan && !a_nan;
  return descending ? b < a : a < b;
}

// As many elements of the sorted axis as the results hold. T: what elements are compared as.
template <class T>
void sort_lines(const RefArgs& a, std::int64_t axis_attr, bool descending) {
  const Tensor &x = a.inputs[0], &values = a.outputs[0], &indices = a.outputs[1];
  const int axis = x.shape().normalize_axis(static_cast<int>(axis_attr));
  const ops::AxisSplit s = ops::split_at(x.shape(), axis);
  const std::int64_t keep = values.shape()[axis];
  const std::size_t bytes = size_of(x.dtype());
  std::vector<T> all(static_cast<std::size_t>(x.numel()));
  for (std::int64_t i = 0; i < x.numel(); ++i)
    all[static_cast<std::size_t>(i)] =
        x.dtype() == DType::I64 ? static_cast<T>(x.data<std::int64_t>()[i]) : static_cast<T>(x.get(i));
  std::vector<std::int64_t> order(static_cast<std::size_t>(s.dim));
  for (std::int64_t line = 0; line < s.outer * s.inner; ++line) {
    const std::int64_t o = line / s.inner, i = line % s.inner;
    const auto place = [&](std::int64_t l) {
      return static_cast<std::size_t>((o * s.dim + l) * s.inner + i);
    };
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::sort(order.begin(), order.end(), [&](std::int64_t l, std::int64_t r) {
      const T left = all[place(l)], right = all[place(r)];
      return comes_before(left, right, descending) || (l < r && !comes_before(right, left, descending));
    });
    for (std::int64_t k = 0; k < keep; ++k) {
      const std::int64_t from = order[static_cast<std::size_t>(k)], to = (o * keep + k) * s.inner + i;
      std::memcpy(values.as_bytes().data() + static_cast<std::size_t>(to) * bytes,
                  x.as_bytes().data() + place(from) * bytes, bytes);
      indices.data<std::int64_t>()[to] = from;
    }
  }
}

void sort_any(const RefArgs& a, std::int64_t axis, bool descending) {
  if (is_floating(a.inputs[0].dtype()))
    sort_lines<double>(a, axis, descending);
  else
    sort_lines<std::int64_t>(a, axis, descending);
}

void reference_sort(const RefArgs& a) {
  const auto& attrs = a.attrs.as<SortAttrs>();
  sort_any(a, attrs.axis, attrs.descending);
}
void reference_topk(const RefArgs& a) {
  const auto& attrs = a.attrs.as<TopkAttrs>();
  sort_any(a, attrs.axis, attrs.largest);
}

// Comparisons count as flops: n log2 n of them.
Cost cost_sort(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  const double n = static_cast<double>(inputs[0].numel());
  return {n * std::log2(std::max(n, 2.0)),
          static_cast<double>(inputs[0].bytes() + outputs[0].bytes() + outputs[1].bytes())};
}

OpDef sorting(std::string name, std::string doc, Attrs attrs, InferFn infer, GradFn gradient,
              RefFn reference) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.gradient = gradient;
  d.reference = reference;
  d.cost = cost_sort;
  return d;
}

Sorted sorted(std::string_view op, Value x, const Attrs& attrs, SourceLoc loc) {
  const auto out = apply(op, std::span<const Value>(&x, 1), attrs, std::move(loc));
  return {out[0], out[1]};
}

}  // namespace

namespace ops {

OpDef def_sort() {
  return sorting("sort", "Elements in order along an axis, and the indices they had; stable.", SortAttrs{},
                 infer_sort, gradient_sort, reference_sort);
}

OpDef def_topk() {
  return sorting("topk", "The k greatest or least elements along an axis, in order, and their indices.",
                 TopkAttrs{}, infer_topk, gradient_topk, reference_topk);
}

}  // namespace ops

Sorted sort(Value x, std::int64_t axis, bool descending, SourceLoc loc) {
  return sorted("sort", x, SortAttrs{axis, descending}, std::move(loc));
}

Value argsort(Value x, std::int64_t axis, bool descending, SourceLoc loc) {
  return sort(x, axis, descending, std::move(loc)).indices;
}

Sorted topk(Value x, std::int64_t k, std::int64_t axis, bool largest, SourceLoc loc) {
  return sorted("topk", x, TopkAttrs{k, axis, largest}, std::move(loc));
}

}  // namespace ingot
