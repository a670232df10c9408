// Random ops. They are pure functions of a generator state, so a step can be replayed and checked.
//
// The state `rng` is i64[2]: {seed, offset}. Element i (row-major index, whatever the layout) of a draw with
// stream s comes from philox4x32(key = seed, counter_lo = i / 4, counter_hi = (offset << 20) + s).v[i % 4]
// (core/base/philox.h). Every op of a graph has its own stream, 0 <= stream < 2^20; whoever owns the state
// adds {0, 1} to it once a step. Bits do not depend on the number of threads or on the device.
//
//   Value noise = normal(rng, {32, 100}, 0.0, 1.0, 0);
//   auto [y, mask] = dropout(x, rng, 0.5, 1);
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct UniformAttrs {
  Shape shape;
  double lo = 0.0, hi = 1.0;
  std::int64_t stream = 0;
  DType dtype = DType::F32;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("shape", s.shape);
    v("lo", s.lo);
    v("hi", s.hi);
    v("stream", s.stream);
    v("dtype", s.dtype);
  }
};

struct NormalAttrs {
  Shape shape;
  double mean = 0.0, stddev = 1.0;
  std::int64_t stream = 0;
  DType dtype = DType::F32;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("shape", s.shape);
    v("mean", s.mean);
    v("stddev", s.stddev);
    v("stream", s.stream);
    v("dtype", s.dtype);
  }
};

struct DropoutAttrs {
  double p = 0.5;
  std::int64_t stream = 0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("p", s.p);
    v("stream", s.stream);
  }
};

struct DropoutGradAttrs {
  double p = 0.5;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("p", s.p);
  }
};

// [lo, hi) with 24 random bits; the value is uniform_in<float> (f64: uniform_in<double>), rounded to the
// dtype. Throws ShapeError unless the dtype is floating, UsageError unless lo <= hi.
Value uniform(Value rng, const Shape& shape, double lo, double hi, std::int64_t stream,
              DType dtype = DType::F32, SourceLoc loc = SourceLoc::current());

// mean + stddev * z, where elements 2k and 2k + 1 are the two results of box_muller on their own words.
Value normal(Value rng, const Shape& shape, double mean, double stddev, std::int64_t stream,
             DType dtype = DType::F32, SourceLoc loc = SourceLoc::current());

struct DropoutResult {
  Value y, mask;
};
// Keeps an element where uniform01(bits) >= p and scales it by 1 / (1 - p); else 0. `mask` (bool) tells which
// were kept. 0 <= p <= 1; p = 1 gives zeros.
DropoutResult dropout(Value x, Value rng, double p, std::int64_t stream,
                      SourceLoc loc = SourceLoc::current());

}  // namespace ingot
