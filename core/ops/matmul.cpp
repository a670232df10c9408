#include "core/ops/matmul.h"

#include <array>

#include "core/ops/activation.h"
#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using ops::Strides;

// The shape without its last two axes.
Shape batch_of(const Shape& s) {
  return Shape(s.dims().first(static_cast<std::size_t>(s.rank() - 2)));
}

std::vector<TensorType> infer_matmul(const InferArgs& a) {
  const auto& at = a.attrs.as<MatmulAttrs>();
  ops::check_count(a, 2u + at.has_bias + at.has_residual, "(a, b, [bias], [residual])");
  activation_op(a.op, at.activation);
  ops::check_floating(a, 0, "a");
  ops::check_dtype(a, 1, "b (whose dtype is that of a)", a.dtype(0));
  for (const int i : {0, 1})
    if (a.shape(i).rank() < 2)
      throw ShapeError(cat(a.op, ": ", i == 0 ? "a" : "b", " must have 2 or more dimensions, got shape ",
                           to_string(a.shape(i)), "; add an axis with unsqueeze()"));
  const int ka = at.transpose_a ? -2 : -1, kb = at.transpose_b ? -1 : -2;
  if (a.shape(0)[ka] != a.shape(1)[kb])
    throw ShapeError(cat(a.op, ": the summed sizes must be equal, a ", to_string(a.shape(0)), " has ",
                         a.shape(0)[ka], " on axis ", ka, at.transpose_a ? " (transposed)" : "", " and b ",
                         to_string(a.shape(1)), " has ", a.shape(1)[kb], " on axis ", kb,
                         at.transpose_b ? " (transposed)" : "", "; transpose or reshape one of them"));
  const Shape ba = batch_of(a.shape(0)), bb = batch_of(a.shape(1));
  Shape out;
  try {
    out = broadcast(ba, bb);
  } catch (const ShapeError&) {
    throw ShapeError(cat(a.op, ": batch axes ", to_string(ba), " of a and ", to_string(bb),
                         " of b do not broadcast; they must be equal or 1"));
  }
  out.push_back(a.shape(0)[at.transpose_a ? -1 : -2]);
  out.push_back(a.shape(1)[at.transpose_b ? -2 : -1]);
  if (at.has_bias) {
    ops::check_dtype(a, 2, "bias", a.dtype(0));
    ops::check_shape(a, 2, "bias", Shape{out[-1]});
  }
  if (at.has_residual) {
    ops::check_dtype(a, 2 + at.has_bias, "residual", a.dtype(0));
    ops::check_shape(a, 2 + at.has_bias, "residual", out);
  }
  return {{a.dtype(0), out}};
}

std::vector<Value> grad_matmul(GradContext& c) {
  const auto at = c.attrs<MatmulAttrs>();
  if (!at.activation.empty())
    throw UsageError(cat("matmul: no gradient once the activation '", at.activation,
                         "' is fused in; differentiate before the epilogue pass runs"));
  const Value a = c.input(0), b = c.input(1), dy = c.grad();
  const bool ta = at.transpose_a, tb = at.transpose_b;
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  if (c.needs(0)) {
    const Value da = ta ? matmul(b, dy, tb, true) : matmul(dy, b, false, !tb);
    out[0] = sum_to_shape(da, a.shape());
  }
  if (c.needs(1)) {
    if (b.rank() == 2 && a.rank() > 2 && !ta) {
      // One product over all rows instead of a batch of products that is summed afterwards.
      const Value rows = reshape(a, {-1, a.dim(-1)}), drows = reshape(dy, {-1, dy.dim(-1)});
      out[1] = tb ? matmul(drows, rows, true, false) : matmul(rows, drows, true, false);
    } else {
      const Value db = tb ? matmul(dy, a, true, ta) : matmul(a, dy, !ta, false);
      out[1] = sum_to_shape(db, b.shape());
    }
  }
  std::size_t next = 2;
  if (at.has_bias) {
    if (c.needs(2)) out[next] = sum_to_shape(dy, c.input(2).shape());
    ++next;
  }
  if (at.has_residual) out[next] = dy;
  return out;
}

