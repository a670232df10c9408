// Order along an axis: sort, argsort, topk.
//
// On every backend the same elements come in the same order: sorting is stable, so that of equal elements the
// one with the lower index comes first, in both directions; NaN is greater than every number (PyTorch's
// order), and -0 equals 0.
//
//   Sorted s = sort(x);                       // torch.sort(x, stable=True): s.values, s.indices
//   Sorted best = topk(logits, 5);            // the five greatest of each row, the greatest first
//   Value order = argsort(x, 0, true);
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct SortAttrs {
  std::int64_t axis = -1;
  bool descending = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("descending", s.descending);
  }
};

struct TopkAttrs {
  std::int64_t k = 1;
  std::int64_t axis = -1;
  bool largest = true;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("k", s.k);
    v("axis", s.axis);
    v("largest", s.largest);
  }
};

struct Sorted {
  Value values;   // of the operand's dtype, its bits unchanged
  Value indices;  // i64: where along the axis each was
};

// Floating or integer dtype. The gradient of the values goes back by the indices. Throws ShapeError for bool
// and for an axis out of range.
Sorted sort(Value x, std::int64_t axis = -1, bool descending = false, SourceLoc loc = SourceLoc::current());
// The indices of sort().
Value argsort(Value x, std::int64_t axis = -1, bool descending = false, SourceLoc loc = SourceLoc::current());
// The first k of sort(x, axis, largest), as torch.topk(..., sorted=True) but with ties in a fixed order.
// Throws ShapeError unless 0 <= k <= x.dim(axis).
Sorted topk(Value x, std::int64_t k, std::int64_t axis = -1, bool largest = true,
            SourceLoc loc = SourceLoc::current());

}  // namespace ingot
