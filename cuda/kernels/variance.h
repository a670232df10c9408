// Variance along one axis: the launch of the kernels in variance.cu.
//
// The tensor is seen as [outer, length, inner] and the axis in the middle goes:
//   y = sum (x - mean)^2 / max(0, length - correction), NaN where that is 0 / 0
// Elements are f32, f16 or bf16. The mean is known before distances are taken, so that elements far from zero
// lose no digits; sums run in f32, in an order that depends on the shape alone. Pointers are aligned to their
// element.
//
//   variance(DType::F32, x, y, {.outer = 64, .length = 1000}, 1.0, workspace, stream);
#pragma once

#include <cstddef>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/reduce.h"

namespace ingot::cuda {

// Bytes of device memory, aligned to 16, that variance() uses while it runs; 0 for most shapes.
std::size_t variance_workspace(const ReduceShape& shape);

// Throws UsageError for another dtype.
void variance(DType dtype, const void* x, void* y, const ReduceShape& shape, double correction,
              void* workspace, const Stream& stream);

}  // namespace ingot::cuda
