// The vocabulary of kernels: shared memory, warps, 16-byte accesses, tensor cores, asynchronous copies. For
// .cu files.
//
// A kernel file is compiled by nvcc (and its text by NVRTC), and by g++ for the simulated device
// (tests/support/cuda_sim), which force-includes a header that stands for the device. Whatever needs PTX has
// its only home here, with a plain C++ twin there; CUDA's own names (__syncthreads, __syncwarp,
// __threadfence, atomicAdd, atomicMax, __ldg, rsqrtf, half and bfloat16 arithmetic ...) mean the same on
// both. Rules that both compilers share:
//   - shared memory is declared by GPU_SHARED and GPU_DYN_SHARED only; it starts undefined and 16-byte
//   aligned
//   - `<<<>>>` is never written: launch() of cuda/base/launch.h
//   - every thread of a block reaches the same __syncthreads(); nobody returns before it
//   - a kernel never spins on another block
// Warp functions take part with all 32 lanes; the block's size is a multiple of 32 where they are used.
//
//   __global__ void row_sum(const float* x, float* y, int n) {
//     GPU_SHARED(partial, float, [32]);
//     float sum = 0;
//     for (int i = threadIdx.x * 4; i < n; i += blockDim.x * 4) sum += add_up(load16(x + i));
//     sum = warp_sum(sum);
//     ...
#pragma once

#if !defined(__CUDACC__) && !defined(INGOT_CUDA_SIM)
#error \
    "cuda/base/kernel.h is for .cu files: compile them with nvcc, or for the simulator as tests/CMakeLists.txt does"
#endif

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// GPU_SHARED(name, T, [16][17]): an array of the block. GPU_DYN_SHARED(T, name): T* to what the launch asked
// for.
#if defined(INGOT_CUDA_SIM)
#define GPU_SHARED(name, T, ...)         \
  static constexpr char name##_site = 0; \
  auto& name =                           \
      *static_cast<T(*) __VA_ARGS__>(::ingot::sim::shared_array(&name##_site, #name, sizeof(T __VA_ARGS__)))
#define GPU_DYN_SHARED(T, name) T* const name = static_cast<T*>(::ingot::sim::dynamic_shared())
#else
#define GPU_SHARED(name, T, ...) __shared__ __align__(16) T name __VA_ARGS__
#define GPU_DYN_SHARED(T, name)                                         \
  extern __shared__ __align__(16) unsigned char ingot_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(ingot_dynamic_shared)
#endif

namespace ingot::gpu {

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

// ---- Warps
// ----------------------------------------------------------------------------------------------------------
// Shuffles order no memory accesses: what lanes pass through shared memory needs __syncwarp().

template <class T>
__device__ inline T shuffle(T value, int from_lane) {
  return __shfl_sync(kFullWarp, value, from_lane);
}
template <class T>
__device__ inline T shuffle_xor(T value, int lane_mask) {
  return __shfl_xor_sync(kFullWarp, value, lane_mask);
}
// The value of the lane `delta` below (up) or above (down); lanes without one keep their own.
template <class T>
__device__ inline T shuffle_up(T value, unsigned delta) {
  return __shfl_up_sync(kFullWarp, value, delta);
}
template <class T>
__device__ inline T shuffle_down(T value, unsigned delta) {
  return __shfl_down_sync(kFullWarp, value, delta);
}

// combine(a, b) over all lanes by a butterfly: the same result, bit for bit, in every lane.
template <class T, class Combine>
__device__ inline T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) value = combine(value, shuffle_xor(value, step));
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}
template <class T>
__device__ inline T warp_max(T value) {
  return warp_reduce(value, [](T a, T b) { return a > b ? a : b; });
}

// ---- 16 bytes at a time
// --------------------------------------------------------------------------------------------- The address
// is a multiple of 16.

template <class T>
struct alignas(16) Vec16 {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  T at[kSize];
};

// One access, whatever becomes of the elements: nvcc takes a structure of four words apart, and does not
// always join its loads and stores again. It leaves 128 bits alone.
template <class T>
__device__ inline Vec16<T> load16(const T* p) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::check_aligned(p, 16);
  const uint4 raw = *reinterpret_cast<const uint4*>(p);
#else
  const auto whole = *reinterpret_cast<const unsigned __int128*>(p);
  const auto low = static_cast<unsigned long long>(whole),
             high = static_cast<unsigned long long>(whole >> 64);
  uint4 raw;
  asm("mov.b64 {%0, %1}, %2;" : "=r"(raw.x), "=r"(raw.y) : "l"(low));
  asm("mov.b64 {%0, %1}, %2;" : "=r"(raw.z), "=r"(raw.w) : "l"(high));
#endif
  Vec16<T> value;
  __builtin_memcpy(&value, &raw, 16);
  return value;
}

