// Elements whose dtype is known when a kernel is launched, not when it is compiled: for kernels that spend
// their time on memory, where a choice that is the same for all threads costs nothing and one kernel instead
// of seven keeps the library small. For .cu files.
//
// Code of both sides: Thrust's iterators use it. It works in double for floating dtypes, in long long for
// integers and bool (false 0, true 1).
//
//   const double v = load_as<double>(x, DType::BF16, i);
//   store_as<double>(y, DType::BF16, i, v);              // one rounding
#pragma once

#include <type_traits>

#include "core/base/dtype.h"
#include "cuda/base/kernel.h"

namespace ingot::gpu {

template <class A>
__host__ __device__ inline A load_as(const void* x, DType dtype, long long i) {
  if constexpr (std::is_same_v<A, double>) {
    if (dtype == DType::F32) return static_cast<double>(static_cast<const float*>(x)[i]);
    if (dtype == DType::F64) return static_cast<const double*>(x)[i];
    if (dtype == DType::F16) return static_cast<double>(__half2float(static_cast<const __half*>(x)[i]));
    return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16*>(x)[i]));
  } else {
    if (dtype == DType::I32) return static_cast<A>(static_cast<const int*>(x)[i]);
    if (dtype == DType::I64) return static_cast<A>(static_cast<const long long*>(x)[i]);
    const unsigned char byte = static_cast<const unsigned char*>(x)[i];
    return dtype == DType::Bool ? static_cast<A>(byte != 0) : static_cast<A>(byte);
  }
}

// Integers wrap around.
template <class A>
__host__ __device__ inline void store_as(void* y, DType dtype, long long i, A value) {
  if constexpr (std::is_same_v<A, double>) {
    if (dtype == DType::F32)
      static_cast<float*>(y)[i] = static_cast<float>(value);
    else if (dtype == DType::F64)
      static_cast<double*>(y)[i] = value;
    else if (dtype == DType::F16)
      static_cast<__half*>(y)[i] = __float2half(static_cast<float>(value));
    else
      static_cast<__nv_bfloat16*>(y)[i] = __float2bfloat16(static_cast<float>(value));
  } else {
    if (dtype == DType::I32)
      static_cast<int*>(y)[i] = static_cast<int>(value);
    else if (dtype == DType::I64)
      static_cast<long long*>(y)[i] = static_cast<long long>(value);
    else
      static_cast<unsigned char*>(y)[i] = static_cast<unsigned char>(value);
  }
}

}  // namespace ingot::gpu
