// Which element types are halves: 16 bits that are kept and moved as they are, and computed in f32.
//
//   if (is_half(t.dtype)) t.dtype = DType::F32;
#pragma once

#include "core/base/dtype.h"

namespace ingot {

constexpr bool is_half(DType dtype) {
  return dtype == DType::F16 || dtype == DType::BF16;
}

}  // namespace ingot
