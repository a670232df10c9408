// Reductions in the widest arithmetic: sums of integers in i64, of f64 in f64; reduce() of reduce.h sends
// these dtypes here. Not for use elsewhere.
#pragma once

#include "cuda/kernels/reduce.h"

namespace ingot::cuda {

// i32, i64, u8 and f64; the mean of f64 only. Throws UsageError otherwise.
void reduce_exact(ReduceKind kind, DType dtype, const void* x, void* y, const ReduceShape& shape,
                  void* workspace, const Stream& stream);

}  // namespace ingot::cuda
