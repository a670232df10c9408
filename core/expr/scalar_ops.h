// The meaning of every scalar function, for float, double and the integer types where they apply.
//
// One header for all compilers: the CPU's tape kernels and references (g++), kernels built ahead (nvcc) and
// kernels generated at run time (NVRTC). No include but <cmath>. In float the transcendental functions are
// our own: straight-line code of additions, multiplications and selects (core/expr/scalar_math.h), so that a
// loop over them vectorises; in double they are the C library's.
//
// NaN in, NaN out, except where the function is a comparison. max and min propagate NaN, as PyTorch's do;
// relu(NaN) is NaN. Functions have internal linkage: the same header is compiled for several instruction
// sets, and the linker must not merge them.
//
//   float y = scalar::gelu(x);
#pragma once

#include "core/expr/scalar_math.h"

#define INGOT_SCALAR_FN \
  template <class T>    \
  INGOT_HOST_DEVICE static inline

namespace ingot::scalar {

// clang-format off
INGOT_SCALAR_FN T neg(T x) { return static_cast<T>(-x); }
INGOT_SCALAR_FN T abs(T x) { return x < T(0) ? static_cast<T>(-x) : (x == T(0) ? T(0) : x); }
INGOT_SCALAR_FN T sign(T x) { return x > T(0) ? T(1) : (x < T(0) ? static_cast<T>(-1) : x); }
INGOT_SCALAR_FN T square(T x) { return static_cast<T>(x * x); }
INGOT_SCALAR_FN T relu(T x) { return x < T(0) ? T(0) : x; }
INGOT_SCALAR_FN T exp(T x) { return math::exp(x); }
INGOT_SCALAR_FN T expm1(T x) { return math::expm1(x); }
INGOT_SCALAR_FN T log(T x) { return math::log(x); }
INGOT_SCALAR_FN T log1p(T x) { return math::log1p(x); }
INGOT_SCALAR_FN T sqrt(T x) { return math::sqrt(x); }
INGOT_SCALAR_FN T rsqrt(T x) { return T(1) / math::sqrt(x); }
INGOT_SCALAR_FN T reciprocal(T x) { return T(1) / x; }
INGOT_SCALAR_FN T sin(T x) { return math::sin(x); }
INGOT_SCALAR_FN T cos(T x) { return math::cos(x); }
INGOT_SCALAR_FN T tanh(T x) { return math::tanh(x); }
INGOT_SCALAR_FN T erf(T x) { return math::erf(x); }
INGOT_SCALAR_FN T sigmoid(T x) { return T(1) / (T(1) + scalar::exp(-x)); }
// log(1 + e^x), stable on both sides.
INGOT_SCALAR_FN T softplus(T x) { return scalar::relu(x) + scalar::log1p(scalar::exp(-scalar::abs(x))); }
INGOT_SCALAR_FN T gelu(T x) { return T(0.5) * x * (T(1) + scalar::erf(x * T(0.70710678118654752440))); }
INGOT_SCALAR_FN T gelu_tanh(T x) {
  return T(0.5) * x * (T(1) + scalar::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
}
INGOT_SCALAR_FN T silu(T x) { return x * scalar::sigmoid(x); }
INGOT_SCALAR_FN T mish(T x) { return x * scalar::tanh(scalar::softplus(x)); }
INGOT_SCALAR_FN T selu(T x) {
  const T scale = T(1.0507009873554804934193349852946), alpha = T(1.6732632423543772848170429916717);
  const T below = alpha * scalar::expm1(x);
  return scale * (x > T(0) ? x : below);
}
INGOT_SCALAR_FN T hard_sigmoid(T x) {
  const T y = x / T(6) + T(0.5);
  return y < T(0) ? T(0) : (y > T(1) ? T(1) : y);
}
INGOT_SCALAR_FN T hard_swish(T x) { return x * scalar::hard_sigmoid(x); }
INGOT_SCALAR_FN T floor(T x) { return math::floor(x); }
INGOT_SCALAR_FN T ceil(T x) { return math::ceil(x); }
// To nearest, ties to even (ONNX Round, torch.round).
INGOT_SCALAR_FN T round(T x) { return math::nearbyint(x); }
INGOT_SCALAR_FN bool is_nan(T x) { return !(x == x); }
INGOT_SCALAR_FN bool is_finite(T x) { return x - x == T(0); }
INGOT_SCALAR_FN bool logical_not(T x) { return !x; }
INGOT_SCALAR_FN T add(T a, T b) { return static_cast<T>(a + b); }
INGOT_SCALAR_FN T sub(T a, T b) { return static_cast<T>(a - b); }
INGOT_SCALAR_FN T mul(T a, T b) { return static_cast<T>(a * b); }
// Integers: truncates toward zero as C does; division by zero gives 0.
INGOT_SCALAR_FN T div(T a, T b) {
  if constexpr (math::kFloating<T>) return a / b;
  else return b == T(0) ? T(0) : static_cast<T>(a / b);
}
INGOT_SCALAR_FN T pow(T a, T b) { return math::pow(a, b); }
INGOT_SCALAR_FN T maximum(T a, T b) { return (a > b || !(a == a)) ? a : b; }
INGOT_SCALAR_FN T minimum(T a, T b) { return (a < b || !(a == a)) ? a : b; }
INGOT_SCALAR_FN T leaky_relu(T x, T slope) {
  const T below = slope * x;
  return x < T(0) ? below : x;
}
INGOT_SCALAR_FN T elu(T x, T alpha) {
  const T below = alpha * scalar::expm1(x);
  return x > T(0) ? x : below;
}
INGOT_SCALAR_FN bool eq(T a, T b) { return a == b; }
INGOT_SCALAR_FN bool ne(T a, T b) { return a != b; }
INGOT_SCALAR_FN bool lt(T a, T b) { return a < b; }
INGOT_SCALAR_FN bool le(T a, T b) { return a <= b; }
INGOT_SCALAR_FN bool gt(T a, T b) { return a > b; }
INGOT_SCALAR_FN bool ge(T a, T b) { return a >= b; }
INGOT_SCALAR_FN bool logical_and(T a, T b) { return a && b; }
INGOT_SCALAR_FN bool logical_or(T a, T b) { return a || b; }
INGOT_SCALAR_FN T where(bool c, T a, T b) { return c ? a : b; }
// clang-format on

}  // namespace ingot::scalar

#undef INGOT_SCALAR_FN
