#include "core/ops/gather.h"

#include <cstring>

#include "core/ops/check.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/reference.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

// Dimensions of `x` with axis replaced by those of `indices`.
Shape gathered_shape(const InferArgs& a, const Shape& x, int axis, const Shape& indices) {
  if (x.rank() - 1 + indices.rank() > Shape::kMaxRank)
    throw ShapeError(cat(a.op, ": the result of ", to_string(x), " and indices ", to_string(indices),
                         " would have more than ", Shape::kMaxRank, " dimensions"));
  Shape to;
  for (int i = 0; i < axis; ++i) to.push_back(x[i]);
  for (const std::int64_t d : indices) to.push_back(d);
  for (int i = axis + 1; i < x.rank(); ++i) to.push_back(x[i]);
  return to;
}

// The position along an axis of `dim` elements; negative ones count from the end.
std::int64_t position(std::string_view op, std::int64_t index, std::int64_t dim) {
  if (index < -dim || index >= dim)
    throw UsageError(cat(op, ": index ", index, " is out of range for ", dim, " positions"));
  return index < 0 ? index + dim : index;
}

void zero(const Tensor& t) {
  for (std::byte& b : t.as_bytes()) b = std::byte{0};
}

// --- gather

std::vector<TensorType> infer_gather(const InferArgs& a) {
  const int axis = ops::check_axis(a, a.attrs.as<GatherAttrs>().axis, a.shape(0));
  ops::check_index(a, 1, "the index operand");
  return {{a.dtype(0), gathered_shape(a, a.shape(0), axis, a.shape(1))}};
}

std::vector<Value> gradient_gather(GradContext& c) {
  const Shape shape = c.input(0).shape();
  return {scatter_add(c.grad(), c.input(1),
                      shape.normalize_axis(static_cast<int>(c.attrs<GatherAttrs>().axis)), shape),
          Value()};
}

void reference_gather(const RefArgs& a) {
  const Tensor &x = a.inputs[0], &indices = a.inputs[1], &y = a.outputs[0];
  const int axis = x.shape().normalize_axis(static_cast<int>(a.attrs.as<GatherAttrs>().axis));
  const ops::AxisSplit s = ops::split_at(x.shape(), axis);
  const std::int64_t n = indices.numel();
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t p = position("gather", ops::index_at(indices, k), s.dim);
        for (std::int64_t i = 0; i < s.inner; ++i)
          out[(o * n + k) * s.inner + i] = in[(o * s.dim + p) * s.inner + i];
      }
  });
}

// --- scatter_add

std::vector<TensorType> infer_scatter_add(const InferArgs& a) {
  const auto& s = a.attrs.as<ScatterAddAttrs>();
  const int axis = ops::check_axis(a, s.axis, s.shape);
  ops::check_index(a, 1, "the index operand");
  if (a.dtype(0) == DType::Bool)
    throw ShapeError(cat(a.op, ": the updates must be numeric, got bool; convert with cast()"));
  ops::check_shape(a, 0, "the updates", gathered_shape(a, s.shape, axis, a.shape(1)));
  return {{a.dtype(0), s.shape}};
}

std::vector<Value> gradient_scatter_add(GradContext& c) {
  return {gather(c.grad(), c.input(1), c.attrs<ScatterAddAttrs>().axis), Value()};
}

template <class T>
using Sum = std::conditional_t<std::is_integral_v<T>, std::int64_t, double>;

void reference_scatter_add(const RefArgs& a) {
  const Tensor &updates = a.inputs[0], &indices = a.inputs[1], &y = a.outputs[0];
  const auto& attrs = a.attrs.as<ScatterAddAttrs>();
  const ops::AxisSplit s = ops::split_at(y.shape(), y.shape().normalize_axis(static_cast<int>(attrs.axis)));
  const std::int64_t n = indices.numel();
  visit_dtype(y.dtype(), [&]<class T>() {
    const T* in = updates.data<T>();
    T* out = y.data<T>();
    std::vector<Sum<T>> sums(static_cast<std::size_t>(y.numel()), Sum<T>{0});
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t p = position("scatter_add", ops::index_at(indices, k), s.dim);
        for (std::int64_t i = 0; i < s.inner; ++i) {
          Sum<T>& sum = sums[static_cast<std::size_t>((o * s.dim + p) * s.inner + i)];
          if constexpr (std::is_integral_v<T>)
            sum += static_cast<std::int64_t>(in[(o * n + k) * s.inner + i]);
          else
            sum += to_double(in[(o * n + k) * s.inner + i]);
        }
      }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if constexpr (std::is_integral_v<T>)
        out[i] = static_cast<T>(sums[i]);
      else
        out[i] = from_double<T>(sums[i]);
    }
  });
}