void reference_matmul(const RefArgs& r) {
  const auto& at = r.attrs.as<MatmulAttrs>();
  const MatmulSizes s =
      matmul_sizes(r.inputs[0].shape(), r.inputs[1].shape(), at.transpose_a, at.transpose_b);
  const LastFunction act{activation_op("matmul", at.activation)};
  ops::visit_floating("matmul", r.outputs[0].dtype(), [&]<class T>() {
    const T* bias = at.has_bias ? r.inputs[2].data<T>() : nullptr;
    const T* residual = at.has_residual ? r.inputs[2u + at.has_bias].data<T>() : nullptr;
    const std::int64_t am = at.transpose_a ? 1 : s.k, ak = at.transpose_a ? s.m : 1;
    const std::int64_t bk = at.transpose_b ? 1 : s.n, bn = at.transpose_b ? s.k : 1;
    std::int64_t out = 0;
    const auto product = [&](const T* a, const T* b) {
      for (std::int64_t i = 0; i < s.m; ++i)
        for (std::int64_t j = 0; j < s.n; ++j, ++out) {
          double acc = 0.0;
          for (std::int64_t k = 0; k < s.k; ++k)
            acc += static_cast<double>(a[i * am + k * ak]) * static_cast<double>(b[k * bk + j * bn]);
          if (bias != nullptr) acc += static_cast<double>(bias[j]);
          if (residual != nullptr) acc += static_cast<double>(residual[out]);
          r.outputs[0].data<T>()[out] = static_cast<T>(activate(act, acc));
        }
    };
    // Offsets of the matrices, in elements, over the broadcast batch axes.
    const auto strides = [&](const Tensor& t, std::int64_t matrix) {
      Strides st = ops::broadcast_strides(batch_of(t.shape()), s.batch);
      for (auto& v : st) v *= matrix;
      return st;
    };
    ops::for_each_offset<2>(s.batch, {strides(r.inputs[0], s.m * s.k), strides(r.inputs[1], s.k * s.n)},
                            [&](std::int64_t, const std::array<std::int64_t, 2>& o) {
                              product(r.inputs[0].data<T>() + o[0], r.inputs[1].data<T>() + o[1]);
                            });
  });
}

Cost cost_matmul(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  const auto& at = attrs.as<MatmulAttrs>();
  const double k = static_cast<double>(in[0].shape[at.transpose_a ? -2 : -1]);
  const double epilogue =
      (at.has_bias ? 1.0 : 0.0) + (at.has_residual ? 1.0 : 0.0) + (at.activation.empty() ? 0.0 : 1.0);
  return {static_cast<double>(out[0].numel()) * (2.0 * k + epilogue), ops::operand_bytes(in, out)};
}

}  // namespace

MatmulSizes matmul_sizes(const Shape& a, const Shape& b, bool transpose_a, bool transpose_b) {
  MatmulSizes s;
  s.batch = broadcast(batch_of(a), batch_of(b));
  s.m = a[transpose_a ? -1 : -2];
  s.k = a[transpose_a ? -2 : -1];
  s.n = b[transpose_b ? -2 : -1];
  return s;
}

Value matmul(Value a, Value b, bool transpose_a, bool transpose_b, SourceLoc loc) {
  MatmulAttrs attrs;
  attrs.transpose_a = transpose_a;
  attrs.transpose_b = transpose_b;
  return apply1("matmul", {a, b}, attrs, std::move(loc));
}

namespace ops {

OpDef def_matmul() {
  OpDef d;
  d.name = "matmul";
  d.doc =
      "Matrix product over the last two axes, batched and broadcast over the others, with an optional "
      "epilogue";
  d.min_inputs = 2;
  d.max_inputs = 4;
  d.attrs = MatmulAttrs{};
  d.infer = infer_matmul;
  d.gradient = grad_matmul;
  d.reference = reference_matmul;
  d.cost = cost_matmul;
  d.precision = Precision::Compute;
  return d;
}

}  // namespace ops
}  // namespace ingot
