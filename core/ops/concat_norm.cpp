#include "core/ops/concat_norm.h"

#include <vector>

#include "core/ops/check.h"
#include "core/ops/norm.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

// The type of the concatenation of operands [from, from + pieces).
TensorType joined(const InferArgs& a, int from, int pieces) {
  if (pieces < 1) throw UsageError(cat(a.op, ": expects one piece x_1 or more after the other operands"));
  TensorType x = a.inputs[static_cast<std::size_t>(from)];
  if (x.shape.rank() < 2)
    throw ShapeError(
        cat(a.op, ": pieces must have at least the axes [N, C], got shape ", to_string(x.shape)));
  for (int i = 1; i < pieces; ++i) {
    const TensorType& t = a.inputs[static_cast<std::size_t>(from + i)];
    Shape like = x.shape;
    if (t.shape.rank() == like.rank()) like[1] = t.shape[1];
    if (t.dtype != x.dtype || t.shape != like)
      throw ShapeError(cat(a.op, ": piece ", i + 1, " is ", to_string(t), ", which does not continue ",
                           to_string(x), " along the channels"));
    x.shape[1] += t.shape[1];
  }
  return x;
}

// What the op says of x where it stands for `name`, of these operands.
std::vector<TensorType> infer_as(const char* name, const InferArgs& a, const Attrs& attrs,
                                 const std::vector<TensorType>& inputs) {
  return op(name).infer({a.op, attrs, inputs});
}

Attrs plain(const ConcatBatchNormAttrs& at) {
  return BatchNormAttrs{
      .eps = at.eps, .momentum = at.momentum, .has_valid = at.has_valid, .activation = at.activation};
}
Attrs plain(const ConcatBatchNormApplyAttrs& at) {
  return BatchNormApplyAttrs{.has_valid = at.has_valid, .activation = at.activation};
}
Attrs plain(const ConcatBatchNormGradAttrs& at) {
  return BatchNormGradAttrs{.eps = at.eps,
                            .has_valid = at.has_valid,
                            .activation = at.activation,
                            .mask_from_x = !at.activation.empty()};
}

// x before the other operands.
template <class A, class T>
std::vector<T> x_first(const A& at, const T& x, std::span<const T> in) {
  std::vector<T> out{x};
  out.insert(out.end(), in.begin(), in.begin() + at.first_piece());
  return out;
}
// dy, x, and the rest.
template <class T>
std::vector<T> x_second(const ConcatBatchNormGradAttrs& at, const T& x, std::span<const T> in) {
  std::vector<T> out{in[0], x};
  out.insert(out.end(), in.begin() + 1, in.begin() + at.first_piece());
  return out;
}

template <class A>
std::vector<TensorType> infer_forward(const InferArgs& a, const char* name) {
  const auto& at = a.attrs.as<A>();
  const int first = at.first_piece();
  const TensorType x = joined(a, first, static_cast<int>(a.inputs.size()) - first);
  return infer_as(name, a, plain(at), x_first(at, x, a.inputs));
}
std::vector<TensorType> infer_concat_batch_norm(const InferArgs& a) {
  return infer_forward<ConcatBatchNormAttrs>(a, "batch_norm");
}
std::vector<TensorType> infer_concat_batch_norm_apply(const InferArgs& a) {
  return infer_forward<ConcatBatchNormApplyAttrs>(a, "batch_norm_apply");
}

std::vector<TensorType> infer_concat_batch_norm_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<ConcatBatchNormGradAttrs>();
  const int first = at.first_piece(), n = static_cast<int>(a.inputs.size()), pieces = at.pieces(n);
  const TensorType x = joined(a, first, pieces);
  if (at.has_added && first + 2 * pieces != n)
    throw UsageError(cat(a.op, ": has_added asks for one added gradient for each of ", pieces,
                         " pieces, got ", n - first - pieces));
  for (int i = 0; at.has_added && i < pieces; ++i) {
    ops::check_dtype(a, first + pieces + i, "an added gradient", x.dtype);
    ops::check_shape(a, first + pieces + i, "an added gradient (as its piece)", a.shape(first + i));
  }
  const auto types = infer_as("batch_norm_grad", a, plain(at), x_second(at, x, a.inputs));
  std::vector<TensorType> out(a.inputs.begin() + first, a.inputs.begin() + first + pieces);
  out.insert(out.end(), types.begin() + 1, types.end());
  return out;
}

// f(piece, where it begins in the piece, where in the concatenation, elements) for each run of both.
template <class F>
void each_run(std::span<const Tensor> pieces, std::int64_t channels, F f) {
  std::int64_t before = 0;
  for (std::size_t k = 0; k < pieces.size(); ++k) {
    const ops::AxisSplit s = ops::split_at(pieces[k].shape(), 1);
    const std::int64_t run = s.dim * s.inner;
    for (std::int64_t n = 0; n < s.outer; ++n) f(k, n * run, (n * channels + before) * s.inner, run);
    before += s.dim;
  }
}

Tensor joined(std::span<const Tensor> pieces) {
  Shape shape = pieces[0].shape();
  for (const Tensor& t : pieces.subspan(1)) shape[1] += t.shape()[1];
  Tensor x = Tensor::zeros({pieces[0].dtype(), shape});
  ops::visit_floating("concat_batch_norm", x.dtype(), [&]<class T>() {
    each_run(pieces, shape[1], [&](std::size_t k, std::int64_t from, std::int64_t to, std::int64_t n) {
      std::copy_n(pieces[k].data<T>() + from, n, x.data<T>() + to);
    });
  });
  return x;
}

