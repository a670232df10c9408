// A tensor into another physical layout where blocks are involved (core/ir/type.h): the launch of the kernel
// in reblock.cu. Layouts without blocks are strided copies (copy.h), which are faster.
//
// Any dtype; both types have the same shape. The result's padding becomes zeros. Pointers are aligned to
// their element and do not overlap.
//
//   reblock(f32[8, 20, 4, 4]@0231, f32[8, 20, 4, 4]@0123:1x16, x, y, stream);
#pragma once

#include "core/ir/type.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// Throws UsageError for types of different dtype or shape.
void reblock(const TensorType& from_type, const TensorType& to_type, const void* from, void* to,
             const Stream& stream);

}  // namespace ingot::cuda
