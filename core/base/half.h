// Storage types for the two 16-bit floating formats, with conversions to and from float.
//
// They hold bits and convert; arithmetic is done in float. Rounding is to nearest, ties to even, as IEEE 754
// asks; NaN stays NaN, overflow becomes infinity, f16 subnormals are kept.
//
//   bf16 b = bf16::from(1.5f);
//   float f = b.to_float();
#pragma once

#include <bit>
#include <cstdint>

namespace ingot {

struct bf16 {
  std::uint16_t bits = 0;

  static constexpr bf16 from(float f) {
    std::uint32_t u = std::bit_cast<std::uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
    u += 0x7fffu + ((u >> 16) & 1u);
    return {static_cast<std::uint16_t>(u >> 16)};
  }
  constexpr float to_float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

struct f16 {
  std::uint16_t bits = 0;

  static constexpr f16 from(float f) {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t sign = (u >> 16) & 0x8000u;
    const std::uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
    if (a >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // rounds to 65536 or more
    if (a < 0x38800000u) {  // below 2^-14: the result is subnormal or zero, let the FPU round it
      const float scaled = std::bit_cast<float>(a) + 0.5f;  // ulp of 0.5 is 2^-24, the smallest f16 subnormal
      return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(scaled) - 0x3f000000u))};
    }
    const std::uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
    return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
  }
  constexpr float to_float() const {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exp = (bits >> 10) & 0x1fu;
    const std::uint32_t man = bits & 0x3ffu;
    if (exp == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (man << 13));
    if (exp == 0) {
      const float magnitude = static_cast<float>(man) * 0x1p-24f;
      return sign ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(sign | ((exp + 112u) << 23) | (man << 13));
  }
};

}  // namespace ingot
