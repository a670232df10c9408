// Elements taken from, or put to, an index of their own along an axis: launches of the kernels in
// along_axis.cu.
//
// Indices are i32 or i64, counted from the end where negative. One that is outside the axis takes what
// gather() takes (NaN, -1, 255, true) and puts nothing. Pointers are aligned to their element and do not
// overlap.
//
//   const AlongShape s{.outer = rows, .dim = n, .count = k, .inner = 1};
//   take_along_axis(DType::F32, x, DType::I64, indices, y, s, stream);       // x [outer, dim, inner]
//   put_along_axis(DType::F32, u, DType::I64, indices, y, s, stream);        // y [outer, dim, inner]
#pragma once

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/gather.h"

namespace ingot::cuda {

// `count` indices along the axis of `dim` elements.
using AlongShape = GatherShape;

void take_along_axis(DType dtype, const void* x, DType index_dtype, const void* indices, void* y,
                     const AlongShape& shape, const Stream& stream);

// y is cleared first. No two indices of a line are the same.
void put_along_axis(DType dtype, const void* updates, DType index_dtype, const void* indices, void* y,
                    const AlongShape& shape, const Stream& stream);

}  // namespace ingot::cuda
