#include "core/ops/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <vector>

#include "core/ops/check.h"
#include "core/ops/compose.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/support.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

// --- shapes

struct Sizes {
  std::int64_t steps = 0, rows = 0, units = 0;
  Shape sequence(std::int64_t gates = 1) const { return {steps, rows, gates * units}; }
  Shape state() const { return {rows, units}; }
};

// Of a node whose operand `at` is [T, N, gates H]; checks that operand.
Sizes check_sequence(const InferArgs& a, int at, std::string_view what, std::int64_t gates) {
  const DType t = a.dtype(at);
  if (t != DType::F32 && t != DType::F64)
    throw ShapeError(cat(a.op, ": ", what, " must be f32, in which the states are carried, got ", name(t),
                         "; convert with cast()"));
  ops::check_rank(a, at, cat(what, " [T, N, ", gates, " H]"), 3);
  const Shape& s = a.shape(at);
  if (s[2] % gates != 0)
    throw ShapeError(cat(a.op, ": the last axis of ", what, " ", to_string(s), " must be a multiple of its ",
                         gates, " gates"));
  for (int i = 0; i < 3; ++i)
    if (s[i] == 0) throw ShapeError(cat(a.op, ": ", what, " ", to_string(s), " is empty"));
  return {s[0], s[1], s[2] / gates};
}

void check_operand(const InferArgs& a, int at, std::string_view what, const Shape& shape, DType dtype) {
  ops::check_dtype(a, at, what, dtype);
  ops::check_shape(a, at, what, shape);
}

void check_lengths(const InferArgs& a, int at, bool has_lengths, const Sizes& z) {
  ops::check_count(a, static_cast<std::size_t>(at) + has_lengths, "(..., [lengths])");
  if (has_lengths) check_operand(a, at, "lengths", {z.rows}, DType::I32);
}

std::vector<TensorType> infer_lstm(const InferArgs& a) {
  const Sizes z = check_sequence(a, 0, "the projection", 4);
  const DType t = a.dtype(0);
  check_operand(a, 1, "w_hh", {4 * z.units, z.units}, t);
  check_operand(a, 2, "h0", z.state(), t);
  check_operand(a, 3, "c0", z.state(), t);
  check_lengths(a, 4, a.attrs.as<RecurrentAttrs>().has_lengths, z);
  return {{t, z.sequence()}, {t, z.state()}, {t, z.state()}, {t, z.sequence(4)}, {t, z.sequence()}};
}

std::vector<TensorType> infer_lstm_grad(const InferArgs& a) {
  const Sizes z = check_sequence(a, 0, "dy", 1);
  const DType t = a.dtype(0);
  check_operand(a, 1, "dh_n", z.state(), t);
  check_operand(a, 2, "dc_n", z.state(), t);
  check_operand(a, 3, "w_hh", {4 * z.units, z.units}, t);
  check_operand(a, 4, "c0", z.state(), t);
  check_operand(a, 5, "gates", z.sequence(4), t);
  check_operand(a, 6, "cells", z.sequence(), t);
  check_lengths(a, 7, a.attrs.as<RecurrentAttrs>().has_lengths, z);
  return {{t, z.sequence(4)}, {t, z.state()}, {t, z.state()}};
}

std::vector<TensorType> infer_gru(const InferArgs& a) {
  const Sizes z = check_sequence(a, 0, "the projection", 3);
  const DType t = a.dtype(0);
  check_operand(a, 1, "w_hh", {3 * z.units, z.units}, t);
  check_operand(a, 2, "b_hn", {z.units}, t);
  check_operand(a, 3, "h0", z.state(), t);
  check_lengths(a, 4, a.attrs.as<RecurrentAttrs>().has_lengths, z);
  return {{t, z.sequence()}, {t, z.state()}, {t, z.sequence(4)}};
}

std::vector<TensorType> infer_gru_grad(const InferArgs& a) {
  const Sizes z = check_sequence(a, 0, "dy", 1);
  const DType t = a.dtype(0);
  check_operand(a, 1, "dh_n", z.state(), t);
  check_operand(a, 2, "w_hh", {3 * z.units, z.units}, t);
  check_operand(a, 3, "h0", z.state(), t);
  check_operand(a, 4, "y", z.sequence(), t);
  check_operand(a, 5, "gates", z.sequence(4), t);
  check_lengths(a, 6, a.attrs.as<RecurrentAttrs>().has_lengths, z);
  return {{t, z.sequence(3)}, {t, z.sequence(3)}, {t, z.state()}};
}

