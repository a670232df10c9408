// One value per thread to one value per block. For .cu files.
//
// The order of the combination depends on the number of threads alone: the same bits each time. Every thread
// of the block takes part and gets the result. Two calls in a row may share their slots.
//
//   GPU_SHARED(slots, float, [kThreads / kWarpSize + 1]);
//   const float total = block_sum<kThreads>(own, &slots[0]);
#pragma once

#include "cuda/base/kernel.h"

namespace ingot::gpu {

// combine(a, b) over the block; `shuffled(value, step)` is the value of the lane whose number differs by
// `step`. `slots` holds Threads / 32 + 1 of them.
template <int Threads, class S, class Combine, class Shuffle>
__device__ inline S block_reduce(S value, S* slots, Combine combine, Shuffle shuffled) {
  constexpr int kWarps = Threads / kWarpSize;
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) value = combine(value, shuffled(value, step));
  if (thread % kWarpSize == 0) slots[thread / kWarpSize] = value;
  __syncthreads();
  if (thread == 0) {
    S all = slots[0];
    for (int w = 1; w < kWarps; ++w) all = combine(all, slots[w]);
    slots[kWarps] = all;
  }
  __syncthreads();
  return slots[kWarps];
}

template <int Threads>
__device__ inline float block_sum(float value, float* slots) {
  return block_reduce<Threads>(
      value, slots, [](float a, float b) { return a + b; },
      [](float v, int step) { return shuffle_xor(v, step); });
}

// Two sums at once.
struct SumPair {
  float a, b;
};
__device__ inline SumPair operator+(SumPair l, SumPair r) {
  return {l.a + r.a, l.b + r.b};
}
__device__ inline SumPair shuffled_pair(SumPair v, int step) {
  return {shuffle_xor(v.a, step), shuffle_xor(v.b, step)};
}
template <int Threads>
__device__ inline SumPair block_sum(SumPair value, SumPair* slots) {
  return block_reduce<Threads>(
      value, slots, [](SumPair a, SumPair b) { return a + b; },
      [](SumPair v, int step) { return shuffled_pair(v, step); });
}

// The last step of sums over many rows: a block takes 8 neighbouring columns, one sector of memory, and 32
// strips of the rows.
constexpr int kStripColumns = 8;
constexpr int kStrips = 32;

// The sum over the strips of the column of thread column + 8 * strip; every thread gets its own column's.
__device__ inline float strip_sum(float own, float (&slots)[kStrips][kStripColumns + 1]) {
  const int column = static_cast<int>(threadIdx.x) % kStripColumns;
  slots[static_cast<int>(threadIdx.x) / kStripColumns][column] = own;
  __syncthreads();
  float all = 0.0f;
#pragma unroll
  for (int s = 0; s < kStrips; ++s) all += slots[s][column];
  __syncthreads();
  return all;
}

}  // namespace ingot::gpu
