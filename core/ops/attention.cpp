#include "core/ops/attention.h"

#include <cmath>
#include <vector>

#include "core/ops/check.h"
#include "core/ops/compose.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

// Checks q, k and v, which are operands `first` and on, and the lengths behind all others.
AttentionSizes check_operands(const InferArgs& a, int first) {
  const auto& at = a.attrs.as<AttentionAttrs>();
  ops::check_count(a, (first == 0 ? 3u : 6u) + at.has_lengths,
                   first == 0 ? "(q, k, v, [lengths])" : "(dy, q, k, v, y, lse, [lengths])");
  if (!(at.scale >= 0.0) || std::isinf(at.scale))
    throw UsageError(cat(a.op, ": scale must be greater than 0, or 0 for 1 / sqrt(D), got ", at.scale));
  const int q = first, k = first + 1, v = first + 2;
  ops::check_floating(a, q, "q");
  for (const auto& [i, what] :
       {std::pair(q, "q [B, Hq, Tq, D]"), {k, "k [B, Hk, Tk, D]"}, {v, "v [B, Hk, Tk, Dv]"}}) {
    ops::check_rank(a, i, what, 4);
    ops::check_dtype(a, i, cat(what, " (as q)"), a.dtype(q));
  }
  const Shape &qs = a.shape(q), &ks = a.shape(k), &vs = a.shape(v);
  if (qs[0] != ks[0] || qs[3] != ks[3] || qs[3] == 0)
    throw ShapeError(cat(a.op, ": q [B, Hq, Tq, D] and k [B, Hk, Tk, D] must agree in B and D, got ",
                         to_string(qs), " and ", to_string(ks)));
  if (ks[1] == 0 || qs[1] % ks[1] != 0)
    throw ShapeError(cat(a.op, ": the ", qs[1], " heads of q ", to_string(qs), " must be a multiple of the ",
                         ks[1], " heads of k ", to_string(ks)));
  if (vs[0] != ks[0] || vs[1] != ks[1] || vs[2] != ks[2])
    throw ShapeError(cat(a.op, ": k [B, Hk, Tk, D] and v [B, Hk, Tk, Dv] must agree in B, Hk and Tk, got ",
                         to_string(ks), " and ", to_string(vs)));
  if (at.has_lengths) {
    const int lengths = static_cast<int>(a.inputs.size()) - 1;
    ops::check_dtype(a, lengths, "lengths", DType::I32);
    ops::check_shape(a, lengths, "lengths (one number per sample)", Shape{qs[0]});
  }
  return {qs, ks, vs, at};
}

DType sums_of(DType operands) {
  return operands == DType::F64 ? DType::F64 : DType::F32;
}

std::vector<TensorType> infer_attention(const InferArgs& a) {
  const AttentionSizes s = check_operands(a, 0);
  return {{a.dtype(0), {s.batch, s.q_heads, s.rows, s.v_depth}},
          {sums_of(a.dtype(0)), {s.batch, s.q_heads, s.rows}}};
}

std::vector<TensorType> infer_attention_grad(const InferArgs& a) {
  const AttentionSizes s = check_operands(a, 1);
  for (const int i : {0, 4}) {
    const std::string_view what = i == 0 ? "dy (as y)" : "y";
    ops::check_dtype(a, i, what, a.dtype(1));
    ops::check_shape(a, i, what, Shape{s.batch, s.q_heads, s.rows, s.v_depth});
  }
  ops::check_dtype(a, 5, "lse", sums_of(a.dtype(1)));
  ops::check_shape(a, 5, "lse (one number per row of q)", Shape{s.batch, s.q_heads, s.rows});
  return {{a.dtype(1), a.shape(1)}, {a.dtype(1), a.shape(2)}, {a.dtype(1), a.shape(3)}};
}

std::vector<Value> grad_attention(GradContext& c) {
  if (c.has_grad(1)) throw UsageError("attention: no gradient flows through lse; use softmax() and matmul()");
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  if (!c.has_grad(0)) return out;
  const Attrs attrs = c.node().attrs;
  std::vector<Value> in{c.grad(0), c.input(0), c.input(1), c.input(2), c.output(0), c.output(1)};
  if (c.num_inputs() > 3) in.push_back(c.input(3));
  const std::vector<Value> grads = apply("attention_grad", in, attrs);
  std::copy(grads.begin(), grads.end(), out.begin());
  return out;
}

