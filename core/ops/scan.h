// Ops that carry a sum along an axis: running sums, and the selection of slices by a mask, whose places are
// running counts.
//
// A selection has a size that depends on the data, and memory is planned before anything runs. So its result
// is as large as its operand: the chosen slices in front, in their order, zeros behind them, and the number
// of those chosen as a second result, for what follows to mask with.
//
//   Value total = cumsum(x, 1);                       // torch.cumsum
//   Selected s = compress(x, greater(score, 0.5));    // s.values[0 .. s.count) are the rows with score > 0.5
//   Selected at = nonzero(mask);                      // at.values: i64 positions in the flattened mask
#pragma once

#include <cstdint>

#include "core/op/builder.h"
#include "core/ops/gather.h"

namespace ingot {

struct CumsumAttrs {
  std::int64_t axis = 0;
  bool exclusive = false;  // the sum of what comes before an element, without it
  bool reverse = false;    // from the end of the axis
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("exclusive", s.exclusive);
    v("reverse", s.reverse);
  }
};

using CompressAttrs = GatherAttrs;  // the axis

// y[i] = x[0] + ... + x[i] along the axis (torch.cumsum; ONNX CumSum has the attributes). Floating or
// integer; the dtype stays, as in sum(): cast to i64 first where small integers may not hold the total.
// Floating sums are added in double, one element after the other, and rounded once each; a GPU adds them in
// another, fixed order. Throws ShapeError for bool and for an axis out of range.
Value cumsum(Value x, std::int64_t axis, SourceLoc loc = SourceLoc::current());
Value cumsum(Value x, const CumsumAttrs& attrs, SourceLoc loc = SourceLoc::current());

struct Selected {
  Value values;  // of the operand's shape; zeros behind the chosen slices
  Value count;   // i64 scalar: how many were chosen
};

// The slices of x along `axis` whose entry of the mask is true, in order (numpy.compress, ONNX Compress, at a
// fixed size). mask: bool, [x.dim(axis)]. The gradient goes back to where the slices came from. Throws
// ShapeError for a mask of another type or length.
Selected compress(Value x, Value mask, std::int64_t axis = 0, SourceLoc loc = SourceLoc::current());
// The elements of x where the mask of the same shape is true, flattened (torch.masked_select at a fixed
// size).
Selected masked_select(Value x, Value mask, SourceLoc loc = SourceLoc::current());
// The positions of true elements in the flattened mask, i64 (torch.nonzero of a vector, at a fixed size).
Selected nonzero(Value mask, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
