// Scaled dot product attention (Vaswani et al. 2017, arXiv 1706.03762) and its gradient.
//
//   attention        (q, k, v, [lengths]) -> y, lse
//   attention_grad   (dy, q, k, v, y, lse, [lengths]) -> dq, dk, dv
//
//   s[i, j] = scale sum over d of q[i, d] k[j, d],  lse[i] = log sum over j of exp s[i, j],
//   y[i] = sum over j of exp(s[i, j] - lse[i]) v[j]                 for each sample and each head of q
//
// q[B, Hq, Tq, D], k[B, Hk, Tk, D], v[B, Hk, Tk, Dv] of one floating dtype give y[B, Hq, Tq, Dv] of that
// dtype and lse[B, Hq, Tq], which is f32 (f64 for operands in f64) and what the gradient needs to compute the
// weights again. Hq is a multiple of Hk: head h of q reads head h / (Hq / Hk) of k and v (grouped queries,
// Ainslie et al. 2023, arXiv 2305.13245; PyTorch's enable_gqa). scale 0 means 1 / sqrt(D).
//
// Which keys a row i counts: with `causal` the first i + 1, aligned at the top left also where Tq != Tk, as
// PyTorch's is_causal; with has_lengths the first lengths[b] (i32[B]; more than Tk means all, less than 0
// none). A row that counts no key gives y = 0 and lse = 0, and gradients of 0.
//
// The Tq x Tk weights are never stored: the kernels go through them in tiles and keep a running maximum and
// sum per row (Dao et al. 2022, arXiv 2205.14135), and the gradient computes them again from lse (Dao 2023,
// arXiv 2307.08691). Cost: per pair of a row and a key that counts 2 (D + Dv) flops, for the gradient 2 (3 D
// + 2 Dv). No gradient flows through lse, and the gradient is closed under one differentiation only. Errors:
// ShapeError when ranks, dtypes or sizes do not fit, UsageError for a negative scale.
//
//   Value y = scaled_dot_product_attention(q, k, v, {.is_causal = true});
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct AttentionAttrs {
  double scale = 0.0;
  bool causal = false, has_lengths = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("scale", s.scale);
    v("causal", s.causal);
    v("has_lengths", s.has_lengths);
  }
};

// torch.nn.functional.scaled_dot_product_attention, without attn_mask and dropout. q is [B, H, T, D], or
// [B, T, D] for a single head; y has its rank.
struct ScaledDotProductAttentionArgs {
  bool is_causal = false;
  double scale = 0.0;  // 0: 1 / sqrt(D)
  Value lengths{};     // i32[B], how many keys of each sample count; empty: all
};
Value scaled_dot_product_attention(Value q, Value k, Value v, const ScaledDotProductAttentionArgs& args = {},
                                   SourceLoc loc = SourceLoc::current());

// The sizes of a problem, and which keys its rows count.
struct AttentionSizes {
  std::int64_t batch = 0, q_heads = 0, k_heads = 0, rows = 0, keys = 0, depth = 0, v_depth = 0;
  double scale = 1.0;
  bool causal = false;

  AttentionSizes(const Shape& q, const Shape& k, const Shape& v, const AttentionAttrs& attrs);
  std::int64_t k_head(std::int64_t q_head) const { return q_head / (q_heads / k_heads); }
  // Keys of a sample that has `length` of them.
  std::int64_t counted(std::int64_t length) const { return std::clamp<std::int64_t>(length, 0, keys); }
  // Of `length` keys those that row i counts.
  std::int64_t seen_by(std::int64_t i, std::int64_t length) const {
    return causal ? std::min(length, i + 1) : length;
  }
  // Pairs of a row and a key in all samples and heads, where no lengths are given.
  double pairs() const;
};

}  // namespace ingot
