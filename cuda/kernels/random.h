// Random tensors and dropout: launches of the kernels in random.cu.
//
// The draws are those of core/ops/random.h: element i comes from word i % 4 of Philox counter i / 4, keyed by
// the generator state {seed, offset}, i64[2] in device memory, which is read when the kernel runs and not
// changed: whoever owns it adds {0, 1} once a step. Results are f32, f16 or bf16, computed in f32 and
// rounded.
//
// uniform, dropout and dropout_grad have the CPU's bits. normal is computed in f64 by the same function as on
// the CPU (box_muller of core/base/philox.h), whose logarithm, cosine and sine CUDA rounds a little
// otherwise: after rounding to the dtype, results differ in the last place at most, and rarely.
//
// Pointers are aligned to their element. A mask is bool: one byte, 0 or 1. dropout may write over its
// operand.
//
//   uniform(DType::F32, y, n, {.state = rng, .stream = 3}, -1.0, 1.0, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct RandomSource {
  const std::int64_t* state = nullptr;  // {seed, offset}
  std::int64_t stream = 0;              // [0, 2^20): which op of the graph draws
};

// Elements that lie in row-major order, or images channels-last: [images, pixels, channels] in memory, whose
// element (n, c, p) has number (n channels + c) pixels + p.
struct DropoutShape {
  std::int64_t count = 0;
  std::int64_t channels = 1, pixels = 1;
};

// All throw UsageError for another dtype.

// [lo, hi).
void uniform(DType dtype, void* y, std::int64_t count, const RandomSource& source, double lo, double hi,
             const Stream& stream);
// mean + stddev z.
void normal(DType dtype, void* y, std::int64_t count, const RandomSource& source, double mean, double stddev,
            const Stream& stream);
// y = keep ? x / (1 - p) : 0 and mask = keep; an element is kept with probability 1 - p.
void dropout(DType dtype, const void* x, void* y, bool* mask, const DropoutShape& shape,
             const RandomSource& source, double p, const Stream& stream);
// dx = mask ? dy / (1 - p) : 0; dy and mask in the same order.
void dropout_grad(DType dtype, const void* dy, const bool* mask, void* dx, std::int64_t count, double p,
                  const Stream& stream);

}  // namespace ingot::cuda
