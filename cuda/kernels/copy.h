// Copies between two regular arrangements of elements: launches of the kernels in copy.cu. Transposing,
// slicing, broadcasting and changing the order of axes in memory are copies of this kind.
//
// Elements have 1, 2, 4 or 8 bytes, whatever they mean. A copy is a list of axes, each with a size and a
// stride in elements on either side; a source may repeat (stride 0) or run backwards, a result's strides are
// positive and name each place once. Axes are joined when the copy is planned, so that the kernel sees as few
// as there can be. Pointers are aligned to their element and do not overlap; 16 bytes move at a time where
// strides and pointers allow it. Any size, more than 2^31 elements included.
//
//   const StridedCopy t = plan_copy({{rows, columns, 1}, {columns, 1, rows}}, sizeof(float));  // transposes
//   strided_copy(t, x, y, stream);
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/base/stream.h"

namespace ingot::cuda {

struct CopyAxis {
  std::int64_t size = 1, from = 0, to = 0;
};

struct StridedCopy {
  static constexpr int kMaxAxes = 8;
  std::vector<CopyAxis> axes;  // joined; the results' strides fall; never empty
  std::size_t element = 1;     // bytes
  std::int64_t from_base = 0, to_base = 0;

  bool is_empty() const;
  // Every element keeps its place.
  bool is_identity() const;
};

// Throws UsageError for an element of another size, a negative size, a result's stride that is not positive
// (sizes above 1), and for more than 8 axes that cannot be joined.
StridedCopy plan_copy(std::vector<CopyAxis> axes, std::size_t element, std::int64_t from_base = 0,
                      std::int64_t to_base = 0);

void strided_copy(const StridedCopy& copy, const void* from, void* to, const Stream& stream);

}  // namespace ingot::cuda