std::vector<TensorType> infer_rnn(const InferArgs& a) {
  const auto& at = a.attrs.as<RnnAttrs>();
  ops::rnn_is_relu(at);
  const Sizes z = check_sequence(a, 0, "the projection", 1);
  const DType t = a.dtype(0);
  check_operand(a, 1, "w_hh", {z.units, z.units}, t);
  check_operand(a, 2, "h0", z.state(), t);
  check_lengths(a, 3, at.has_lengths, z);
  return {{t, z.sequence()}, {t, z.state()}};
}

std::vector<TensorType> infer_rnn_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<RnnAttrs>();
  ops::rnn_is_relu(at);
  const Sizes z = check_sequence(a, 0, "dy", 1);
  const DType t = a.dtype(0);
  check_operand(a, 1, "dh_n", z.state(), t);
  check_operand(a, 2, "w_hh", {z.units, z.units}, t);
  check_operand(a, 3, "y", z.sequence(), t);
  check_lengths(a, 4, at.has_lengths, z);
  return {{t, z.sequence()}, {t, z.state()}};
}

// --- gradients

// The states that the steps started from, [T, N, H], from what they ended with. Padded steps hold anything.
Value states_before(GradContext& c, Value y, Value h0, bool reverse, Value lengths) {
  const Value first = unsqueeze(h0, 0);
  const std::int64_t steps = y.dim(0);
  if (!reverse) return steps == 1 ? first : concat({first, slice(y, 0, 0, steps - 1)}, 0);
  const Value later = steps == 1 ? first : concat({slice(y, 0, 1, steps), first}, 0);
  if (!lengths.defined()) return later;
  const Value step = reshape(iota(c.graph(), steps, DType::I32), {steps, 1, 1});
  const Value last = reshape(sub(lengths, 1.0), {1, lengths.dim(0), 1});
  return where(eq(step, last), first, later);
}

// dr[T, N, G H]^T h[T, N, H], summed over steps and rows.
Value weight_gradient(Value dr, Value before) {
  return matmul(reshape(dr, {-1, dr.dim(2)}), reshape(before, {-1, before.dim(2)}), true, false);
}

Value given_or_zeros(Value grad, Value like) {
  return grad.defined() ? grad : full(like.graph(), 0.0, like.type());
}

// Operands of a gradient node, the lengths behind them.
std::vector<Value> with_lengths(std::vector<Value> in, Value lengths) {
  if (lengths.defined()) in.push_back(lengths);
  return in;
}

void refuse_saved(GradContext& c, int first) {
  for (int k = first; k < static_cast<int>(c.node().outputs.size()); ++k)
    if (c.has_grad(k))
      throw UsageError(cat(c.node().op,
                           ": no gradient flows through saved gates and cells; use y and the "
                           "final states"));
}

std::vector<Value> grad_lstm(GradContext& c) {
  refuse_saved(c, 3);
  const auto at = c.attrs<RecurrentAttrs>();
  const Value y = c.output(0), w = c.input(1), h0 = c.input(2), c0 = c.input(3);
  const Value lengths = at.has_lengths ? c.input(4) : Value();
  const auto g = apply("lstm_grad",
                       with_lengths({given_or_zeros(c.grad(0), y), given_or_zeros(c.grad(1), h0),
                                     given_or_zeros(c.grad(2), c0), w, c0, c.output(3), c.output(4)},
                                    lengths),
                       at);
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  out[0] = g[0];
  if (c.needs(1)) out[1] = weight_gradient(g[0], states_before(c, y, h0, at.reverse, lengths));
  out[2] = g[1];
  out[3] = g[2];
  return out;
}

std::vector<Value> grad_gru(GradContext& c) {
  refuse_saved(c, 2);
  const auto at = c.attrs<RecurrentAttrs>();
  const Value y = c.output(0), w = c.input(1), h0 = c.input(3);
  const std::int64_t units = y.dim(2);
  const Value lengths = at.has_lengths ? c.input(4) : Value();
  const auto g =
      apply("gru_grad",
            with_lengths({given_or_zeros(c.grad(0), y), given_or_zeros(c.grad(1), h0), w, h0, y, c.output(2)},
                         lengths),
            at);
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  out[0] = g[0];
  if (c.needs(1)) out[1] = weight_gradient(g[1], states_before(c, y, h0, at.reverse, lengths));
  if (c.needs(2)) out[2] = sum_to_shape(slice(g[1], 2, 2 * units, kEnd), {units});
  out[3] = g[2];
  return out;
}

