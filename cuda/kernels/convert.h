// Elements of a kernel's tensors to float and back, one at a time or 16 bytes at once. For .cu files.
//
//   float v[Vec16<T>::kSize];
//   load_some<Vec16<T>::kSize>(x + at, v);       // x + at is a multiple of 16 bytes; load_some<1> takes any
#pragma once

#include <type_traits>

#include "cuda/base/kernel.h"

namespace ingot::gpu {

__device__ inline float widen(float v) {
  return v;
}
__device__ inline float widen(__half v) {
  return __half2float(v);
}
__device__ inline float widen(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

// Rounds to nearest, ties to even.
template <class T>
__device__ inline T narrow(float v) {
  if constexpr (std::is_same_v<T, __half>)
    return __float2half(v);
  else if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16(v);
  else
    return v;
}

// V elements in a row: one access of 16 bytes, or V = 1.
template <int V, class T>
__device__ inline void load_some(const T* from, float (&to)[V]) {
  if constexpr (V == 1) {
    to[0] = widen(*from);
  } else {
    static_assert(V == Vec16<T>::kSize);
    const Vec16<T> raw = load16(from);
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = widen(raw.at[k]);
  }
}
template <int V, class T>
__device__ inline void store_some(T* to, const float (&from)[V]) {
  if constexpr (V == 1) {
    *to = narrow<T>(from[0]);
  } else {
    static_assert(V == Vec16<T>::kSize);
    Vec16<T> raw;
#pragma unroll
    for (int k = 0; k < V; ++k) raw.at[k] = narrow<T>(from[k]);
    store16(to, raw);
  }
}

}  // namespace ingot::gpu
