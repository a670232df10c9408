// Numbers as unsigned integers of the same order, so that one way of sorting serves all element types.
//
// NaN is the greatest key, all NaN have the same one, and so have -0 and 0. The bits of a key with its
// elements' order reversed are its complement. Compiled by nvcc too; needs no header of the C++ library.
//
//   order_key(-1.5f) < order_key(0.0f);      order_key(-0.0f) == order_key(0.0f);
//   const std::uint64_t item = std::uint64_t{order_key(x[i])} << 32 | i;     // sorts stably
#pragma once

#ifndef INGOT_HOST_DEVICE
#ifdef __CUDACC__
#define INGOT_HOST_DEVICE __host__ __device__
#else
#define INGOT_HOST_DEVICE
#endif
#endif

namespace ingot {

INGOT_HOST_DEVICE inline unsigned order_key(int v) {
  return static_cast<unsigned>(v) ^ 0x80000000u;
}
INGOT_HOST_DEVICE inline unsigned long long order_key(long long v) {
  return static_cast<unsigned long long>(v) ^ 0x8000000000000000ull;
}
INGOT_HOST_DEVICE inline unsigned order_key(float v) {
  if (v != v) return ~0u;
  const auto bits = __builtin_bit_cast(unsigned, v == 0.0f ? 0.0f : v);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
INGOT_HOST_DEVICE inline unsigned long long order_key(double v) {
  if (v != v) return ~0ull;
  const auto bits = __builtin_bit_cast(unsigned long long, v == 0.0 ? 0.0 : v);
  return (bits >> 63) != 0 ? ~bits : bits | 0x8000000000000000ull;
}

}  // namespace ingot