std::vector<Value> grad_rnn(GradContext& c) {
  const auto at = c.attrs<RnnAttrs>();
  const Value y = c.output(0), w = c.input(1), h0 = c.input(2);
  const Value lengths = at.has_lengths ? c.input(3) : Value();
  const auto g =
      apply("rnn_grad",
            with_lengths({given_or_zeros(c.grad(0), y), given_or_zeros(c.grad(1), h0), w, y}, lengths), at);
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  out[0] = g[0];
  if (c.needs(1)) out[1] = weight_gradient(g[0], states_before(c, y, h0, at.reverse, lengths));
  out[2] = g[1];
  return out;
}

// --- references: one sequence after another, states in double; element access by number keeps them one body
// for f32 and f64

using Row = std::vector<double>;

double logistic(double v) {
  return 1.0 / (1.0 + std::exp(-v));
}

// A node's sequences; `sequence` has the shape [T, N, H], the lengths are the operand behind the `fixed`
// ones.
struct Walk {
  std::int64_t steps, rows, units;
  bool reverse;
  const std::int32_t* lengths = nullptr;

  Walk(const RefArgs& r, const Shape& sequence, bool from_end, bool has_lengths, std::size_t fixed)
      : steps(sequence[0]), rows(sequence[1]), units(sequence[2]), reverse(from_end) {
    if (has_lengths) lengths = r.inputs[fixed].data<std::int32_t>();
  }
  // f(row of [T N, ...], that of the step before or -1) in the order of time, or against it.
  template <class F>
  void run(std::int64_t n, bool against, F&& f) const {
    const std::int64_t own = lengths == nullptr ? steps : std::clamp<std::int64_t>(lengths[n], 0, steps);
    for (std::int64_t i = 0; i < own; ++i) {
      const std::int64_t s = against ? own - 1 - i : i, t = reverse ? own - 1 - s : s;
      f(t * rows + n, s == 0 ? -1 : (reverse ? t + 1 : t - 1) * rows + n);
    }
  }
};

Row row_of(const Tensor& t, std::int64_t n) {
  Row row(static_cast<std::size_t>(t.shape()[-1]));
  std::int64_t at = n * t.shape()[-1];
  for (double& v : row) v = t.get(at++);
  return row;
}
void put_row(const Tensor& t, std::int64_t n, const Row& row) {
  std::int64_t at = n * t.shape()[-1];
  for (const double v : row) t.set(at++, v);
}
void clear(const RefArgs& r, std::initializer_list<std::size_t> results) {
  for (const std::size_t k : results)
    for (std::byte& b : r.outputs[k].as_bytes()) b = std::byte{0};
}

// sum + W h, and dh += W^T d.
Row plus_product(Row sum, const Tensor& w, const Row& h) {
  for (std::size_t j = 0; j < sum.size(); ++j)
    for (std::size_t k = 0; k < h.size(); ++k)
      sum[j] += w.get(static_cast<std::int64_t>(j * h.size() + k)) * h[k];
  return sum;
}
void add_transposed(const Tensor& w, const Row& d, Row& dh) {
  for (std::size_t j = 0; j < d.size(); ++j)
    for (std::size_t k = 0; k < dh.size(); ++k)
      dh[k] += w.get(static_cast<std::int64_t>(j * dh.size() + k)) * d[j];
}

void reference_lstm(const RefArgs& r) {
  const auto& at = r.attrs.as<RecurrentAttrs>();
  const Walk walk(r, r.outputs[0].shape(), at.reverse, at.has_lengths, 4);
  const auto H = static_cast<std::size_t>(walk.units);
  clear(r, {0, 3, 4});
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row h = row_of(r.inputs[2], n), c = row_of(r.inputs[3], n);
    walk.run(n, false, [&](std::int64_t e, std::int64_t) {
      Row gates = plus_product(row_of(r.inputs[0], e), r.inputs[1], h);
      for (std::size_t j = 0; j < H; ++j) {
        const double i = gates[j] = logistic(gates[j]), f = gates[H + j] = logistic(gates[H + j]),
                     g = gates[2 * H + j] = std::tanh(gates[2 * H + j]),
                     o = gates[3 * H + j] = logistic(gates[3 * H + j]);
        c[j] = f * c[j] + i * g;
        h[j] = o * std::tanh(c[j]);
      }
      put_row(r.outputs[0], e, h);
      put_row(r.outputs[3], e, gates);
      put_row(r.outputs[4], e, c);
    });
    put_row(r.outputs[1], n, h);
    put_row(r.outputs[2], n, c);
  }
}