template <class A>
void reference_forward(const RefArgs& r, const char* name) {
  const auto& at = r.attrs.as<A>();
  const Tensor x = joined(r.inputs.subspan(static_cast<std::size_t>(at.first_piece())));
  op(name).reference({plain(at), x_first(at, x, r.inputs), r.outputs});
}
void reference_concat_batch_norm(const RefArgs& r) {
  reference_forward<ConcatBatchNormAttrs>(r, "batch_norm");
}
void reference_concat_batch_norm_apply(const RefArgs& r) {
  reference_forward<ConcatBatchNormApplyAttrs>(r, "batch_norm_apply");
}

void reference_concat_batch_norm_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<ConcatBatchNormGradAttrs>();
  const auto first = static_cast<std::size_t>(at.first_piece());
  const auto pieces = static_cast<std::size_t>(at.pieces(static_cast<int>(r.inputs.size())));
  const Tensor x = joined(r.inputs.subspan(first, pieces));
  std::vector<Tensor> out{Tensor::zeros(x.type())};
  out.insert(out.end(), r.outputs.begin() + static_cast<std::ptrdiff_t>(pieces), r.outputs.end());
  op("batch_norm_grad").reference({plain(at), x_second(at, x, r.inputs), out});
  ops::visit_floating("concat_batch_norm_grad", x.dtype(), [&]<class T>() {
    each_run(r.outputs.first(pieces), x.shape()[1],
             [&](std::size_t k, std::int64_t to, std::int64_t from, std::int64_t n) {
               const T* added = at.has_added ? r.inputs[first + pieces + k].template data<T>() + to : nullptr;
               for (std::int64_t i = 0; i < n; ++i)
                 r.outputs[k].template data<T>()[to + i] =
                     out[0].data<T>()[from + i] + (added == nullptr ? T(0) : added[i]);
             });
  });
}

// Operands from x_1 on are what is read twice; of added gradients, once.
double piece_bytes(std::span<const TensorType> pieces) {
  return ops::operand_bytes(pieces, {});
}
Cost cost_concat_batch_norm(const Attrs& attrs, std::span<const TensorType> in,
                            std::span<const TensorType> out) {
  const auto first = static_cast<std::size_t>(attrs.as<ConcatBatchNormAttrs>().first_piece());
  return {8.0 * static_cast<double>(out[0].numel()),
          ops::operand_bytes(in, out) + piece_bytes(in.subspan(first))};
}
Cost cost_concat_batch_norm_apply(const Attrs&, std::span<const TensorType> in,
                                  std::span<const TensorType> out) {
  return {2.0 * static_cast<double>(out[0].numel()), ops::operand_bytes(in, out)};
}
Cost cost_concat_batch_norm_grad(const Attrs& attrs, std::span<const TensorType> in,
                                 std::span<const TensorType> out) {
  const auto& at = attrs.as<ConcatBatchNormGradAttrs>();
  const auto pieces = static_cast<std::size_t>(at.pieces(static_cast<int>(in.size())));
  return {11.0 * static_cast<double>(in[0].numel()),
          ops::operand_bytes(in, out) + static_cast<double>(in[0].bytes()) +
              piece_bytes(in.subspan(static_cast<std::size_t>(at.first_piece()), pieces))};
}

OpDef fused(std::string_view name, std::string_view doc, Attrs attrs, InferFn infer, RefFn reference,
            CostFn cost) {
  OpDef d = ops::made_by_pass("fuse-concat", "concat and batch_norm", name, doc, infer, reference, cost);
  d.min_inputs = 5;
  d.max_inputs = -1;
  d.attrs = std::move(attrs);
  return d;
}

}  // namespace

namespace ops {

OpDef def_concat_batch_norm() {
  OpDef d = fused("concat_batch_norm", "batch_norm of a concatenation along the channels, from its pieces",
                  ConcatBatchNormAttrs{}, infer_concat_batch_norm, reference_concat_batch_norm,
                  cost_concat_batch_norm);
  d.full_inputs = {0, 1, 2, 3};
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{2, 3}, {3, 4}}; };
  return d;
}

OpDef def_concat_batch_norm_apply() {
  OpDef d = fused("concat_batch_norm_apply", "The result of concat_batch_norm once more, from its statistics",
                  ConcatBatchNormApplyAttrs{}, infer_concat_batch_norm_apply,
                  reference_concat_batch_norm_apply, cost_concat_batch_norm_apply);
  d.full_inputs = {0, 1, 2, 3};
  return d;
}

OpDef def_concat_batch_norm_grad() {
  OpDef d =
      fused("concat_batch_norm_grad", "Gradient of concat_batch_norm, in pieces", ConcatBatchNormGradAttrs{},
            infer_concat_batch_norm_grad, reference_concat_batch_norm_grad, cost_concat_batch_norm_grad);
  d.full_inputs = {1, 2, 3};
  d.in_place = [](const Attrs& attrs, int num_inputs) {
    const auto& at = attrs.as<ConcatBatchNormGradAttrs>();
    const int pieces = at.pieces(num_inputs);
    std::vector<std::array<int, 2>> pairs;
    for (int i = 0; at.has_added && i < pieces; ++i) pairs.push_back({at.first_piece() + pieces + i, i});
    for (int i = 0; i < pieces; ++i) pairs.push_back({at.first_piece() + i, i});
    return pairs;
  };
  return d;
}

}  // namespace ops
}  // namespace ingot
