// airbench94's start: whitening filters and Dirac convolutions. test_zoo.cpp has its keys and shapes.
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/base/glob.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/airbench.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

Session session(std::int64_t batch) {
  const auto net = make_airbench94(3, 32, 10);
  Graph g;
  output("logits", (*net)(input(g, "x", {DType::F32, {batch, 3, 32, 32}})));
  return Session(compile(g, {.target = Target::cpu(1)}), {.seed = 1});
}

// Neighbours and colours go together, as in pictures, and no two directions of a patch vary alike.
Tensor pictures(std::int64_t n) {
  const Tensor t = Tensor::zeros({DType::F32, {n, 3, 32, 32}});
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const std::int64_t x = i % 32, y = i / 32 % 32, c = i / 1024 % 3, k = i / 3072;
    const auto phase = static_cast<double>(k);
    t.set(i, std::sin(0.3 * static_cast<double>(x) + phase) +
                 0.6 * std::cos(0.9 * static_cast<double>(y * (c + 1)) - phase) +
                 0.4 * std::sin(static_cast<double>(i * i % 9973)));
  }
  return t;
}

TEST(Airbench, FirstFiltersWhitenPatches) {
  auto states = session(1).states();
  const Tensor images = pictures(20);
  start_airbench(states, images);
  const Tensor w = states.at("0.weight");
  ASSERT_EQ(w.shape(), Shape({24, 3, 2, 2}));
  // What the filters make of every patch, and the mean of its products.
  std::vector<double> products(24 * 24);
  std::int64_t patches = 0;
  for (std::int64_t n = 0; n < 20; ++n)
    for (std::int64_t y = 0; y < 31; ++y)
      for (std::int64_t x = 0; x < 31; ++x, ++patches) {
        std::array<double, 24> made{};
        for (std::int64_t f = 0; f < 24; ++f)
          for (std::int64_t k = 0; k < 12; ++k)
            made[static_cast<std::size_t>(f)] +=
                w.get(f * 12 + k) * images.get(((n * 3 + k / 4) * 32 + y + k / 2 % 2) * 32 + x + k % 2);
        for (std::size_t a = 0; a < 24; ++a)
          for (std::size_t b = 0; b < 24; ++b) products[a * 24 + b] += made[a] * made[b];
      }
  for (std::size_t a = 0; a < 24; ++a)
    for (std::size_t b = 0; b < 24; ++b) {
      const double want = a == b             ? 1.0
                          : a % 12 == b % 12 ? -1.0
                                             : 0.0;  // the second half is the first, negated
      // 5e-4 is added to every variance.
      EXPECT_NEAR(products[a * 24 + b] / static_cast<double>(patches), want, 0.01) << a << " " << b;
    }
}

TEST(Airbench, FirstFiltersOfOtherConvolutionsHandChannelsOn) {
  auto states = session(1).states();
  const Tensor before = states.at("2.conv1.weight").clone();
  start_airbench(states, pictures(2));
  const Tensor w = states.at("2.conv1.weight");  // [64, 24, 3, 3]
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const std::int64_t out = i / (24 * 9), in = i / 9 % 24, tap = i % 9;
    if (out < 24)
      EXPECT_EQ(w.get(i), out == in && tap == 4 ? 1.0 : 0.0) << i;
    else
      EXPECT_EQ(w.get(i), before.get(i)) << i;
  }
  EXPECT_EQ(states.at("7.weight").get(5), session(1).states().at("7.weight").get(5));
}

TEST(Airbench, FrozenAreFiltersAndScales) {
  std::vector<std::string> frozen;
  for (const auto& [key, t] : session(1).states())
    if (any_glob_matches(airbench_frozen(), key)) frozen.push_back(key);
  EXPECT_EQ(join(frozen),
            "0.weight, 2.norm1.weight, 2.norm2.weight, 3.norm1.weight, 3.norm2.weight, "
            "4.norm1.weight, 4.norm2.weight");
}

TEST(Airbench, OtherStatesAndImagesAreRefused) {
  auto states = session(1).states();
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     start_airbench(states, Tensor::zeros({DType::F32, {2, 1, 32, 32}}));
                   }),
                   "expected images f32[N, 3, height, width], got f32[2, 1, 32, 32]"));
  std::map<std::string, Tensor> others{{"0.weight", Tensor::zeros({DType::F32, {4, 3}})}};
  EXPECT_TRUE(says(message_of<UsageError>([&] { start_airbench(others, pictures(1)); }), "airbench94"));
}

}  // namespace
}  // namespace ingot
