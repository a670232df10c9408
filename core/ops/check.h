// Checks that shape inference shares. Each throws a ShapeError that names the op, what it expects and what it
// got.
//
//   check_floating(a, 0, "x");
//   const int axis = check_axis(a, attrs.axis, a.shape(0));
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/op/registry.h"

namespace ingot::ops {

inline void check_floating(const InferArgs& a, int input, std::string_view what) {
  if (!is_floating(a.dtype(input)))
    throw ShapeError(
        cat(a.op, ": ", what, " must be floating, got ", name(a.dtype(input)), "; convert with cast()"));
}

// Index operands: i32 or i64.
inline void check_index(const InferArgs& a, int input, std::string_view what) {
  if (a.dtype(input) != DType::I32 && a.dtype(input) != DType::I64)
    throw ShapeError(
        cat(a.op, ": ", what, " must be i32 or i64, got ", name(a.dtype(input)), "; convert with cast()"));
}

inline void check_dtype(const InferArgs& a, int input, std::string_view what, DType expected) {
  if (a.dtype(input) != expected)
    throw ShapeError(cat(a.op, ": ", what, " must be ", name(expected), ", got ", name(a.dtype(input)),
                         "; convert with cast()"));
}

inline void check_shape(const InferArgs& a, int input, std::string_view what, const Shape& expected) {
  if (!(a.shape(input) == expected))
    throw ShapeError(
        cat(a.op, ": ", what, " must have shape ", to_string(expected), ", got ", to_string(a.shape(input))));
}

inline void check_rank(const InferArgs& a, int input, std::string_view what, int rank) {
  if (a.shape(input).rank() != rank)
    throw ShapeError(
        cat(a.op, ": ", what, " must have rank ", rank, ", got shape ", to_string(a.shape(input))));
}

// Maps [-rank, rank) to [0, rank).
inline int check_axis(const InferArgs& a, std::int64_t axis, const Shape& shape) {
  const std::int64_t rank = shape.rank();
  if (axis < -rank || axis >= rank)
    throw ShapeError(
        cat(a.op, ": axis ", axis, " is out of range for shape ", to_string(shape), " of rank ", rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace ingot::ops
