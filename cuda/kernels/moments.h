// Mean and sum of squared deviations, in f32, for values whose mean is large beside their spread. For .cu
// files.
//
// Values are taken relative to a shift, which should be one of them: x - shift is then exact or nearly so,
// and the mean that is tracked is small. Groups are joined by Chan, Golub and LeVeque's formula, so nothing
// cancels whatever the shift. The mean is kept as two floats, high + low: x - high loses no digit either.
//
//   Moments m{0.0f, 0.0f, 0.0f};
//   m.add(x - shift); ...
//   const SplitMean mean = split_mean(shift, m.mean);     // y = (x - mean.high - mean.low) * rstd
#pragma once

#include "cuda/base/kernel.h"

namespace ingot::gpu {

struct Moments {
  float n, mean, m2;

  __device__ void add(float d) {
    n += 1.0f;
    const float delta = d - mean;
    mean += delta / n;
    m2 += delta * (d - mean);
  }
};

// What `count` values with this mean and m2 change, where share = count / (n + count): the division is the
// caller's, because many columns share it.
__device__ inline void join_into(float n, float& mean, float& m2, float other_mean, float other_m2,
                                 float share) {
  const float delta = other_mean - mean;
  mean += delta * share;
  m2 += other_m2 + delta * delta * n * share;
}

__device__ inline Moments join(Moments a, Moments b) {
  const float n = a.n + b.n;
  if (b.n == 0.0f) return a;
  join_into(a.n, a.mean, a.m2, b.mean, b.m2, b.n / n);
  a.n = n;
  return a;
}

// Four values of one column at once: half the dependent operations of four single ones.
__device__ inline void four_moments(float d0, float d1, float d2, float d3, float& mean, float& m2) {
  mean = ((d0 + d1) + (d2 + d3)) * 0.25f;
  d0 -= mean;
  d1 -= mean;
  d2 -= mean;
  d3 -= mean;
  m2 = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
}

struct SplitMean {
  float high, low;
};
// shift + mean without a rounding (Knuth's two-sum).
__device__ inline SplitMean split_mean(float shift, float mean) {
  const float high = shift + mean;
  const float part = high - shift;
  return {high, (shift - (high - part)) + (mean - part)};
}

}  // namespace ingot::gpu