// Calls row(b, q's head, k's head, i, keys that the row counts) for each row of q.
template <class Row>
void for_rows(const AttentionSizes& s, const Tensor* lengths, const Row& row) {
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const std::int64_t length = lengths == nullptr ? s.keys : s.counted(lengths->data<std::int32_t>()[b]);
    for (std::int64_t h = 0; h < s.q_heads; ++h)
      for (std::int64_t i = 0; i < s.rows; ++i)
        row(b * s.q_heads + h, b * s.k_heads + s.k_head(h), i, s.seen_by(i, length));
  }
}

const Tensor* lengths_of(const RefArgs& r) {
  return r.attrs.as<AttentionAttrs>().has_lengths ? &r.inputs.back() : nullptr;
}

template <class T>
double dot(const T* a, const T* b, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t d = 0; d < n; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return sum;
}

void reference_attention(const RefArgs& r) {
  const AttentionSizes s(r.inputs[0].shape(), r.inputs[1].shape(), r.inputs[2].shape(),
                         r.attrs.as<AttentionAttrs>());
  ops::visit_floating("attention", r.outputs[0].dtype(), [&]<class T>() {
    std::vector<double> weights(static_cast<std::size_t>(s.keys)), sums(static_cast<std::size_t>(s.v_depth));
    for_rows(s, lengths_of(r),
             [&](std::int64_t head, std::int64_t k_head, std::int64_t i, std::int64_t seen) {
               const T* q = r.inputs[0].data<T>() + (head * s.rows + i) * s.depth;
               const T *k = r.inputs[1].data<T>() + k_head * s.keys * s.depth,
                       *v = r.inputs[2].data<T>() + k_head * s.keys * s.v_depth;
               double most = -INFINITY, total = 0.0;
               for (std::int64_t j = 0; j < seen; ++j) {
                 const double score = s.scale * dot(q, k + j * s.depth, s.depth);
                 weights[static_cast<std::size_t>(j)] = score;
                 most = std::max(most, score);
               }
               std::fill(sums.begin(), sums.end(), 0.0);
               for (std::int64_t j = 0; j < seen; ++j) {
                 const double w = std::exp(weights[static_cast<std::size_t>(j)] - most);
                 total += w;
                 for (std::int64_t d = 0; d < s.v_depth; ++d)
                   sums[static_cast<std::size_t>(d)] += w * static_cast<double>(v[j * s.v_depth + d]);
               }
               T* y = r.outputs[0].data<T>() + (head * s.rows + i) * s.v_depth;
               for (std::int64_t d = 0; d < s.v_depth; ++d)
                 y[d] = static_cast<T>(seen == 0 ? 0.0 : sums[static_cast<std::size_t>(d)] / total);
               r.outputs[1].data<T>()[head * s.rows + i] =
                   static_cast<T>(seen == 0 ? 0.0 : most + std::log(total));
             });
  });
}

// With p = exp(s - lse) and ds = p (dy . v - dy . y): dv += p dy, dq += scale ds k, dk += scale ds q.
void reference_attention_grad(const RefArgs& r) {
  const AttentionSizes s(r.inputs[1].shape(), r.inputs[2].shape(), r.inputs[3].shape(),
                         r.attrs.as<AttentionAttrs>());
  ops::visit_floating("attention_grad", r.outputs[0].dtype(), [&]<class T>() {
    std::vector<double> sums[3];
    for (std::size_t k = 0; k < 3; ++k) sums[k].resize(static_cast<std::size_t>(r.outputs[k].numel()));
    for_rows(
        s, lengths_of(r), [&](std::int64_t head, std::int64_t k_head, std::int64_t i, std::int64_t seen) {
          const std::int64_t row = head * s.rows + i;
          const T *dy = r.inputs[0].data<T>() + row * s.v_depth, *y = r.inputs[4].data<T>() + row * s.v_depth,
                  *q = r.inputs[1].data<T>() + row * s.depth;
          const double delta = dot(dy, y, s.v_depth), lse = static_cast<double>(r.inputs[5].data<T>()[row]);
          double* dq = sums[0].data() + row * s.depth;
          for (std::int64_t j = 0; j < seen; ++j) {
            const std::int64_t key = k_head * s.keys + j;
            const T *k = r.inputs[2].data<T>() + key * s.depth, *v = r.inputs[3].data<T>() + key * s.v_depth;
            const double p = std::exp(s.scale * dot(q, k, s.depth) - lse);
            const double ds = s.scale * p * (dot(dy, v, s.v_depth) - delta);
            double *dk = sums[1].data() + key * s.depth, *dv = sums[2].data() + key * s.v_depth;
            for (std::int64_t d = 0; d < s.v_depth; ++d) dv[d] += p * static_cast<double>(dy[d]);
            for (std::int64_t d = 0; d < s.depth; ++d) {
              dq[d] += ds * static_cast<double>(k[d]);
              dk[d] += ds * static_cast<double>(q[d]);
            }
          }
        });
    for (std::size_t k = 0; k < 3; ++k)
      for (std::size_t i = 0; i < sums[k].size(); ++i) r.outputs[k].data<T>()[i] = static_cast<T>(sums[k][i]);
  });
}

