// Rows taken by index, and rows that mark one: launches of the kernels in gather.cu.
//
// Indices are i32 or i64. A kernel cannot throw: a row for an index that names none is all NaN in floating
// dtypes, -1 in signed integers, 255 in u8, true in bool, so that it is seen. Pointers are aligned to their
// element and do not overlap; 16 bytes move at a time where shapes and pointers allow it.
//
//   const GatherShape s{.outer = 1, .dim = vocabulary, .count = tokens, .inner = width};   // an embedding
//   gather(DType::BF16, table, DType::I64, ids, y, s, false, stream);
//   one_hot(DType::F32, DType::I32, labels, batch, 10, y, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// x [outer, dim, inner], indices [count], y [outer, count, inner].
struct GatherShape {
  std::int64_t outer = 1, dim = 1, count = 1, inner = 1;
};

// y[o, k, i] = x[o, index[k], i]. `negative`: indices from -dim count from the end. Throws UsageError for
// indices of another dtype.
void gather(DType dtype, const void* x, DType index_dtype, const void* indices, void* y, const GatherShape& s,
            bool negative, const Stream& stream);

// y[k, d] = 1 where d is index k, which may count from the end; 0 elsewhere, and for an index that names
// nothing.
void one_hot(DType dtype, DType index_dtype, const void* indices, std::int64_t count, std::int64_t depth,
             void* y, const Stream& stream);

}  // namespace ingot::cuda
