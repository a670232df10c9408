#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/half.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

// Every finite f16 survives the way to float and back.
TEST(Half, RoundTripsEveryF16) {
  for (std::uint32_t b = 0; b < 65536; ++b) {
    const f16 h{static_cast<std::uint16_t>(b)};
    const float f = h.to_float();
    if (std::isnan(f)) continue;
    EXPECT_EQ(f16::from(f).bits, h.bits) << b;
  }
}

// Against the compiler's own conversion, around every representable value and every tie between two of them.
TEST(Half, RoundsLikeTheCompiler) {
  for (std::uint32_t b = 0; b < 0x7bff; ++b) {
    const float lo = f16{static_cast<std::uint16_t>(b)}.to_float();
    const float hi = f16{static_cast<std::uint16_t>(b + 1)}.to_float();
    const float mid = 0.5f * (lo + hi);
    for (const float f : {mid, std::nextafter(mid, 0.0f), std::nextafter(mid, hi)}) {
      const _Float16 expected = static_cast<_Float16>(f);
      std::uint16_t bits;
      std::memcpy(&bits, &expected, 2);
      EXPECT_EQ(f16::from(f).bits, bits) << f;
      EXPECT_EQ(f16::from(-f).bits, bits | 0x8000u) << f;
    }
  }
  EXPECT_EQ(f16::from(65519.996f).bits, 0x7bff);
  EXPECT_EQ(f16::from(65520.0f).bits, 0x7c00);
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(bf16::from(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16::from(1.00390625f).bits, 0x3f80);  // tie, to even
  EXPECT_EQ(bf16::from(1.01171875f).bits, 0x3f82);  // tie, to even
  EXPECT_TRUE(std::isnan(bf16::from(std::numeric_limits<float>::quiet_NaN()).to_float()));
  EXPECT_TRUE(std::isinf(bf16::from(std::numeric_limits<float>::max()).to_float()));
}

}  // namespace
}  // namespace ingot