// --- take_along_axis, put_along_axis

// Checks indices for each element of `other`, which may differ along the axis alone.
int check_along(const InferArgs& a, std::int64_t axis_attr, const Shape& other) {
  ops::check_index(a, 1, "the index operand");
  const int axis = ops::check_axis(a, axis_attr, other);
  Shape expected = other;
  if (a.shape(1).rank() == other.rank()) expected[axis] = a.shape(1)[axis];
  ops::check_shape(a, 1, "the index operand", expected);
  return axis;
}

std::vector<TensorType> infer_take_along_axis(const InferArgs& a) {
  check_along(a, a.attrs.as<TakeAlongAxisAttrs>().axis, a.shape(0));
  return {{a.dtype(0), a.shape(1)}};
}

// Indices may repeat, so gradients are added, at their places in the flattened operand.
std::vector<Value> gradient_take_along_axis(GradContext& c) {
  const Shape shape = c.input(0).shape(), taken = c.input(1).shape();
  const int axis = shape.normalize_axis(static_cast<int>(c.attrs<TakeAlongAxisAttrs>().axis));
  const ops::AxisSplit s = ops::split_at(shape, axis);
  const Shape flat{taken.numel()};
  const Value index = cast(c.input(1), DType::I64);
  const Value row = where(lt(index, 0.0), index + static_cast<double>(s.dim), index);
  const Value line = reshape(iota(c.graph(), s.outer), Shape{s.outer, 1, 1}) * static_cast<double>(s.dim);
  const Value at =
      (line + reshape(row, Shape{s.outer, taken[axis], s.inner})) * static_cast<double>(s.inner) +
      reshape(iota(c.graph(), s.inner), Shape{1, 1, s.inner});
  const Value sum = scatter_add(reshape(c.grad(), flat), reshape(at, flat), 0, Shape{shape.numel()});
  return {reshape(sum, shape), Value()};
}

// Moves element k of `some` from or to the place in `whole` that index k names.
template <class Move>
void each_along(std::string_view op, std::int64_t axis_attr, const Tensor& whole, const Tensor& some,
                const Tensor& indices, const Move& move) {
  const int axis = whole.shape().normalize_axis(static_cast<int>(axis_attr));
  const ops::AxisSplit s = ops::split_at(whole.shape(), axis), t = ops::split_at(some.shape(), axis);
  const std::size_t bytes = size_of(whole.dtype());
  for (std::int64_t k = 0; k < some.numel(); ++k) {
    const std::int64_t o = k / (t.dim * t.inner), row = position(op, ops::index_at(indices, k), s.dim);
    const auto at = static_cast<std::size_t>((o * s.dim + row) * s.inner + k % t.inner);
    move(some.as_bytes().data() + static_cast<std::size_t>(k) * bytes, whole.as_bytes().data() + at * bytes,
         bytes);
  }
}

void reference_take_along_axis(const RefArgs& a) {
  each_along("take_along_axis", a.attrs.as<TakeAlongAxisAttrs>().axis, a.inputs[0], a.outputs[0], a.inputs[1],
             [](std::byte* some, const std::byte* whole, std::size_t n) { std::memcpy(some, whole, n); });
}

