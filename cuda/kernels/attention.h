// Scaled dot product attention and its gradient: launches of the kernels in attention.cu. What they compute
// is defined in core/ops/attention.h.
//
// q is [batch * q_heads, rows, depth], k [batch * k_heads, keys, depth], v [batch * k_heads, keys, v_depth],
// y and dy [batch * q_heads, rows, v_depth], all of one type, f32, f16 or bf16; lse is f32 [batch * q_heads,
// rows] and lengths i32 [batch] or null. Arithmetic is f32. Pointers are aligned to their element; rows are
// read 16 bytes at a time where their length and all pointers allow it. The order of all sums follows from
// the sizes alone.
//
//   attention(DType::BF16, {.batch = 1, .q_heads = 8, .k_heads = 8, .rows = 1024, .keys = 1024, .depth = 64,
//                           .v_depth = 64, .scale = 0.125}, operands, stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct AttentionShape {
  std::int64_t batch = 1, q_heads = 1, k_heads = 1, rows = 1, keys = 1, depth = 1, v_depth = 1;
  double scale = 1.0;
  bool causal = false;
};

struct AttentionOperands {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  const std::int32_t* lengths = nullptr;
  void *y = nullptr, *lse = nullptr;
};

struct AttentionGradOperands {
  const void *dy = nullptr, *q = nullptr, *k = nullptr, *v = nullptr, *y = nullptr, *lse = nullptr;
  const std::int32_t* lengths = nullptr;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

// One launch. Both throw UsageError for another dtype, and ShapeError where a size or the number of blocks
// passes 2^31 - 1.
void attention(DType dtype, const AttentionShape& shape, const AttentionOperands& operands,
               const Stream& stream);

// Bytes of device memory that attention_grad uses while it runs: one float for each row of dy.
std::size_t attention_grad_workspace(const AttentionShape& shape);
// Two launches.
void attention_grad(DType dtype, const AttentionShape& shape, const AttentionGradOperands& operands,
                    void* workspace, const Stream& stream);

}  // namespace ingot::cuda
