// Elements as kernels hold them: half and bfloat16 bits, conversions, and accesses of several elements at
// once.
//
// One header for NVRTC, nvcc and g++ (which compiles kernels for tests on machines without a GPU), so kernels
// need nothing of the standard library. Arithmetic is done in float: widen() on the way in, narrow_f16() and
// narrow_bf16() on the way out, rounding to nearest even as core/base/half.h does. A bool is a u8 that holds
// 0 or 1.
//
//   float a[4];
//   load<16>(x + i, a);                                  // one access of 16 bytes; x + i is aligned to 16
//   y[i] = narrow_bf16(a[0] * widen(b[i]));
#pragma once

#include "core/expr/scalar_math.h"

#ifdef __CUDACC__
#define INGOT_DEVICE __device__
#define INGOT_UNROLL _Pragma("unroll")
#else
#include "core/base/half.h"
#define INGOT_DEVICE
#define INGOT_UNROLL
#endif
// The simulated device sees an access that is less aligned than it claims; a GPU faults by itself.
#ifdef INGOT_CUDA_SIM
#define INGOT_CHECK_ALIGNED(pointer, bytes) ::ingot::sim::check_aligned(pointer, bytes)
#else
#define INGOT_CHECK_ALIGNED(pointer, bytes)
#endif

namespace ingot::cuda {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;

struct f16_bits {
  u16 bits;
};
struct bf16_bits {
  u16 bits;
};

template <class T>
INGOT_DEVICE static inline T widen(T x) {
  return x;
}
INGOT_DEVICE static inline float widen(bf16_bits x) {
  return __builtin_bit_cast(float, static_cast<u32>(x.bits) << 16);
}

#ifdef __CUDACC__
INGOT_DEVICE static inline float widen(f16_bits x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
INGOT_DEVICE static inline f16_bits narrow_f16(float x) {
  f16_bits y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
INGOT_DEVICE static inline bf16_bits narrow_bf16(float x) {
  bf16_bits y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
#else
static inline float widen(f16_bits x) {
  return f16{x.bits}.to_float();
}
static inline f16_bits narrow_f16(float x) {
  return {f16::from(x).bits};
}
static inline bf16_bits narrow_bf16(float x) {
  return {bf16::from(x).bits};
}
#endif

// `count` elements that move in one access.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T v[count];
};

// All of `to` from consecutive elements, in accesses of `bytes`, to which `from` is aligned.
template <int bytes, class T, int n>
INGOT_DEVICE static inline void load(const T* from, T (&to)[n]) {
  constexpr int count = bytes / static_cast<int>(sizeof(T));
  static_assert(count >= 1 && n % count == 0, "whole accesses only");
  INGOT_UNROLL
  for (int i = 0; i < n; i += count) {
    INGOT_CHECK_ALIGNED(from + i, bytes);
    const Pack<T, count> p = *reinterpret_cast<const Pack<T, count>*>(from + i);
    INGOT_UNROLL
    for (int j = 0; j < count; ++j) to[i + j] = p.v[j];
  }
}
template <int bytes, class T, int n>
INGOT_DEVICE static inline void store(T* to, const T (&from)[n]) {
  constexpr int count = bytes / static_cast<int>(sizeof(T));
  static_assert(count >= 1 && n % count == 0, "whole accesses only");
  INGOT_UNROLL
  for (int i = 0; i < n; i += count) {
    Pack<T, count> p;
    INGOT_UNROLL
    for (int j = 0; j < count; ++j) p.v[j] = from[i + j];
    INGOT_CHECK_ALIGNED(to + i, bytes);
    *reinterpret_cast<Pack<T, count>*>(to + i) = p;
  }
}

}  // namespace ingot::cuda