Cost cost_attention(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  const AttentionSizes s(in[0].shape, in[1].shape, in[2].shape, attrs.as<AttentionAttrs>());
  return {2.0 * s.pairs() * static_cast<double>(s.depth + s.v_depth), ops::operand_bytes(in, out)};
}
Cost cost_attention_grad(const Attrs& attrs, std::span<const TensorType> in,
                         std::span<const TensorType> out) {
  const AttentionSizes s(in[1].shape, in[2].shape, in[3].shape, attrs.as<AttentionAttrs>());
  return {2.0 * s.pairs() * static_cast<double>(3 * s.depth + 2 * s.v_depth), ops::operand_bytes(in, out)};
}

}  // namespace

AttentionSizes::AttentionSizes(const Shape& q, const Shape& k, const Shape& v, const AttentionAttrs& attrs)
    : batch(q[0]),
      q_heads(q[1]),
      k_heads(k[1]),
      rows(q[2]),
      keys(k[2]),
      depth(q[3]),
      v_depth(v[3]),
      scale(attrs.scale != 0.0 ? attrs.scale : 1.0 / std::sqrt(static_cast<double>(q[3]))),
      causal(attrs.causal) {}

double AttentionSizes::pairs() const {
  const auto heads = static_cast<double>(batch * q_heads), r = static_cast<double>(rows),
             c = static_cast<double>(keys);
  if (!causal) return heads * r * c;
  const double steps = std::min(r, c);  // rows that count one key more than the row before
  return heads * (steps * (steps + 1.0) / 2.0 + (r - steps) * c);
}

Value scaled_dot_product_attention(Value q, Value k, Value v, const ScaledDotProductAttentionArgs& args,
                                   SourceLoc loc) {
  const ops::Composed call(q, "scaled_dot_product_attention", loc);
  if (q.rank() != k.rank() || q.rank() != v.rank() || (q.rank() != 3 && q.rank() != 4))
    call.refuse(cat("q, k and v must all be [B, H, T, D] or all [B, T, D], got ", to_string(q.type()), ", ",
                    to_string(k.type()), " and ", to_string(v.type())));
  const auto with_heads = [](Value x) { return x.rank() == 4 ? x : unsqueeze(x, 1); };
  std::vector<Value> operands{with_heads(q), with_heads(k), with_heads(v)};
  const bool lengths = args.lengths.defined();
  if (lengths) operands.push_back(args.lengths);
  const Value y = apply("attention", operands, AttentionAttrs{args.scale, args.is_causal, lengths})[0];
  return q.rank() == 4 ? y : squeeze(y, 1);
}

namespace ops {

OpDef def_attention() {
  OpDef d;
  d.name = "attention";
  d.doc =
      "Scaled dot product attention over grouped heads, and the logarithm of each row's sum of exponentials";
  d.min_inputs = 3;
  d.max_inputs = 4;
  d.attrs = AttentionAttrs{};
  d.infer = infer_attention;
  d.gradient = grad_attention;
  d.reference = reference_attention;
  d.cost = cost_attention;
  d.precision = Precision::Compute;
  return d;
}

OpDef def_attention_grad() {
  OpDef d;
  d.name = "attention_grad";
  d.doc = "Gradient of attention";
  d.min_inputs = 6;
  d.max_inputs = 7;
  d.full_inputs = {5};
  d.attrs = AttentionAttrs{};
  d.infer = infer_attention_grad;
  d.not_differentiable =
      "second derivatives of attention are not defined; compose it from matmul and softmax";
  d.reference = reference_attention_grad;
  d.cost = cost_attention_grad;
  d.precision = Precision::Compute;
  return d;
}

}  // namespace ops
}  // namespace ingot
