// Ops without operands: constants and counters.
//
//   Value half = full(g, 0.5, {DType::F32, {}});
//   Value table = constant(g, Tensor::of({1, 2, 3}));
//   Value i = iota(g, 10);                               // i64[10]: 0, 1, ..., 9
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct FullAttrs {
  double value = 0.0;
  DType dtype = DType::F32;
  Shape shape;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("value", s.value);
    v("dtype", s.dtype);
    v("shape", s.shape);
  }
};

struct ConstantAttrs {
  Tensor value;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("value", s.value);
  }
};

struct IotaAttrs {
  std::int64_t n = 0;
  DType dtype = DType::I64;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("n", s.n);
    v("dtype", s.dtype);
  }
};

// Every element is `value`, rounded to the dtype.
Value full(Graph& graph, double value, const TensorType& type, SourceLoc loc = SourceLoc::current());
// A scalar of `like`'s dtype in `like`'s graph; it broadcasts against anything.
Value scalar_like(Value like, double value, SourceLoc loc = SourceLoc::current());
Value zeros_like(Value like, SourceLoc loc = SourceLoc::current());
Value ones_like(Value like, SourceLoc loc = SourceLoc::current());

// The tensor's elements; it is copied to row-major and must not change afterwards. Throws UsageError when it
// is empty-handed (a default Tensor).
Value constant(Graph& graph, const Tensor& value, SourceLoc loc = SourceLoc::current());

// [n]: 0, 1, ..., n - 1. Integer or floating dtype; throws ShapeError for a negative n or bool.
Value iota(Graph& graph, std::int64_t n, DType dtype = DType::I64, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
