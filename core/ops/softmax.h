// Softmax and log-softmax along one axis, and their gradients.
//
//   softmax           y = exp(x - max) / sum exp(x - max)
//   log_softmax       y = x - max - log sum exp(x - max)
//   softmax_grad      (dy, y) -> y (dy - sum(dy y)),        y = softmax(x)
//   log_softmax_grad  (dy, y) -> dy - exp(y) sum(dy),       y = log_softmax(x)
//
// Sums run along `axis` (negative counts from the end). One floating dtype; the result has the operand's
// type. The gradients can be differentiated again. Cost: 5 flops per element (max, subtract, exponential,
// sum, divide or subtract), 4 for the gradients. Errors: ShapeError for an axis outside of the rank, for
// integer operands, and when dy and y differ.
//
//   Value p = softmax(scores);           // over the last axis
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct SoftmaxAttrs {
  std::int64_t axis = -1;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
  }
};

Value softmax(Value x, std::int64_t axis = -1, SourceLoc loc = SourceLoc::current());
Value log_softmax(Value x, std::int64_t axis = -1, SourceLoc loc = SourceLoc::current());
Value softmax_grad(Value dy, Value y, std::int64_t axis, SourceLoc loc = SourceLoc::current());
Value log_softmax_grad(Value dy, Value y, std::int64_t axis, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
