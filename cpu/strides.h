// Where the elements of an unblocked tensor lie: element strides per logical axis.
//
//   auto s = strides_over(x, {8, 16, 4, 4});      // x broadcasts: its axes of size 1 and missing ones get 0
#pragma once

#include <vector>

#include "core/ir/type.h"

namespace ingot::cpu {

inline std::vector<std::int64_t> strides_over(const TensorType& t, const Shape& out) {
  const int rank = t.shape.rank(), lead = out.rank() - rank;
  std::vector<std::int64_t> s(static_cast<std::size_t>(out.rank()), 0);
  std::int64_t stride = 1;
  for (int i = rank; i-- > 0;) {
    const int axis = t.layout.is_row_major() ? i : t.layout.order[static_cast<std::size_t>(i)];
    if (t.shape[axis] != 1) s[static_cast<std::size_t>(axis + lead)] = stride;
    stride *= t.shape[axis];
  }
  return s;
}

}  // namespace ingot::cpu