void reference_lstm_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<RecurrentAttrs>();
  const Walk walk(r, r.inputs[0].shape(), at.reverse, at.has_lengths, 7);
  const auto H = static_cast<std::size_t>(walk.units);
  clear(r, {0});
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row dh = row_of(r.inputs[1], n), dc = row_of(r.inputs[2], n);
    walk.run(n, true, [&](std::int64_t e, std::int64_t before) {
      const Row dy = row_of(r.inputs[0], e), gates = row_of(r.inputs[5], e), cells = row_of(r.inputs[6], e),
                c_before = before < 0 ? row_of(r.inputs[4], n) : row_of(r.inputs[6], before);
      Row dp(4 * H);
      for (std::size_t j = 0; j < H; ++j) {
        const double i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j],
                     tc = std::tanh(cells[j]), up = dh[j] + dy[j], d = dc[j] + up * o * (1.0 - tc * tc);
        dp[j] = d * g * i * (1.0 - i);
        dp[H + j] = d * c_before[j] * f * (1.0 - f);
        dp[2 * H + j] = d * i * (1.0 - g * g);
        dp[3 * H + j] = up * tc * o * (1.0 - o);
        dc[j] = d * f;
        dh[j] = 0.0;
      }
      add_transposed(r.inputs[3], dp, dh);
      put_row(r.outputs[0], e, dp);
    });
    put_row(r.outputs[1], n, dh);
    put_row(r.outputs[2], n, dc);
  }
}

void reference_gru(const RefArgs& r) {
  const auto& at = r.attrs.as<RecurrentAttrs>();
  const Walk walk(r, r.outputs[0].shape(), at.reverse, at.has_lengths, 4);
  const auto H = static_cast<std::size_t>(walk.units);
  clear(r, {0, 2});
  const Row b = row_of(r.inputs[2], 0);
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row h = row_of(r.inputs[3], n);
    walk.run(n, false, [&](std::int64_t e, std::int64_t) {
      const Row p = row_of(r.inputs[0], e), own = plus_product(Row(3 * H), r.inputs[1], h);
      Row gates(4 * H);
      for (std::size_t j = 0; j < H; ++j) {
        const double reset = gates[j] = logistic(p[j] + own[j]),
                     z = gates[H + j] = logistic(p[H + j] + own[H + j]),
                     hn = gates[3 * H + j] = own[2 * H + j] + b[j],
                     fresh = gates[2 * H + j] = std::tanh(p[2 * H + j] + reset * hn);
        h[j] = (1.0 - z) * fresh + z * h[j];
      }
      put_row(r.outputs[0], e, h);
      put_row(r.outputs[2], e, gates);
    });
    put_row(r.outputs[1], n, h);
  }
}

void reference_gru_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<RecurrentAttrs>();
  const Walk walk(r, r.inputs[0].shape(), at.reverse, at.has_lengths, 6);
  const auto H = static_cast<std::size_t>(walk.units);
  clear(r, {0, 1});
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row dh = row_of(r.inputs[1], n);
    walk.run(n, true, [&](std::int64_t e, std::int64_t before) {
      const Row dy = row_of(r.inputs[0], e), gates = row_of(r.inputs[5], e),
                h_before = before < 0 ? row_of(r.inputs[3], n) : row_of(r.inputs[4], before);
      Row dp(3 * H), own(3 * H);
      for (std::size_t j = 0; j < H; ++j) {
        const double reset = gates[j], z = gates[H + j], fresh = gates[2 * H + j], hn = gates[3 * H + j],
                     up = dh[j] + dy[j], dn = up * (1.0 - z) * (1.0 - fresh * fresh);
        dp[j] = own[j] = dn * hn * reset * (1.0 - reset);
        dp[H + j] = own[H + j] = up * (h_before[j] - fresh) * z * (1.0 - z);
        dp[2 * H + j] = dn;
        own[2 * H + j] = dn * reset;
        dh[j] = up * z;
      }
      add_transposed(r.inputs[2], own, dh);
      put_row(r.outputs[0], e, dp);
      put_row(r.outputs[1], e, own);
    });
    put_row(r.outputs[2], n, dh);
  }
}

