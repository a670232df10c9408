// Ops that move elements without computing: reshape, transpose, slice, concat, pad, broadcast, reorder.
//
// Any dtype. Functions resolve negative axes and sizes, so attributes are always plain.
//
//   Value rows = reshape(x, {-1, 64});
//   Value nhwc = transpose(x, {0, 2, 3, 1});
//   Value last = slice(x, 1, -1, kEnd);              // x[:, -1:]
//   Value both = concat({a, b}, 1);
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

struct ReshapeAttrs {
  Shape shape;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("shape", s.shape);
  }
};

struct TransposeAttrs {
  std::vector<std::int64_t> perm;  // result axis i is operand axis perm[i]
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("perm", s.perm);
  }
};

// One entry per axis. step > 0: 0 <= start <= end <= dim. step < 0: -1 <= end <= start < dim.
struct SliceAttrs {
  std::vector<std::int64_t> starts, ends, steps;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("starts", s.starts);
    v("ends", s.ends);
    v("steps", s.steps);
  }
};

struct SliceGradAttrs {
  std::vector<std::int64_t> starts, ends, steps;
  Shape shape;  // of the sliced operand
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("starts", s.starts);
    v("ends", s.ends);
    v("steps", s.steps);
    v("shape", s.shape);
  }
};

struct ConcatAttrs {
  std::int64_t axis = 0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
  }
};

struct PadAttrs {
  std::vector<std::int64_t> before, after;  // elements added per axis, never negative
  double value = 0.0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("before", s.before);
    v("after", s.after);
    v("value", s.value);
  }
};

struct BroadcastToAttrs {
  Shape shape;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("shape", s.shape);
  }
};

struct ReorderAttrs {
  Layout layout;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("layout", s.layout);
  }
};

// "To the end" for slice().
inline constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();

// The same elements in row-major order under another shape; `x` itself when the shape is equal. One dimension
// may be -1: the rest. No memory moves.
Value reshape(Value x, const Shape& shape, SourceLoc loc = SourceLoc::current());
Value reshape(Value x, std::initializer_list<std::int64_t> dims, SourceLoc loc = SourceLoc::current());
Value reshape(Value x, std::span<const std::int64_t> dims, SourceLoc loc = SourceLoc::current());
// Axes from `axis` on become one: flatten([n, c, h, w], 1) is [n, c * h * w].
Value flatten(Value x, std::int64_t axis = 1, SourceLoc loc = SourceLoc::current());
// Removes an axis of size 1, or inserts one before `axis` (counted in the result).
Value squeeze(Value x, std::int64_t axis, SourceLoc loc = SourceLoc::current());
Value unsqueeze(Value x, std::int64_t axis, SourceLoc loc = SourceLoc::current());

// Result axis i is operand axis perm[i].
Value transpose(Value x, const std::vector<std::int64_t>& perm, SourceLoc loc = SourceLoc::current());

// NumPy's x[start:end:step] along one axis: negative positions count from the end, positions beyond the ends
// are clamped. The step is not 0.
Value slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t end, std::int64_t step = 1,
            SourceLoc loc = SourceLoc::current());
// All axes at once with resolved attributes.
Value slice(Value x, const SliceAttrs& attrs, SourceLoc loc = SourceLoc::current());
// Reverses an axis.
Value flip(Value x, std::int64_t axis, SourceLoc loc = SourceLoc::current());

// Joins along an axis; all other dimensions and the dtype are equal.
Value concat(std::span<const Value> parts, std::int64_t axis, SourceLoc loc = SourceLoc::current());
Value concat(std::initializer_list<Value> parts, std::int64_t axis, SourceLoc loc = SourceLoc::current());

// Adds before[i] and after[i] elements of `value` around axis i.
Value pad(Value x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after,
          double value = 0.0, SourceLoc loc = SourceLoc::current());

// Repeats axes of size 1 and adds leading ones (NumPy); `x` itself when the shape is equal.
Value broadcast_to(Value x, const Shape& shape, SourceLoc loc = SourceLoc::current());

// The same tensor in another physical layout, or a copy in its own. Logically the identity.
Value reorder(Value x, const Layout& layout, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