template <class T>
__device__ inline void store16(T* p, const Vec16<T>& value) {
  uint4 raw;
  __builtin_memcpy(&raw, &value, 16);
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::check_aligned(p, 16);
  *reinterpret_cast<uint4*>(p) = raw;
#else
  unsigned long long low, high;
  asm("mov.b64 %0, {%1, %2};" : "=l"(low) : "r"(raw.x), "r"(raw.y));
  asm("mov.b64 %0, {%1, %2};" : "=l"(high) : "r"(raw.z), "r"(raw.w));
  *reinterpret_cast<unsigned __int128*>(p) = static_cast<unsigned __int128>(high) << 64 | low;
#endif
}

// ---- Tensor cores
// --------------------------------------------------------------------------------------------------- D = A B
// + C for one warp, accumulated in f32 (PTX ISA, "Matrix fragments for mma.m16n8k16" and "... m16n8k8"). With
// g = lane / 4 and t = lane % 4, a lane holds of
//   16-bit A (16 x 16): a[0] = (g, 2t..2t+1), a[1] = (g+8, 2t..), a[2] = (g, 2t+8..), a[3] = (g+8, 2t+8..)
//   16-bit B (16 x 8):  b[0] = (2t..2t+1, g), b[1] = (2t+8..2t+9, g)
//   TF32 A (16 x 8):    a[0] = (g, t), a[1] = (g+8, t), a[2] = (g, t+4), a[3] = (g+8, t+4)
//   TF32 B (8 x 8):     b[0] = (t, g), b[1] = (t+4, g)
//   C and D (16 x 8):   d[0] = (g, 2t), d[1] = (g, 2t+1), d[2] = (g+8, 2t), d[3] = (g+8, 2t+1)

__device__ inline void mma_m16n8k16(__half, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::mma(::ingot::sim::MmaKind::F16, d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ inline void mma_m16n8k16(__nv_bfloat16, float (&d)[4], const unsigned (&a)[4],
                                    const unsigned (&b)[2]) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::mma(::ingot::sim::MmaKind::BF16, d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// TF32: operands are floats rounded by to_tf32 (a float's other low bits are ignored, which truncates).
__device__ inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::mma(::ingot::sim::MmaKind::TF32, d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Nearest, ties away from zero; 10 bits of mantissa stay.
__device__ inline unsigned to_tf32(float value) {
#if defined(INGOT_CUDA_SIM)
  return ::ingot::sim::to_tf32(value);
#else
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#endif
}

// ---- Matrices from shared memory
// ------------------------------------------------------------------------------------ Four 8 x 8 matrices of
// 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8, 16 bytes aligned to 16. A lane
// receives of matrix i, in r[i], elements (g, 2t) and (g, 2t+1); transposed, (2t, g) and (2t+1, g).

__device__ inline void ldmatrix_x4(unsigned (&r)[4], const void* row) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::ldmatrix(r, 4, false, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

__device__ inline void ldmatrix_x4_transposed(unsigned (&r)[4], const void* row) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::ldmatrix(r, 4, true, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// As above for two matrices; the addresses are those of lanes 0 to 15.
__device__ inline void ldmatrix_x2_transposed(unsigned (&r)[2], const void* row) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::ldmatrix(r, 2, true, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// ---- Asynchronous copies, global to shared
// -------------------------------------------------------------------------- copy_async: 16 bytes, both
// addresses aligned to 16; only the first `valid` bytes are read, the others become zero. commit closes a
// group of this thread's copies. copy_async_wait<n>() returns when all but the last n groups have landed;
// other threads see them after a __syncthreads() that follows it.

__device__ inline void copy_async16(void* shared, const void* global, int valid = 16) {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::copy_async(shared, global, 16, valid);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid)
               : "memory");
#endif
}

__device__ inline void copy_async_commit() {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::copy_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
__device__ inline void copy_async_wait() {
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::copy_async_wait(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

}  // namespace ingot::gpu