std::vector<TensorType> infer_put_along_axis(const InferArgs& a) {
  const auto& p = a.attrs.as<PutAlongAxisAttrs>();
  const int axis = check_along(a, p.axis, a.shape(0));
  ops::check_shape(a, 1, "the index operand", a.shape(0));
  if (p.size < a.shape(0)[axis])
    throw ShapeError(cat(a.op, ": 'size' must be at least ", a.shape(0)[axis],
                         ", the number of updates with different indices along the axis, got ", p.size));
  Shape to = a.shape(0);
  to[axis] = p.size;
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_put_along_axis(GradContext& c) {
  return {take_along_axis(c.grad(), c.input(1), c.attrs<PutAlongAxisAttrs>().axis), Value()};
}

void reference_put_along_axis(const RefArgs& a) {
  zero(a.outputs[0]);
  each_along("put_along_axis", a.attrs.as<PutAlongAxisAttrs>().axis, a.outputs[0], a.inputs[0], a.inputs[1],
             [](const std::byte* some, std::byte* whole, std::size_t n) { std::memcpy(whole, some, n); });
}

// --- one_hot

std::vector<TensorType> infer_one_hot(const InferArgs& a) {
  const auto& o = a.attrs.as<OneHotAttrs>();
  ops::check_index(a, 0, "the index operand");
  if (o.depth < 1) throw ShapeError(cat(a.op, ": depth must be at least 1, got ", o.depth));
  Shape to = a.shape(0);
  to.push_back(o.depth);
  return {{o.dtype, to}};
}

void reference_one_hot(const RefArgs& a) {
  const std::int64_t depth = a.attrs.as<OneHotAttrs>().depth;
  const Tensor &indices = a.inputs[0], &y = a.outputs[0];
  zero(y);
  for (std::int64_t k = 0; k < indices.numel(); ++k) {
    const std::int64_t p = ops::index_at(indices, k);
    if (p >= -depth && p < depth) y.set(k * depth + (p < 0 ? p + depth : p), 1.0);
  }
}

// --- embedding

std::vector<TensorType> infer_embedding(const InferArgs& a) {
  ops::check_rank(a, 0, "the weight [rows, columns]", 2);
  ops::check_index(a, 1, "the index operand");
  const std::int64_t padding = a.attrs.as<EmbeddingAttrs>().padding_idx;
  if (padding < -1 || padding >= a.shape(0)[0])
    throw ShapeError(cat(a.op, ": padding_idx ", padding, " is no row of ", to_string(a.shape(0)),
                         " (-1 stands for none)"));
  Shape to = a.shape(1);
  to.push_back(a.shape(0)[1]);
  return {{a.dtype(0), to}};
}

std::vector<Value> gradient_embedding(GradContext& c) {
  const EmbeddingGradAttrs g{c.input(0).dim(0), c.attrs<EmbeddingAttrs>().padding_idx};
  return {apply1("embedding_grad", {c.grad(), c.input(1)}, g), Value()};
}

std::int64_t row_of(std::int64_t index, std::int64_t rows) {
  if (index < 0 || index >= rows)
    throw UsageError(cat("embedding: index ", index, " is out of range for ", rows, " rows"));
  return index;
}

void reference_embedding(const RefArgs& a) {
  const Tensor &weight = a.inputs[0], &indices = a.inputs[1], &y = a.outputs[0];
  const std::int64_t rows = weight.shape()[0], columns = weight.shape()[1];
  visit_dtype(weight.dtype(), [&]<class T>() {
    const T* w = weight.data<T>();
    T* out = y.data<T>();
    for (std::int64_t k = 0; k < indices.numel(); ++k) {
      const std::int64_t r = row_of(ops::index_at(indices, k), rows);
      for (std::int64_t i = 0; i < columns; ++i) out[k * columns + i] = w[r * columns + i];
    }
  });
}

std::vector<TensorType> infer_embedding_grad(const InferArgs& a) {
  const auto& g = a.attrs.as<EmbeddingGradAttrs>();
  ops::check_floating(a, 0, "the gradient");
  ops::check_index(a, 1, "the index operand");
  if (a.shape(0).rank() == 0)
    throw ShapeError(cat(a.op, ": the gradient must have the shape of the indices and one axis more"));
  Shape expected = a.shape(1);
  expected.push_back(a.shape(0)[-1]);
  ops::check_shape(a, 0, "the gradient", expected);
  if (g.rows < 0) throw ShapeError(cat(a.op, ": 'rows' must not be negative, got ", g.rows));
  return {{a.dtype(0), {g.rows, a.shape(0)[-1]}}};
}

std::vector<Value> gradient_embedding_grad(GradContext& c) {
  const auto g = c.attrs<EmbeddingGradAttrs>();
  Value d = embedding(c.grad(), c.input(1), g.padding_idx);
  if (g.padding_idx >= 0) {
    // Rows of padding took no part.
    Shape column = c.input(1).shape();
    column.push_back(1);
    const Value pads = eq(c.input(1), static_cast<double>(g.padding_idx));
    d = where(reshape(pads, column), 0.0, d);
  }
  return {d, Value()};
}

void reference_embedding_grad(const RefArgs& a) {
  const auto& attrs = a.attrs.as<EmbeddingGradAttrs>();
  const Tensor &g = a.inputs[0], &indices = a.inputs[1], &y = a.outputs[0];
  const std::int64_t columns = y.shape()[1];
  visit_dtype(y.dtype(), [&]<class T>() {
    const T* in = g.data<T>();
    T* out = y.data<T>();
    std::vector<double> sums(static_cast<std::size_t>(y.numel()), 0.0);
    for (std::int64_t k = 0; k < indices.numel(); ++k) {
      const std::int64_t r = row_of(ops::index_at(indices, k), attrs.rows);
      if (r == attrs.padding_idx) continue;
      for (std::int64_t i = 0; i < columns; ++i)
        sums[static_cast<std::size_t>(r * columns + i)] += to_double(in[k * columns + i]);
    }
    for (std::size_t i = 0; i < sums.size(); ++i) out[i] = from_double<T>(sums[i]);
  });
}

// Only the rows that are named move, twice: read and written.
Cost cost_rows(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return {0.0, 2.0 * static_cast<double>(outputs[0].bytes()) + static_cast<double>(inputs[1].bytes())};
}

// One addition per update; the result is cleared and written.
Cost cost_scatter(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return {static_cast<double>(inputs[0].numel()), 3.0 * static_cast<double>(inputs[0].bytes()) +
                                                      static_cast<double>(inputs[1].bytes()) +
                                                      static_cast<double>(outputs[0].bytes())};
}

OpDef indexed(std::string name, std::string doc, Attrs attrs, InferFn infer, GradFn gradient, RefFn reference,
              CostFn cost) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.min_inputs = d.max_inputs = 2;
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.gradient = gradient;
  d.reference = reference;
  d.cost = cost;
  return d;
}

}  // namespace

