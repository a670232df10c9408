// The C++ formula against values printed by `python tests/golden/formula.py`: golden files mean nothing
// unless the two agree bit for bit.
#include <gtest/gtest.h>

#include "tests/support/formula.h"

namespace ingot {
namespace {

TEST(Formula, HashesKeysAsPythonDoes) {
  EXPECT_EQ(formula::key_hash("input/0"), 0x8105082d595e2fc4ull);
  EXPECT_EQ(formula::key_hash("conv1.weight"), 0x69a29a2cee47d254ull);
  EXPECT_EQ(formula::key_hash("layer1.0.bn1.bias"), 0xdffd680b1b1cbc5dull);
}

TEST(Formula, GivesTheSameBits) {
  const std::uint64_t h = formula::key_hash("input/0");
  EXPECT_EQ(formula::bits(h, 0), 12367946u);
  EXPECT_EQ(formula::bits(h, 1), 6125930u);
  EXPECT_EQ(formula::bits(h, 2), 15694842u);
  EXPECT_EQ(formula::bits(h, 1000), 14475368u);
}

TEST(Formula, UnitIsExactInBothPrecisions) {
  const Tensor x = formula::unit("input/0", {3});
  EXPECT_EQ(x.data<float>()[0], 0x1.e5c25p-2f);
  EXPECT_EQ(x.data<float>()[1], -0x1.1434bp-2f);
  EXPECT_EQ(x.data<float>()[2], 0x1.bdefe8p-1f);
  const Tensor d = formula::unit("input/0", {3}, DType::F64);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(d.get(i), x.get(i)) << i;
}

TEST(Formula, Labels) {
  const Tensor y = formula::labels("label/0", 8, 10);
  const std::int32_t expected[] = {0, 7, 3, 2, 4, 8, 7, 8};
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(y.data<std::int32_t>()[i], expected[i]) << i;
}

void expect_starts_with(const Tensor& t, const float (&expected)[3]) {
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(t.data<float>()[i], expected[i]) << i;
}

TEST(Formula, ParametersByKeyAndShape) {
  expect_starts_with(formula::parameter("conv1.weight", {6, 1, 5, 5}),
                     {0x1.69cb2p-5f, 0x1.ebf266p-3f, -0x1.dea86cp-2f});
  expect_starts_with(formula::parameter("fc1.weight", {120, 400}),
                     {-0x1.6466cp-7f, 0x1.e6ce4ep-8f, 0x1.03881ep-5f});
  expect_starts_with(formula::parameter("bn1.weight", {16}),
                     {0x1.dc3654p-1f, 0x1.29863cp+0f, 0x1.08db26p+0f});
  expect_starts_with(formula::parameter("layer1.0.bn2.weight", {16}),
                     {0x1.049f14p-2f, 0x1.0c9c7cp-2f, 0x1.855e38p-3f});
  expect_starts_with(formula::parameter("fc1.bias", {120}),
                     {-0x1.cb4ccp-8f, -0x1.79b2b8p-4f, 0x1.391848p-4f});
  EXPECT_EQ(formula::parameter("bn1.running_mean", {4}).get(3), 0.0);
  EXPECT_EQ(formula::parameter("bn1.running_var", {4}).get(3), 1.0);
  EXPECT_THROW(formula::parameter("temperature", {1}), UsageError);
}

}  // namespace
}  // namespace ingot
