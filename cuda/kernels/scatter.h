// Sums into rows given by index: launches of the kernels in scatter.cu.
//
//   y[o, r, i] = sum of updates[o, k, i] over all k with index[k] = r
//
// Terms are added in the order of the indices, floating ones in f64 as the CPU adds them, integers exactly
// (i64); the result is rounded once, so it is the same in every run. Long sums are cut into pieces of 32
// terms whose sums are added in order. An index that names no row adds nothing. dtypes: f32, f64, f16, bf16,
// i32, i64, u8; indices i32 or i64. Pointers are aligned to their element and do not overlap.
//
//   const ScatterShape s{.outer = 1, .dim = vocabulary, .count = tokens, .inner = width};  // embedding's
//   gradient scatter_add(DType::F32, dy, DType::I64, ids, dw, s, {.negative = false, .skip = padding},
//   workspace, stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// updates [outer, count, inner], indices [count], y [outer, dim, inner].
struct ScatterShape {
  std::int64_t outer = 1, dim = 1, count = 1, inner = 1;
};

struct ScatterRule {
  bool negative = true;    // indices from -dim count from the end
  std::int64_t skip = -1;  // a row that gets nothing; -1: none
};

// Bytes of device memory, aligned to 16, that scatter_add() uses while it runs; 0 for small problems.
std::size_t scatter_add_workspace(const ScatterShape& shape);

// Throws UsageError for another dtype, and for 2^32 - 1 indices or rows and more.
void scatter_add(DType dtype, const void* updates, DType index_dtype, const void* indices, void* y,
                 const ScatterShape& shape, const ScatterRule& rule, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
