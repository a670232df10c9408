// Transcendental functions for core/expr/scalar_ops.h: float ones that compilers can vectorise, double ones
// from the C library.
//
// Every float function is one straight line: range reduction, a polynomial (fitted for the least maximal
// relative error, coefficients rounded to float), reconstruction; special values are handled by selects whose
// arms are always computed. Errors against the exact value, in units in the last place of a normal result:
// exp, log 1.1, expm1, log1p 1.8, tanh, erf 2.5. Results below the smallest normal float are right to the
// last place of that range. NaN gives NaN. The code assumes that the compiler does not reassociate.
//
//   for (int i = 0; i < n; ++i) y[i] = scalar::math::exp(x[i]);
#pragma once

#ifndef __CUDACC_RTC__
#include <cmath>
#endif

#ifndef INGOT_HOST_DEVICE
#ifdef __CUDACC__
#define INGOT_HOST_DEVICE __host__ __device__
#else
#define INGOT_HOST_DEVICE
#endif
#endif

#define INGOT_MATH_FN INGOT_HOST_DEVICE static inline

namespace ingot::scalar::math {

template <class T>
constexpr bool kFloating = false;
template <>
constexpr bool kFloating<float> = true;
template <>
constexpr bool kFloating<double> = true;

INGOT_MATH_FN float as_float(int bits) {
  return __builtin_bit_cast(float, bits);
}
INGOT_MATH_FN int as_int(float v) {
  return __builtin_bit_cast(int, v);
}
// a * b + c, with one rounding where the machine has it.
INGOT_MATH_FN float madd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return ::fmaf(a, b, c);
#elif defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
INGOT_MATH_FN float magnitude(float x) {
  return as_float(as_int(x) & 0x7fffffff);
}
INGOT_MATH_FN float with_sign_of(float y, float x) {
  return as_float(as_int(y) | (as_int(x) & static_cast<int>(0x80000000u)));
}

// x = n ln 2 + r with |r| <= ln(2)/2 and e^r - 1.
struct Exponent {
  int n;
  float expm1_r;
};
INGOT_MATH_FN Exponent reduce_exp(float x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low bits
  const float t = madd(x, 1.44269504f, shift);
  const float k = t - shift;
  // ln 2 in two parts; the first has trailing zeros, so k * first is exact.
  const float r = madd(k, -1.42860677e-6f, madd(k, -0.693145752f, x));
  float p = 0.00138718786f;
  p = madd(p, r, 0.00836687628f);
  p = madd(p, r, 0.0416674316f);
  p = madd(p, r, 0.16666542f);
  p = madd(p, r, 0.49999997f);
  return {static_cast<int>(static_cast<unsigned>(as_int(t)) - static_cast<unsigned>(as_int(shift))),
          madd(r * r, p, r)};
}
INGOT_MATH_FN float power_of_two(int n) {
  return as_float(static_cast<int>((static_cast<unsigned>(n) + 127u) << 23));
}

INGOT_MATH_FN float exp(float x) {
  const float low = x < -104.0f ? -104.0f : x, c = low > 89.0f ? 89.0f : low;
  const Exponent e = reduce_exp(c);
  // Two factors: 2^n alone leaves the range at both ends.
  const int half = e.n >> 1;
  return (e.expm1_r + 1.0f) * power_of_two(half) * power_of_two(e.n - half);
}

INGOT_MATH_FN float expm1(float x) {
  const float low = x < -18.0f ? -18.0f : x, c = low > 89.0f ? 89.0f : low;
  const Exponent e = reduce_exp(c);
  const float half = power_of_two(e.n - 1);
  const float y = 2.0f * madd(half, e.expm1_r, half - 0.5f);
  return x == 0.0f ? x : y;
}

INGOT_MATH_FN float log(float x) {
  const float tiny = x * 8388608.0f;
  const bool subnormal = x < 1.17549435e-38f;
  const float v = subnormal ? tiny : x;
  // v = 2^k m with m in [sqrt(1/2), sqrt(2)).
  const int bits = static_cast<int>(static_cast<unsigned>(as_int(v)) - 0x3f3504f3u);
  const int k = bits >> 23;
  const float f = as_float((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float e = static_cast<float>(k) - (subnormal ? 23.0f : 0.0f);
  float p = -0.0763554275f;
  p = madd(p, f, 0.12781547f);
  p = madd(p, f, -0.131689563f);
  p = madd(p, f, 0.141996443f);
  p = madd(p, f, -0.166223124f);
  p = madd(p, f, 0.200012833f);
  p = madd(p, f, -0.250008494f);
  p = madd(p, f, 0.333333313f);
  const float s = f * f;
  const float tail = madd(s * f, p, madd(e, 1.42860677e-6f, -0.5f * s));
  const float y = madd(e, 0.693145752f, f + tail);
  const float nan = as_float(0x7fc00000), inf = as_float(0x7f800000);
  const float at_end = x == 0.0f ? -inf : (x < 0.0f ? nan : x);  // x: infinity or NaN
  return x > 0.0f && x < inf ? y : at_end;
}

INGOT_MATH_FN float log1p(float x) {
  const float u = 1.0f + x;
  const float lost = x - (u - 1.0f);  // what rounding took from u, to first order
  const float y = log(u) + lost / (u == 0.0f ? 1.0f : u);
  return x == 0.0f || u == as_float(0x7f800000) ? x : y;
}

INGOT_MATH_FN float tanh(float x) {
  const float a = magnitude(x), c = a > 10.0f ? 10.0f : a;
  const float t = expm1(2.0f * c);
  return with_sign_of(t / (t + 2.0f), x);
}

INGOT_MATH_FN float erf(float x) {
  const float a = magnitude(x), t = a > 4.0f ? 4.0f : a, s = t * t;
  // Up to 1: t + t Q(t^2).
  float q = 7.80690316e-05f;
  q = madd(q, s, -0.00079978531f);
  q = madd(q, s, 0.0051871622f);
  q = madd(q, s, -0.0268533472f);
  q = madd(q, s, 0.112835787f);
  q = madd(q, s, -0.37612626f);
  q = madd(q, s, 0.128379166f);
  const float near = madd(q, t, t);
  // Beyond: 1 - e^R(t).
  float r = 0.000190033534f;
  r = madd(r, t, -0.00298461504f);
  r = madd(r, t, 0.0219903141f);
  r = madd(r, t, -0.103433967f);
  r = madd(r, t, -0.637757659f);
  r = madd(r, t, -1.12732852f);
  r = madd(r, t, -0.000281096174f);
  const float far = 1.0f - exp(r);
  return with_sign_of(t > 1.0f ? far : near, x);
}

INGOT_MATH_FN float sqrt(float x) {
  return ::sqrtf(x);
}
INGOT_MATH_FN float sin(float x) {
  return ::sinf(x);
}
INGOT_MATH_FN float cos(float x) {
  return ::cosf(x);
}
INGOT_MATH_FN float floor(float x) {
  return ::floorf(x);
}
INGOT_MATH_FN float ceil(float x) {
  return ::ceilf(x);
}
INGOT_MATH_FN float nearbyint(float x) {
  return ::nearbyintf(x);
}
INGOT_MATH_FN float pow(float a, float b) {
  return ::powf(a, b);
}

#define INGOT_MATH_DOUBLE(name)         \
  INGOT_MATH_FN double name(double x) { \
    return ::name(x);                   \
  }
INGOT_MATH_DOUBLE(exp)
INGOT_MATH_DOUBLE(expm1)
INGOT_MATH_DOUBLE(log)
INGOT_MATH_DOUBLE(log1p)
INGOT_MATH_DOUBLE(sqrt)
INGOT_MATH_DOUBLE(sin)
INGOT_MATH_DOUBLE(cos)
INGOT_MATH_DOUBLE(tanh)
INGOT_MATH_DOUBLE(erf)
INGOT_MATH_DOUBLE(floor)
INGOT_MATH_DOUBLE(ceil)
INGOT_MATH_DOUBLE(nearbyint)
#undef INGOT_MATH_DOUBLE
INGOT_MATH_FN double pow(double a, double b) {
  return ::pow(a, b);
}

}  // namespace ingot::scalar::math

#undef INGOT_MATH_FN
