// Kernels with one mistake each, and their corrected twins: what the simulator must catch, and must let pass.
#include "tests/cuda_sim/bugs.h"

#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"

namespace ingot::bugs {

using namespace gpu;

__device__ inline int thread_number() {
  return static_cast<int>(threadIdx.x);
}

#define INGOT_BUG(name, T, blocks, threads)                                                      \
  void name(const float* x, T* y, Variant v, const cuda::Stream& stream) {                       \
    cuda::launch(v == Variant::Right ? name##_kernel<true> : name##_kernel<false>, dim3(blocks), \
                 dim3(threads), 0, stream, x, y);                                                \
  }

template <bool kRight>
__global__ void missing_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  if constexpr (kRight) __syncthreads();
  y[i] = s[kSize - 1 - i];
}
INGOT_BUG(missing_barrier, float, 1, kSize)

template <bool kRight>
__global__ void missing_warp_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  if constexpr (kRight) __syncwarp();
  y[i] = s[i ^ 31];
}
INGOT_BUG(missing_warp_barrier, float, 1, kSize)

template <bool kRight>
__global__ void half_warp_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  __syncwarp(kRight ? kFullWarp : i % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  y[i] = s[i ^ 31];
}
INGOT_BUG(half_warp_barrier, float, 1, kSize)

template <bool kRight>
__global__ void early_overwrite_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  __syncthreads();
  const float other = s[kSize - 1 - i];
  if constexpr (kRight) __syncthreads();
  s[i] = other;
  y[i] = s[i];
}
INGOT_BUG(early_overwrite, float, 1, kSize)

template <bool kRight>
__global__ void divergent_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  if (kRight || i < kSize / 2) __syncthreads();
  y[i] = s[i];
}
INGOT_BUG(divergent_barrier, float, 1, kSize)

template <bool kRight>
__global__ void two_barriers_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  s[i] = x[i];
  if (kRight || i < kSize / 2)
    __syncthreads();
  else
    __syncthreads();
  y[i] = s[kSize - 1 - i];
}
INGOT_BUG(two_barriers, float, 1, kSize)

template <bool kRight>
__global__ void divergent_shuffle_kernel(const float* x, float* y) {
  const int i = thread_number();
  float value = x[i];
  if (kRight || i % 32 < 16)
    value = __shfl_xor_sync(kFullWarp, value, 1);
  else
    value = __shfl_xor_sync(kFullWarp, value, 2);
  y[i] = value;
}
INGOT_BUG(divergent_shuffle, float, 1, kSize)

template <bool kRight>
__global__ void out_of_bounds_kernel(const float* x, float* y) {
  const int i = thread_number();
  if (!kRight || i < kSize) y[i] = x[i % kSize];
}
INGOT_BUG(out_of_bounds, float, 1, 96)

template <bool kRight>
__global__ void shared_out_of_bounds_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize + (kRight ? 1 : 0)]);
  const int i = thread_number();
  s[i + 1] = x[i];
  if (i == 0) s[0] = 0;
  __syncthreads();
  y[i] = s[i];
}
INGOT_BUG(shared_out_of_bounds, float, 1, kSize)

template <bool kRight>
__global__ void uninitialised_kernel(const float* x, float* y) {
  GPU_SHARED(sum, float);
  const int i = thread_number();
  if (kRight && i == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, x[i]);
  __syncthreads();
  if (i == 0) y[0] = sum;
}
INGOT_BUG(uninitialised, float, 1, kSize)

template <bool kRight>
__global__ void misaligned_kernel(const float* x, float* y) {
  store16(y, load16(x + (kRight ? 4 : 1)));
}
INGOT_BUG(misaligned, float, 1, 1)

template <bool kRight>
__global__ void misaligned_float4_kernel(const float* x, float* y) {
  *reinterpret_cast<float4*>(y) = *reinterpret_cast<const float4*>(x + (kRight ? 4 : 1));
}
INGOT_BUG(misaligned_float4, float, 1, 1)

template <bool kRight>
__global__ void race_kernel(const float* x, int* counts) {
  int* const count = &counts[x[thread_number()] > 0 ? 1 : 0];
  if constexpr (kRight)
    atomicAdd(count, 1);
  else
    ++*count;
}
INGOT_BUG(race, int, 1, kSize)

template <bool kRight>
__global__ void race_between_blocks_kernel(float* y) {
  y[kRight ? blockIdx.x : 0] = static_cast<float>(blockIdx.x);
}

void race_between_blocks(float* y, Variant v, const cuda::Stream& stream) {
  cuda::launch(v == Variant::Right ? race_between_blocks_kernel<true> : race_between_blocks_kernel<false>,
               dim3(2), dim3(1), 0, stream, y);
}

template <bool kRight>
__global__ void missing_fence_kernel(float* partial, unsigned* count, float* total) {
  partial[blockIdx.x] = 1;
  if constexpr (kRight) __threadfence();
  if (atomicAdd(count, 1u) != gridDim.x - 1) return;
  if constexpr (kRight) __threadfence();
  float all = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) all += partial[i];
  *total = all;
}

void missing_fence(float* partial, unsigned* count, float* total, Variant v, const cuda::Stream& stream) {
  cuda::launch(v == Variant::Right ? missing_fence_kernel<true> : missing_fence_kernel<false>, dim3(4),
               dim3(1), 0, stream, partial, count, total);
}

template <bool kRight>
__global__ void missing_wait_kernel(const float* x, float* y) {
  GPU_SHARED(s, float, [kSize]);
  const int i = thread_number();
  if (i < kSize / 4) copy_async16(&s[4 * i], x + 4 * i);
  copy_async_commit();
  if constexpr (kRight) copy_async_wait<0>();
  __syncthreads();
  y[i] = s[kSize - 1 - i];
}
INGOT_BUG(missing_wait, float, 1, kSize)

template <bool kRight>
__global__ void deep_stack_kernel(const float* x, float* y) {
  constexpr int kDeep = kRight ? 128 : 128 * 1024;
  volatile float local[kDeep];
  for (int i = kDeep - 1; i >= 0; --i) local[i] = x[i % kSize];
  y[0] = local[static_cast<int>(x[0])];
}
INGOT_BUG(deep_stack, float, 1, 1)

}  // namespace ingot::bugs
