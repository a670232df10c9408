// Maximum and sum of exponentials of a row in one pass. For .cu files.
//
// A minus infinity adds nothing, also before the first number; a row of nothing else has sum 0. A NaN or a
// plus infinity makes the sum NaN.
//
//   Running r = nothing();
//   r = add(r, x); ...
//   r = join(r, other);            // log sum exp x = r.most + logf(r.sum)
#pragma once

#include "cuda/base/kernel.h"

namespace ingot::gpu {

struct Running {
  float most, sum;
};
__device__ inline Running nothing() {
  return {-INFINITY, 0.0f};
}

__device__ inline float rescale(float from, float to) {
  return from == to ? 1.0f : expf(from - to);
}
// exp(x - most); the difference of two minus infinities would be NaN.
__device__ inline float exp_above(float x, float most) {
  return x == -INFINITY ? 0.0f : expf(x - most);
}
__device__ inline Running add(Running r, float x) {
  const float most = x > r.most ? x : r.most;
  return {most, r.sum * rescale(r.most, most) + exp_above(x, most)};
}
// N at once: one exponential each, and one for what came before.
template <int N>
__device__ inline Running add(Running r, const float (&x)[N]) {
  float most = r.most, sum = 0.0f;
#pragma unroll
  for (int k = 0; k < N; ++k) most = x[k] > most ? x[k] : most;
#pragma unroll
  for (int k = 0; k < N; ++k) sum += exp_above(x[k], most);
  return {most, r.sum * rescale(r.most, most) + sum};
}
// One that has seen nothing counts as nothing.
__device__ inline Running join(Running a, Running b) {
  const float most = a.most > b.most ? a.most : b.most;
  const float left = a.sum == 0.0f ? 0.0f : a.sum * rescale(a.most, most);
  const float right = b.sum == 0.0f ? 0.0f : b.sum * rescale(b.most, most);
  return {most, left + right};
}
__device__ inline Running shuffled(Running r, int step) {
  return {shuffle_xor(r.most, step), shuffle_xor(r.sum, step)};
}

}  // namespace ingot::gpu
