#include "core/ops/view.h"

#include <algorithm>
#include <numeric>

#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reference.h"

namespace ingot {

namespace {

using ops::Strides;

// to[i] = from[base + strides . index(i)] for every i of `to`.
void gather_elements(const Tensor& from, std::int64_t base, const Strides& strides, const Tensor& to) {
  visit_dtype(to.dtype(), [&]<class T>() {
    const T* in = from.data<T>() + base;
    T* out = to.data<T>();
    ops::for_each_offset<1>(to.shape(), {strides},
                            [&](std::int64_t i, const auto& at) { out[i] = in[at[0]]; });
  });
}

// to[base + strides . index(i)] = from[i] for every i of `from`.
void place_elements(const Tensor& from, const Tensor& to, std::int64_t base, const Strides& strides) {
  visit_dtype(to.dtype(), [&]<class T>() {
    const T* in = from.data<T>();
    T* out = to.data<T>() + base;
    ops::for_each_offset<1>(from.shape(), {strides},
                            [&](std::int64_t i, const auto& at) { out[at[0]] = in[i]; });
  });
}

void fill(const Tensor& t, double value) {
  for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, value);
}

std::int64_t at(const std::vector<std::int64_t>& v, int i) {
  return v[static_cast<std::size_t>(i)];
}

void check_per_axis(std::string_view op, std::string_view what, const std::vector<std::int64_t>& v,
                    const Shape& shape) {
  if (static_cast<int>(v.size()) != shape.rank())
    throw ShapeError(
        cat(op, ": '", what, "' needs one entry per axis of ", to_string(shape), ", got ", v.size()));
}

// --- reshape

std::vector<TensorType> infer_reshape(const InferArgs& a) {
  const Shape& to = a.attrs.as<ReshapeAttrs>().shape;
  if (to.numel() != a.shape(0).numel())
    throw ShapeError(cat(a.op, ": ", to_string(a.shape(0)), " has ", a.shape(0).numel(), " elements, ",
                         to_string(to), " has ", to.numel()));
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_reshape(GradContext& c) {
  return {reshape(c.grad(), c.input(0).shape())};
}

void reference_copy(const RefArgs& a) {
  const auto from = a.inputs[0].as_bytes();
  std::copy(from.begin(), from.end(), a.outputs[0].as_bytes().begin());
}

// --- transpose

std::vector<TensorType> infer_transpose(const InferArgs& a) {
  const auto& perm = a.attrs.as<TransposeAttrs>().perm;
  const Shape& from = a.shape(0);
  check_per_axis(a.op, "perm", perm, from);
  std::vector<bool> seen(perm.size(), false);
  Shape to;
  for (const std::int64_t p : perm) {
    if (p < 0 || p >= from.rank() || seen[static_cast<std::size_t>(p)])
      throw ShapeError(
          cat(a.op, ": 'perm' must name each axis of ", to_string(from), " once, got [", join(perm), "]"));
    seen[static_cast<std::size_t>(p)] = true;
    to.push_back(from[static_cast<int>(p)]);
  }
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_transpose(GradContext& c) {
  const auto perm = c.attrs<TransposeAttrs>().perm;
  std::vector<std::int64_t> inverse(perm.size());
  for (std::size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<std::size_t>(perm[i])] = static_cast<std::int64_t>(i);
  return {transpose(c.grad(), inverse)};
}

void reference_transpose(const RefArgs& a) {
  const auto& perm = a.attrs.as<TransposeAttrs>().perm;
  const auto own = a.inputs[0].shape().strides();
  Strides s{};
  for (std::size_t i = 0; i < perm.size(); ++i) s[i] = own[static_cast<std::size_t>(perm[i])];
  gather_elements(a.inputs[0], 0, s, a.outputs[0]);
}

// --- slice

Shape sliced_shape(std::string_view op, const Shape& shape, const std::vector<std::int64_t>& starts,
                   const std::vector<std::int64_t>& ends, const std::vector<std::int64_t>& steps) {
  check_per_axis(op, "starts", starts, shape);
  check_per_axis(op, "ends", ends, shape);
  check_per_axis(op, "steps", steps, shape);
  Shape to;
  for (int i = 0; i < shape.rank(); ++i) {
    const std::int64_t start = at(starts, i), end = at(ends, i), step = at(steps, i), dim = shape[i];
    const bool legal = step > 0   ? 0 <= start && start <= end && end <= dim
                       : step < 0 ? -1 <= end && end <= start && start < dim
                                  : false;
    if (!legal)
      throw ShapeError(
          cat(op, ": ", start, ":", end, ":", step, " does not fit axis ", i, " of ", to_string(shape)));
    to.push_back(step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step);
  }
  return to;
}

std::vector<TensorType> infer_slice(const InferArgs& a) {
  const auto& s = a.attrs.as<SliceAttrs>();
  return {{a.dtype(0), sliced_shape(a.op, a.shape(0), s.starts, s.ends, s.steps)}};
}

// The whole of `shape` in slice terms.
SliceAttrs whole(const Shape& shape) {
  const auto rank = static_cast<std::size_t>(shape.rank());
  return {
      std::vector<std::int64_t>(rank, 0), {shape.begin(), shape.end()}, std::vector<std::int64_t>(rank, 1)};
}

std::vector<Value> gradient_slice(GradContext& c) {
  const auto s = c.attrs<SliceAttrs>();
  const Shape shape = c.input(0).shape();
  if (std::all_of(s.steps.begin(), s.steps.end(), [](auto step) { return step == 1; })) {
    std::vector<std::int64_t> after;
    for (int i = 0; i < shape.rank(); ++i) after.push_back(shape[i] - at(s.ends, i));
    return {pad(c.grad(), s.starts, after)};
  }
  return {apply1("slice_grad", {c.grad()}, SliceGradAttrs{s.starts, s.ends, s.steps, shape})};
}

// Where a slice begins in a row-major tensor of `shape` and how it steps.
std::pair<std::int64_t, Strides> slice_walk(const Shape& shape, const std::vector<std::int64_t>& starts,
                                            const std::vector<std::int64_t>& steps) {
  const auto own = shape.strides();
  std::int64_t base = 0;
  Strides s{};
  for (std::size_t i = 0; i < starts.size(); ++i) {
    base += starts[i] * own[i];
    s[i] = steps[i] * own[i];
  }
  return {base, s};
}

void reference_slice(const RefArgs& a) {
  if (a.outputs[0].numel() == 0) return;  // the start may lie past the end of the operand
  const auto& s = a.attrs.as<SliceAttrs>();
  const auto [base, strides] = slice_walk(a.inputs[0].shape(), s.starts, s.steps);
  gather_elements(a.inputs[0], base, strides, a.outputs[0]);
}

std::vector<TensorType> infer_slice_grad(const InferArgs& a) {
  const auto& s = a.attrs.as<SliceGradAttrs>();
  ops::check_shape(a, 0, "the slice's gradient", sliced_shape(a.op, s.shape, s.starts, s.ends, s.steps));
  return {{a.dtype(0), s.shape}};
}

std::vector<Value> gradient_slice_grad(GradContext& c) {
  const auto s = c.attrs<SliceGradAttrs>();
  return {slice(c.grad(), SliceAttrs{s.starts, s.ends, s.steps})};
}

void reference_slice_grad(const RefArgs& a) {
  const auto& s = a.attrs.as<SliceGradAttrs>();
  fill(a.outputs[0], 0.0);
  if (a.inputs[0].numel() == 0) return;
  const auto [base, strides] = slice_walk(s.shape, s.starts, s.steps);
  place_elements(a.inputs[0], a.outputs[0], base, strides);
}

// --- concat

std::vector<TensorType> infer_concat(const InferArgs& a) {
  const int axis = ops::check_axis(a, a.attrs.as<ConcatAttrs>().axis, a.shape(0));
  Shape to = a.shape(0);
  for (int i = 1; i < static_cast<int>(a.inputs.size()); ++i) {
    ops::check_dtype(a, i, cat("operand ", i), a.dtype(0));
    Shape same = a.shape(i);
    bool fits = same.rank() == to.rank();
    if (fits) {
      to[axis] += same[axis];
      same[axis] = to[axis];
      fits = same == to;
    }
    if (!fits)
      throw ShapeError(cat(a.op, ": operand ", i, " of shape ", to_string(a.shape(i)),
                           " must equal the first, ", to_string(a.shape(0)), ", except along axis ", axis));
  }
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_concat(GradContext& c) {
  const int axis = c.output().shape().normalize_axis(static_cast<int>(c.attrs<ConcatAttrs>().axis));
  std::vector<Value> out;
  std::int64_t start = 0;
  for (int i = 0; i < c.num_inputs(); ++i) {
    const std::int64_t n = c.input(i).dim(axis);
    out.push_back(c.needs(i) ? slice(c.grad(), axis, start, start + n) : Value());
    start += n;
  }
  return out;
}

void reference_concat(const RefArgs& a) {
  const Tensor& y = a.outputs[0];
  const int axis = y.shape().normalize_axis(static_cast<int>(a.attrs.as<ConcatAttrs>().axis));
  const auto strides = y.shape().strides();
  std::int64_t base = 0;
  for (const Tensor& x : a.inputs) {
    if (x.numel() != 0) place_elements(x, y, base, strides);
    base += x.shape()[axis] * strides[static_cast<std::size_t>(axis)];
  }
}

// --- pad

std::vector<TensorType> infer_pad(const InferArgs& a) {
  const auto& p = a.attrs.as<PadAttrs>();
  check_per_axis(a.op, "before", p.before, a.shape(0));
  check_per_axis(a.op, "after", p.after, a.shape(0));
  Shape to = a.shape(0);
  for (int i = 0; i < to.rank(); ++i) {
    if (at(p.before, i) < 0 || at(p.after, i) < 0)
      throw ShapeError(cat(a.op, ": axis ", i, " cannot be padded by a negative amount (", at(p.before, i),
                           ", ", at(p.after, i), "); remove elements with slice()"));
    to[i] += at(p.before, i) + at(p.after, i);
  }
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_pad(GradContext& c) {
  const auto p = c.attrs<PadAttrs>();
  const Shape shape = c.input(0).shape();
  SliceAttrs s = whole(shape);
  s.starts = p.before;
  for (std::size_t i = 0; i < s.ends.size(); ++i) s.ends[i] += p.before[i];
  return {slice(c.grad(), s)};
}

void reference_pad(const RefArgs& a) {
  const auto& p = a.attrs.as<PadAttrs>();
  const Tensor& y = a.outputs[0];
  fill(y, p.value);
  if (a.inputs[0].numel() == 0) return;
  const auto strides = y.shape().strides();
  std::int64_t base = 0;
  for (std::size_t i = 0; i < p.before.size(); ++i) base += p.before[i] * strides[i];
  place_elements(a.inputs[0], y, base, strides);
}

// --- broadcast_to

std::vector<TensorType> infer_broadcast_to(const InferArgs& a) {
  const Shape& to = a.attrs.as<BroadcastToAttrs>().shape;
  if (!broadcastable_to(a.shape(0), to))
    throw ShapeError(cat(a.op, ": ", to_string(a.shape(0)), " does not broadcast to ", to_string(to)));
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_broadcast_to(GradContext& c) {
  return {sum_to_shape(c.grad(), c.input(0).shape())};
}

void reference_broadcast_to(const RefArgs& a) {
  const Shape& to = a.outputs[0].shape();
  gather_elements(a.inputs[0], 0, ops::broadcast_strides(a.inputs[0].shape(), to), a.outputs[0]);
}

// --- reorder

std::vector<TensorType> infer_reorder(const InferArgs& a) {
  const Layout& l = a.attrs.as<ReorderAttrs>().layout;
  if (l.rank != 0 && static_cast<int>(l.rank) != a.shape(0).rank())
    throw ShapeError(cat(a.op, ": layout ", to_string(l), " orders ", static_cast<int>(l.rank),
                         " axes, the operand has shape ", to_string(a.shape(0))));
  return {{a.dtype(0), a.shape(0), l.canonical()}};
}

std::vector<Value> gradient_reorder(GradContext& c) {
  return {reorder(c.grad(), c.input(0).type().layout)};
}

OpDef mover(std::string name, std::string doc, Attrs attrs, InferFn infer, GradFn gradient, RefFn reference) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.gradient = gradient;
  d.reference = reference;
  return d;
}

// Builds a resolved axis for functions, with the op's name in the error.
int resolve_axis(std::string_view op, std::int64_t axis, const Shape& shape) {
  if (axis < -shape.rank() || axis >= shape.rank())
    throw ShapeError(
        cat(op, ": axis ", axis, " is out of range for shape ", to_string(shape), " of rank ", shape.rank()));
  return static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
}

}  // namespace

namespace ops {

OpDef def_reshape() {
  OpDef d = mover("reshape", "The same row-major elements under another shape.", ReshapeAttrs{},
                  infer_reshape, gradient_reshape, reference_copy);
  d.view = true;
  return d;
}

OpDef def_transpose() {
  return mover("transpose", "Permutes the axes.", TransposeAttrs{}, infer_transpose, gradient_transpose,
               reference_transpose);
}

OpDef def_slice() {
  return mover("slice", "Takes start:end:step along each axis.", SliceAttrs{}, infer_slice, gradient_slice,
               reference_slice);
}

OpDef def_slice_grad() {
  return mover("slice_grad", "Puts a slice's gradient back among zeros.", SliceGradAttrs{}, infer_slice_grad,
               gradient_slice_grad, reference_slice_grad);
}

OpDef def_concat() {
  OpDef d = mover("concat", "Joins tensors along an axis.", ConcatAttrs{}, infer_concat, gradient_concat,
                  reference_concat);
  d.max_inputs = -1;
  return d;
}

OpDef def_pad() {
  return mover("pad", "Surrounds a tensor with a constant.", PadAttrs{}, infer_pad, gradient_pad,
               reference_pad);
}

OpDef def_broadcast_to() {
  return mover("broadcast_to", "Repeats axes of size 1 to a given shape.", BroadcastToAttrs{},
               infer_broadcast_to, gradient_broadcast_to, reference_broadcast_to);
}

OpDef def_reorder() {
  return mover("reorder", "The same tensor in another physical layout.", ReorderAttrs{}, infer_reorder,
               gradient_reorder, reference_copy);
}

}  // namespace ops

Value reshape(Value x, const Shape& shape, SourceLoc loc) {
  if (x.shape() == shape) return x;
  return apply1("reshape", {x}, ReshapeAttrs{shape}, std::move(loc));
}

Value reshape(Value x, std::span<const std::int64_t> dims, SourceLoc loc) {
  std::int64_t known = 1;
  int open = -1;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1 && open < 0)
      open = static_cast<int>(i);
    else if (dims[i] < 0)
      throw ShapeError(
          cat("reshape: at most one dimension may be -1 and none below, got [", join(dims), "]"));
    else
      known *= dims[i];
  }
  std::vector<std::int64_t> full(dims.begin(), dims.end());
  if (open >= 0) {
    const std::int64_t n = x.shape().numel();
    if (known == 0 || n % known != 0)
      throw ShapeError(cat("reshape: ", to_string(x.shape()), " has ", n, " elements, which [", join(dims),
                           "] cannot hold whatever -1 stands for"));
    full[static_cast<std::size_t>(open)] = n / known;
  }
  return reshape(x, Shape(std::span<const std::int64_t>(full)), std::move(loc));
}

Value reshape(Value x, std::initializer_list<std::int64_t> dims, SourceLoc loc) {
  return reshape(x, std::span<const std::int64_t>(dims.begin(), dims.size()), std::move(loc));
}

Value flatten(Value x, std::int64_t axis, SourceLoc loc) {
  const Shape from = x.shape();
  const int first = resolve_axis("flatten", axis, from);
  Shape to;
  for (int i = 0; i < first; ++i) to.push_back(from[i]);
  to.push_back(std::accumulate(from.begin() + first, from.end(), std::int64_t{1}, std::multiplies<>()));
  return reshape(x, to, std::move(loc));
}

Value squeeze(Value x, std::int64_t axis, SourceLoc loc) {
  Shape to = x.shape();
  const int a = resolve_axis("squeeze", axis, to);
  if (to[a] != 1)
    throw ShapeError(cat("squeeze: axis ", axis, " of ", to_string(to), " has size ", to[a], ", not 1"));
  to.erase(a);
  return reshape(x, to, std::move(loc));
}

Value unsqueeze(Value x, std::int64_t axis, SourceLoc loc) {
  Shape to = x.shape();
  const std::int64_t rank = to.rank() + 1;
  if (axis < -rank || axis >= rank)
    throw ShapeError(cat("unsqueeze: axis ", axis, " is out of range for a result of rank ", rank));
  to.insert(static_cast<int>(axis < 0 ? axis + rank : axis), 1);
  return reshape(x, to, std::move(loc));
}

Value transpose(Value x, const std::vector<std::int64_t>& perm, SourceLoc loc) {
  std::vector<std::int64_t> p = perm;
  for (auto& axis : p)
    if (axis < 0) axis += x.rank();
  const bool identity = std::is_sorted(p.begin(), p.end()) && static_cast<int>(p.size()) == x.rank() &&
                        std::adjacent_find(p.begin(), p.end()) == p.end() &&
                        (p.empty() || (p.front() == 0 && p.back() == x.rank() - 1));
  if (identity) return x;
  return apply1("transpose", {x}, TransposeAttrs{std::move(p)}, std::move(loc));
}

Value slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t end, std::int64_t step,
            SourceLoc loc) {
  const Shape shape = x.shape();
  const int a = resolve_axis("slice", axis, shape);
  if (step == 0) throw UsageError("slice: the step must not be 0");
  const std::int64_t dim = shape[a];
  // Positions a walk in this direction can take: [0, dim] upward, [-1, dim - 1] downward.
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
  const auto resolve = [&](std::int64_t p) { return std::clamp(p < 0 ? p + dim : p, low, high); };
  SliceAttrs s = whole(shape);
  const auto k = static_cast<std::size_t>(a);
  s.starts[k] = resolve(start);
  s.ends[k] = step > 0 ? std::max(resolve(end), s.starts[k]) : std::min(resolve(end), s.starts[k]);
  s.steps[k] = step;
  return slice(x, s, std::move(loc));
}

Value slice(Value x, const SliceAttrs& attrs, SourceLoc loc) {
  return apply1("slice", {x}, attrs, std::move(loc));
}

Value flip(Value x, std::int64_t axis, SourceLoc loc) {
  const int a = resolve_axis("flip", axis, x.shape());
  if (x.dim(a) == 0) return x;
  SliceAttrs s = whole(x.shape());
  const auto k = static_cast<std::size_t>(a);
  s.starts[k] = x.dim(a) - 1;
  s.ends[k] = -1;
  s.steps[k] = -1;
  return slice(x, s, std::move(loc));
}

Value concat(std::span<const Value> parts, std::int64_t axis, SourceLoc loc) {
  if (parts.empty()) throw UsageError("concat: expects at least one operand");
  return apply1("concat", parts, ConcatAttrs{resolve_axis("concat", axis, parts[0].shape())}, std::move(loc));
}

Value concat(std::initializer_list<Value> parts, std::int64_t axis, SourceLoc loc) {
  return concat(std::span<const Value>(parts.begin(), parts.size()), axis, std::move(loc));
}

Value pad(Value x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after,
          double value, SourceLoc loc) {
  return apply1("pad", {x}, PadAttrs{before, after, value}, std::move(loc));
}

Value broadcast_to(Value x, const Shape& shape, SourceLoc loc) {
  if (x.shape() == shape) return x;
  return apply1("broadcast_to", {x}, BroadcastToAttrs{shape}, std::move(loc));
}

Value reorder(Value x, const Layout& layout, SourceLoc loc) {
  if (x.type().layout == layout.canonical()) return x;
  return apply1("reorder", {x}, ReorderAttrs{layout}, std::move(loc));
}

}  // namespace ingot
