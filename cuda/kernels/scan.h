// Running sums along an axis, and selection by a mask: launches of the kernels in scan.cu.
//
// A tensor is seen as [outer, length, inner], the axis in the middle. Floating sums are formed in double and
// rounded where they are stored; integers wrap around. The order of the additions follows from the shape
// alone: the same bits each time. x and y may be the same memory where their dtypes have the same size.
//
//   const ScanKind kind{.exclusive = false, .reverse = false};
//   running_sum(DType::F32, x, DType::F32, y, {.outer = rows, .length = n}, kind, workspace, stream);
//   running_sum(DType::Bool, mask, DType::I64, counts, {.length = n}, {}, workspace, stream);   // how many
//   so far place_selected(x, mask, counts, y, count, {.outer = 1, .length = n, .inner = row_bytes}, stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/reduce.h"

namespace ingot::cuda {

struct ScanKind {
  bool exclusive = false, reverse = false;
};

// Bytes of device memory, aligned to 16, that running_sum() uses while it runs; 0 for most shapes.
std::size_t running_sum_workspace(const ReduceShape& shape);

// x and y are both floating, or both of i32, i64, u8 and bool (x only). Throws UsageError otherwise.
void running_sum(DType x_dtype, const void* x, DType y_dtype, void* y, const ReduceShape& shape,
                 const ScanKind& kind, void* workspace, const Stream& stream);

// y: the slices of x whose mask is true, in order, then zeros; *count: how many. counts[k] is the number of
// true entries of the mask up to and including k. `inner` counts bytes here; memory does not overlap.
void place_selected(const void* x, const void* mask, const std::int64_t* counts, void* y, std::int64_t* count,
                    const ReduceShape& shape, const Stream& stream);

}  // namespace ingot::cuda
