// Elements of device tensors in tests of kernels: float, f16 and bf16 by one set of names.
//
//   const T x = rounded<T>(0.1);  value(x);  kType<T>;
#pragma once

#include <type_traits>

#include "core/base/dtype.h"
#include "core/base/half.h"

namespace ingot {

template <class T>
T rounded(double v) {
  if constexpr (std::is_same_v<T, float>)
    return static_cast<float>(v);
  else
    return T::from(static_cast<float>(v));
}
template <class T>
double value(T v) {
  if constexpr (std::is_same_v<T, float>)
    return static_cast<double>(v);
  else
    return static_cast<double>(v.to_float());
}
template <class T>
constexpr DType kType = std::is_same_v<T, float> ? DType::F32
                        : std::is_same_v<T, f16> ? DType::F16
                                                 : DType::BF16;

}  // namespace ingot
