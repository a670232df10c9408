// Attention and its gradient on row-major operands, so that each head's rows lie in one piece.
#include "core/ops/attention.h"

#include "cuda/kernels/attention.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// q, k and v are operands `first` and on.
AttentionShape shape_of(const Problem& p, int first) {
  const AttentionSizes s(p.in(first).shape, p.in(first + 1).shape, p.in(first + 2).shape,
                         p.attrs<AttentionAttrs>());
  return {s.batch, s.q_heads, s.k_heads, s.rows, s.keys, s.depth, s.v_depth, s.scale, s.causal};
}

const std::int32_t* lengths_at(void* const* in, int i, bool present) {
  return present ? static_cast<const std::int32_t*>(in[i]) : nullptr;
}

std::unique_ptr<Step> lower_attention(const Problem& p) {
  const DType dtype = p.in(0).dtype;
  if (!is_float(dtype)) return p.decline("the kernel computes f32, f16 and bf16, not ", name(dtype));
  if (!all_plain(p)) return p.decline("the kernel wants row-major operands");
  return launch_step("attention", [=, s = shape_of(p, 0), lengths = p.attrs<AttentionAttrs>().has_lengths](
                                      void* const* in, void* const* out, void*, const Stream& stream) {
    attention(dtype, s, {in[0], in[1], in[2], lengths_at(in, 3, lengths), out[0], out[1]}, stream);
  });
}

std::unique_ptr<Step> lower_attention_grad(const Problem& p) {
  const DType dtype = p.in(1).dtype;
  if (!is_float(dtype)) return p.decline("the kernel computes f32, f16 and bf16, not ", name(dtype));
  if (!all_plain(p)) return p.decline("the kernel wants row-major operands");
  const AttentionShape s = shape_of(p, 1);
  return launch_step(
      "attention",
      [=, lengths = p.attrs<AttentionAttrs>().has_lengths](void* const* in, void* const* out, void* workspace,
                                                           const Stream& stream) {
        attention_grad(
            dtype, s,
            {in[0], in[1], in[2], in[3], in[4], in[5], lengths_at(in, 6, lengths), out[0], out[1], out[2]},
            workspace, stream);
      },
      attention_grad_workspace(s));
}

}  // namespace

void add_attention(LoweringTable& table) {
  table.add("attention", {.lower = lower_attention});
  table.add("attention_grad", {.lower = lower_attention_grad});
}

}  // namespace ingot::cuda
