// Index of the first greatest element along one axis: the launch of the kernels in argmax.cu.
//
// The tensor is seen as [outer, length, inner] and the axis in the middle goes; the result is i64. NaN is
// greater than everything, the first NaN wins. Any numeric dtype. Pointers are aligned to their element.
//
//   argmax(DType::F32, logits, y, {.outer = batch, .length = classes}, workspace, stream);
#pragma once

#include <cstddef>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/reduce.h"

namespace ingot::cuda {

// Bytes of device memory, aligned to 16, that argmax() uses while it runs; 0 for most shapes.
std::size_t argmax_workspace(const ReduceShape& shape);

// Throws UsageError for bool and for an axis without elements.
void argmax(DType dtype, const void* x, std::int64_t* y, const ReduceShape& shape, void* workspace,
            const Stream& stream);

}  // namespace ingot::cuda
