// Reductions over axes.
//
// `axes` may be negative, in any order; empty means all. The result drops the reduced axes, or keeps them
// with size 1 when `keepdim`. sum, max and min keep the dtype (floating or integer); mean and var are
// floating only. Over zero elements sum is 0 and mean is NaN, as in PyTorch; max, min and argmax refuse such
// a shape.
//
//   Value total = sum(x);                          // scalar
//   Value row = mean(x, {1}, true);                // [n, 1]
//   Value label = argmax(logits, 1);               // i64[n]
#pragma once

#include <cstdint>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

struct ReduceAttrs {
  std::vector<std::int64_t> axes;
  bool keepdim = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axes", s.axes);
    v("keepdim", s.keepdim);
  }
};

struct ReduceVarAttrs {
  std::vector<std::int64_t> axes;
  bool keepdim = false;
  double correction = 1.0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axes", s.axes);
    v("keepdim", s.keepdim);
    v("correction", s.correction);
  }
};

struct ArgmaxAttrs {
  std::int64_t axis = 0;
  bool keepdim = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("keepdim", s.keepdim);
  }
};

using Axes = std::vector<std::int64_t>;

Value sum(Value x, const Axes& axes = {}, bool keepdim = false, SourceLoc loc = SourceLoc::current());
Value mean(Value x, const Axes& axes = {}, bool keepdim = false, SourceLoc loc = SourceLoc::current());
// NaN wins. The gradient goes to all elements that equal the extremum, in equal parts (torch.amax).
Value max(Value x, const Axes& axes = {}, bool keepdim = false, SourceLoc loc = SourceLoc::current());
Value min(Value x, const Axes& axes = {}, bool keepdim = false, SourceLoc loc = SourceLoc::current());
// Sum of squared distances from the mean over (count - correction), computed in two passes. Not a number
// where count <= correction.
Value var(Value x, const Axes& axes = {}, bool keepdim = false, double correction = 1.0,
          SourceLoc loc = SourceLoc::current());
// i64 index of the first greatest element along the axis; the first NaN wins.
Value argmax(Value x, std::int64_t axis, bool keepdim = false, SourceLoc loc = SourceLoc::current());

namespace ops {
// Which axes of `shape` are reduced; throws ShapeError for an axis out of range or named twice.
std::vector<bool> reduced_axes(const Axes& axes, const Shape& shape);
// The result's shape.
Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keepdim);
// How many elements make one result.
std::int64_t reduced_count(const Shape& shape, const std::vector<bool>& reduced);
}  // namespace ops

}  // namespace ingot
