// Parameters and statistics of a normalisation: f32, or the 16-bit type of the images they belong to. For .cu
// files.
//
// Their type is looked at when the kernel runs, not compiled in: few are read, and each kernel exists once
// per image type. The branch is the same for all threads.
//
//   const float gamma = read_param(params.gamma, kind, channel);
//   load_params<V, T>(gamma, /*wide=*/kind == ParamKind::F32, at, g);      // at on 16 bytes
#pragma once

#include "cuda/kernels/convert.h"

namespace ingot::gpu {

enum class ParamKind : unsigned char { F32, F16, BF16 };

__device__ inline float read_param(const void* p, ParamKind kind, long long i) {
  if (kind == ParamKind::F32) return static_cast<const float*>(p)[i];
  if (kind == ParamKind::F16) return widen(static_cast<const __half*>(p)[i]);
  return widen(static_cast<const __nv_bfloat16*>(p)[i]);
}
__device__ inline void write_param(void* p, ParamKind kind, long long i, float v) {
  if (kind == ParamKind::F32)
    static_cast<float*>(p)[i] = v;
  else if (kind == ParamKind::F16)
    static_cast<__half*>(p)[i] = narrow<__half>(v);
  else
    static_cast<__nv_bfloat16*>(p)[i] = narrow<__nv_bfloat16>(v);
}

// V floats in a row: 16 bytes at a time where V is a multiple of 4 (the address then is one of 16).
template <int V>
__device__ inline void load_floats(const float* from, float (&to)[V]) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int i = 0; i < V / 4; ++i) {
      const Vec16<float> raw = load16(from + 4 * i);
#pragma unroll
      for (int k = 0; k < 4; ++k) to[4 * i + k] = raw.at[k];
    }
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = from[k];
  }
}
template <int V>
__device__ inline void store_floats(float* to, const float (&from)[V]) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int i = 0; i < V / 4; ++i) {
      Vec16<float> raw;
#pragma unroll
      for (int k = 0; k < 4; ++k) raw.at[k] = from[4 * i + k];
      store16(to + 4 * i, raw);
    }
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = from[k];
  }
}

// V parameters in a row, f32 when `wide`, else T.
template <int V, class T>
__device__ inline void load_params(const void* p, bool wide, long long at, float (&to)[V]) {
  if (wide)
    load_floats<V>(static_cast<const float*>(p) + at, to);
  else
    load_some<V>(static_cast<const T*>(p) + at, to);
}

}  // namespace ingot::gpu