void reference_rnn(const RefArgs& r) {
  const auto& at = r.attrs.as<RnnAttrs>();
  const bool relu = ops::rnn_is_relu(at);
  const Walk walk(r, r.outputs[0].shape(), at.reverse, at.has_lengths, 3);
  clear(r, {0});
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row h = row_of(r.inputs[2], n);
    walk.run(n, false, [&](std::int64_t e, std::int64_t) {
      h = plus_product(row_of(r.inputs[0], e), r.inputs[1], h);
      for (double& v : h) v = relu ? std::max(v, 0.0) : std::tanh(v);
      put_row(r.outputs[0], e, h);
    });
    put_row(r.outputs[1], n, h);
  }
}

void reference_rnn_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<RnnAttrs>();
  const bool relu = ops::rnn_is_relu(at);
  const Walk walk(r, r.inputs[0].shape(), at.reverse, at.has_lengths, 4);
  clear(r, {0});
  for (std::int64_t n = 0; n < walk.rows; ++n) {
    Row dh = row_of(r.inputs[1], n);
    walk.run(n, true, [&](std::int64_t e, std::int64_t) {
      const Row dy = row_of(r.inputs[0], e), y = row_of(r.inputs[3], e);
      Row dp(dh.size());
      for (std::size_t j = 0; j < dh.size(); ++j) {
        const double up = dh[j] + dy[j];
        dp[j] = relu ? (y[j] > 0.0 ? up : 0.0) : up * (1.0 - y[j] * y[j]);
        dh[j] = 0.0;
      }
      add_transposed(r.inputs[2], dp, dh);
      put_row(r.outputs[0], e, dp);
    });
    put_row(r.outputs[1], n, dh);
  }
}

// A product with w_hh for each step, and a few operations per element that are not worth counting apart.
template <int w_hh>
Cost cost_steps(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  const TensorType& sequence = w_hh == 1 ? out[0] : in[0];  // [T, N, H]
  return {static_cast<double>(sequence.numel()) * (2.0 * static_cast<double>(in[w_hh].shape[0]) + 30.0),
          ops::operand_bytes(in, out)};
}

OpDef recurrent_op(std::string_view name, std::string_view doc, int fixed, const Attrs& attrs, InferFn infer,
                   RefFn reference, CostFn cost) {
  OpDef d;
  d.precision = Precision::Full;
  d.name = name;
  d.doc = doc;
  d.min_inputs = fixed;
  d.max_inputs = fixed + 1;
  d.attrs = attrs;
  d.infer = infer;
  d.reference = reference;
  d.cost = cost;
  return d;
}

OpDef forward_op(std::string_view name, std::string_view doc, int fixed, const Attrs& attrs, InferFn infer,
                 RefFn reference, GradFn gradient) {
  OpDef d = recurrent_op(name, doc, fixed, attrs, infer, reference, cost_steps<1>);
  d.gradient = gradient;
  return d;
}

template <int w_hh>
OpDef gradient_op(std::string_view of, int fixed, const Attrs& attrs, InferFn infer, RefFn reference) {
  OpDef d = recurrent_op(cat(of, "_grad"), cat("Gradient of ", of), fixed, attrs, infer, reference,
                         cost_steps<w_hh>);
  d.not_differentiable = cat("second derivatives of ", of,
                             " are not defined; compose the steps from matmul and elementwise ops");
  return d;
}

}  // namespace

namespace ops {

bool rnn_is_relu(const RnnAttrs& attrs) {
  if (attrs.nonlinearity == "relu") return true;
  if (attrs.nonlinearity == "tanh") return false;
  throw UsageError(cat("rnn: nonlinearity must be tanh or relu, got '", attrs.nonlinearity, "'"));
}

OpDef def_lstm() {
  return forward_op("lstm", "Long short-term memory over all steps of a projected sequence", 4,
                    RecurrentAttrs{}, infer_lstm, reference_lstm, grad_lstm);
}
OpDef def_lstm_grad() {
  return gradient_op<3>("lstm", 7, RecurrentAttrs{}, infer_lstm_grad, reference_lstm_grad);
}
OpDef def_gru() {
  return forward_op("gru", "Gated recurrent unit over all steps of a projected sequence", 4, RecurrentAttrs{},
                    infer_gru, reference_gru, grad_gru);
}
OpDef def_gru_grad() {
  return gradient_op<2>("gru", 6, RecurrentAttrs{}, infer_gru_grad, reference_gru_grad);
}
OpDef def_rnn() {
  return forward_op("rnn", "Elman's recurrent network over all steps of a projected sequence", 3, RnnAttrs{},
                    infer_rnn, reference_rnn, grad_rnn);
}
OpDef def_rnn_grad() {
  return gradient_op<2>("rnn", 4, RnnAttrs{}, infer_rnn_grad, reference_rnn_grad);
}

}  // namespace ops