namespace ops {

OpDef def_gather() {
  return indexed("gather", "Takes slices along an axis at the given indices.", GatherAttrs{}, infer_gather,
                 gradient_gather, reference_gather, cost_rows);
}

OpDef def_scatter_add() {
  return indexed("scatter_add", "Adds slices into zeros along an axis at the given indices.",
                 ScatterAddAttrs{}, infer_scatter_add, gradient_scatter_add, reference_scatter_add,
                 cost_scatter);
}

OpDef def_take_along_axis() {
  return indexed("take_along_axis", "Takes elements along an axis, each at an index of its own.",
                 TakeAlongAxisAttrs{}, infer_take_along_axis, gradient_take_along_axis,
                 reference_take_along_axis, cost_rows);
}

OpDef def_put_along_axis() {
  return indexed("put_along_axis", "Puts elements into zeros along an axis, each at an index of its own.",
                 PutAlongAxisAttrs{}, infer_put_along_axis, gradient_put_along_axis, reference_put_along_axis,
                 nullptr);
}

OpDef def_one_hot() {
  OpDef d = indexed("one_hot", "A new last axis with 1 at the index and 0 elsewhere.", OneHotAttrs{},
                    infer_one_hot, nullptr, reference_one_hot, nullptr);
  d.min_inputs = d.max_inputs = 1;
  d.not_differentiable = "its operand is an index";
  return d;
}

OpDef def_embedding() {
  return indexed("embedding", "Rows of a weight matrix at the given indices.", EmbeddingAttrs{},
                 infer_embedding, gradient_embedding, reference_embedding, cost_rows);
}

OpDef def_embedding_grad() {
  return indexed("embedding_grad", "Gradient of embedding with respect to the weight.", EmbeddingGradAttrs{},
                 infer_embedding_grad, gradient_embedding_grad, reference_embedding_grad, cost_scatter);
}

}  // namespace ops

Value gather(Value x, Value indices, std::int64_t axis, SourceLoc loc) {
  return apply1("gather", {x, indices}, GatherAttrs{axis}, std::move(loc));
}

Value scatter_add(Value updates, Value indices, std::int64_t axis, const Shape& shape, SourceLoc loc) {
  return apply1("scatter_add", {updates, indices}, ScatterAddAttrs{axis, shape}, std::move(loc));
}

Value take_along_axis(Value x, Value indices, std::int64_t axis, SourceLoc loc) {
  return apply1("take_along_axis", {x, indices}, TakeAlongAxisAttrs{axis}, std::move(loc));
}

Value put_along_axis(Value updates, Value indices, std::int64_t axis, std::int64_t size, SourceLoc loc) {
  return apply1("put_along_axis", {updates, indices}, PutAlongAxisAttrs{axis, size}, std::move(loc));
}

Value one_hot(Value indices, std::int64_t depth, DType dtype, SourceLoc loc) {
  return apply1("one_hot", {indices}, OneHotAttrs{depth, dtype}, std::move(loc));
}

Value embedding(Value weight, Value indices, std::int64_t padding_idx, SourceLoc loc) {
  return apply1("embedding", {weight, indices}, EmbeddingAttrs{padding_idx}, std::move(loc));
}

}  // namespace ingot
