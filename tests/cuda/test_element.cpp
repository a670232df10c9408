// cuda/jit/element.h as g++ sees it: the twin that runs in place of the GPU's conversions and accesses.
#include "cuda/jit/element.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/half.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

TEST(Element, HalfTypesConvertAsOnTheHost) {
  for (std::uint32_t b = 0; b < 65536; ++b) {
    const auto bits = static_cast<std::uint16_t>(b);
    const float h = f16{bits}.to_float(), g = bf16{bits}.to_float();
    const float x = cuda::widen(cuda::f16_bits{bits}), y = cuda::widen(cuda::bf16_bits{bits});
    EXPECT_TRUE(x == h || (std::isnan(x) && std::isnan(h))) << b;
    EXPECT_TRUE(y == g || (std::isnan(y) && std::isnan(g))) << b;
  }
  for (const float v : {0.1f, -0.0f, 65519.9f, 65520.0f, 1e-6f, -6e-8f, 1e30f, 1.00390625f, 1.01171875f}) {
    EXPECT_EQ(cuda::narrow_f16(v).bits, f16::from(v).bits) << v;
    EXPECT_EQ(cuda::narrow_bf16(v).bits, bf16::from(v).bits) << v;
  }
}

TEST(Element, LoadsAndStores) {
  alignas(16) float x[12], y[12] = {};
  for (int i = 0; i < 12; ++i) x[i] = static_cast<float>(i);
  float a[8];
  cuda::load<16>(x + 4, a);
  cuda::store<16>(y, a);
  cuda::load<4>(x + 1, a);
  cuda::store<8>(y + 2, a);
  const std::vector<float> want{4, 5, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0};
  EXPECT_EQ(std::vector<float>(y, y + 12), want);
}

}  // namespace
}  // namespace ingot
