// What transformers are made of beside linear layers: attention with several heads, and normalisation by the
// root of the mean square. PyTorch's names, arguments, defaults, initialisation and state-dict keys.
//
//   MultiheadAttention attend{"self_attn", 512, 8, {.batch_first = true}};
//   RMSNorm norm{"norm", {512}};
//   Value y = x + attend(norm(x), {.is_causal = true});        // f32[B, T, 512]
//   Value z = attend(x, memory, memory, {.lengths = lengths}); // queries from x, keys and values from memory
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "layers/layers.h"

namespace ingot {

struct MultiheadAttentionOptions {
  bool bias = true;
  bool batch_first = false;  // [B, T, E]; otherwise [T, B, E], as in PyTorch
};

// What PyTorch says by masks.
struct MultiheadAttentionArgs {
  bool is_causal = false;  // row i reads the keys up to i
  Value lengths{};         // i32[B]: how many keys of each sample count (key_padding_mask); empty: all
};

// Attention over num_heads parts of the channels (Vaswani et al., arXiv 1706.03762), between projections of
// queries, keys and values and one of the result: q[B, Tq, E], k and v [B, Tk, E] -> [B, Tq, E]. Parameters:
// in_proj_weight[3 E, E], in_proj_bias[3 E], out_proj.weight[E, E], out_proj.bias[E]. The weights of the
// average are no result (need_weights = False), and none of them is dropped.
class MultiheadAttention : public Layer {
 public:
  MultiheadAttention(std::string name, std::int64_t embed_dim, std::int64_t num_heads,
                     MultiheadAttentionOptions options = {});
  using Layer::operator();  // of x to itself, all keys
  Value operator()(Value x, const MultiheadAttentionArgs& args, SourceLoc loc = SourceLoc::current());
  Value operator()(Value q, Value k, Value v, const MultiheadAttentionArgs& args = {},
                   SourceLoc loc = SourceLoc::current());

 protected:
  Value forward(Value x) override;

 private:
  Value attend(Value q, Value k, Value v, const MultiheadAttentionArgs& args);

  std::int64_t dim_, heads_;
  MultiheadAttentionOptions options_;
  Linear out_;
};

struct RMSNormOptions {
  std::optional<double> eps{};  // default: the epsilon of x's type
  bool elementwise_affine = true;
};

// x / sqrt(mean x^2 + eps) weight over the last axes, whose sizes are `normalized_shape` (Zhang and Sennrich,
// arXiv 1910.07467). Parameter, where elementwise_affine: weight of that shape.
class RMSNorm : public Layer {
 public:
  RMSNorm(std::string name, Shape normalized_shape, RMSNormOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  Shape shape_;
  RMSNormOptions options_;
};

}  // namespace ingot