namespace {

// What the three functions share: their nodes' name and place, the projection, states of zero.
class Call {
 public:
  Call(std::string_view name, Value x, const RecurrentWeights& w, std::int64_t gates, const SourceLoc& loc)
      : call_(x, std::string(name), loc), x_(x), w_(w) {
    call_.require_floating(x, "x");
    if (x.rank() != 3) call_.refuse(cat("x must be [T, N, I], got ", to_string(x.type())));
    if (!w.w_hh.defined() || w.w_hh.rank() != 2 || w.w_hh.dim(0) != gates * w.w_hh.dim(1))
      call_.refuse(cat("w_hh must be [", gates, " H, H]",
                       w.w_hh.defined() ? cat(", got ", to_string(w.w_hh.type())) : std::string()));
    units_ = w.w_hh.dim(1);
    const Shape wide{gates * units_, x.dim(2)}, row{gates * units_};
    if (!w.w_ih.defined() || !(w.w_ih.shape() == wide))
      call_.refuse(cat("w_ih must be ", to_string(wide), " for x ", to_string(x.type()), " and ", units_,
                       " units", w.w_ih.defined() ? cat(", got ", to_string(w.w_ih.type())) : std::string()));
    if (w.b_ih.defined() != w.b_hh.defined()) call_.refuse_use("b_ih and b_hh come together or not at all");
    if (w.b_ih.defined() && (!(w.b_ih.shape() == row) || !(w.b_hh.shape() == row)))
      call_.refuse(cat("b_ih and b_hh must be ", to_string(row), ", got ", to_string(w.b_ih.type()), " and ",
                       to_string(w.b_hh.type())));
  }
  std::int64_t units() const { return units_; }
  // W_ih x + bias; a bias may be undefined.
  Value projection(Value bias) const {
    const Value p = matmul(x_, w_.w_ih, false, true);
    return bias.defined() ? add(p, bias) : p;
  }
  Value all_biases() const { return w_.b_ih.defined() ? add(w_.b_ih, w_.b_hh) : Value(); }
  Value state(Value given) const {
    return given.defined() ? given : full(x_.graph(), 0.0, {x_.dtype(), {x_.dim(1), units_}});
  }
  Value zeros() const { return full(x_.graph(), 0.0, {x_.dtype(), {units_}}); }

 private:
  ops::Composed call_;
  Value x_;
  RecurrentWeights w_;
  std::int64_t units_ = 0;
};

}  // namespace

Lstm lstm(Value x, const RecurrentWeights& w, Value h0, Value c0, const RecurrentOptions& o, SourceLoc loc) {
  const Call call("lstm", x, w, 4, loc);
  const auto r = apply(
      "lstm",
      with_lengths({call.projection(call.all_biases()), w.w_hh, call.state(h0), call.state(c0)}, o.lengths),
      RecurrentAttrs{o.reverse, o.lengths.defined()});
  return {r[0], r[1], r[2]};
}

Recurrent gru(Value x, const RecurrentWeights& w, Value h0, const RecurrentOptions& o, SourceLoc loc) {
  const Call call("gru", x, w, 3, loc);
  const std::int64_t units = call.units();
  Value bias, b_hn = call.zeros();
  if (w.b_ih.defined()) {
    b_hn = slice(w.b_hh, 0, 2 * units, kEnd);
    bias = add(w.b_ih, concat({slice(w.b_hh, 0, 0, 2 * units), call.zeros()}, 0));
  }
  const auto r = apply("gru", with_lengths({call.projection(bias), w.w_hh, b_hn, call.state(h0)}, o.lengths),
                       RecurrentAttrs{o.reverse, o.lengths.defined()});
  return {r[0], r[1]};
}

Recurrent rnn(Value x, const RecurrentWeights& w, const std::string& nonlinearity, Value h0,
              const RecurrentOptions& o, SourceLoc loc) {
  const Call call("rnn", x, w, 1, loc);
  const auto r =
      apply("rnn", with_lengths({call.projection(call.all_biases()), w.w_hh, call.state(h0)}, o.lengths),
            RnnAttrs{nonlinearity, o.reverse, o.lengths.defined()});
  return {r[0], r[1]};
}

}  // namespace ingot
