#include "core/ops/random.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/philox.h"
#include "core/ops/creation.h"
#include "tests/ops/eval.h"

namespace ingot {
namespace {

Value rng(Graph& g, std::int64_t seed, std::int64_t offset) {
  return constant(g, Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{seed, offset}));
}

struct Moments {
  double mean = 0.0, variance = 0.0;
};
Moments moments(const Tensor& t) {
  Moments m;
  const auto n = static_cast<double>(t.numel());
  for (const double v : values(t)) m.mean += v / n;
  for (const double v : values(t)) m.variance += (v - m.mean) * (v - m.mean) / n;
  return m;
}

TEST(Random, UniformFollowsTheCounter) {
  Graph g;
  const Tensor t = eval(uniform(rng(g, -5, 9), {3, 7}, 0.0, 1.0, 11));
  const std::uint64_t stream = (std::uint64_t{9} << 20) + 11;
  for (const std::int64_t i : {0, 3, 4, 20}) {
    const auto k = static_cast<std::uint64_t>(i);
    EXPECT_EQ(t.data<float>()[i],
              uniform01(philox4x32(static_cast<std::uint64_t>(std::int64_t{-5}), k / 4, stream).v[k % 4]));
  }
}

TEST(Random, UniformStaysInsideItsRange) {
  Graph g;
  const Tensor t = eval(uniform(rng(g, 1, 2), {20000}, 1.0, 1.0 + 0x1p-20, 0));
  for (const double v : values(t)) ASSERT_TRUE(v >= 1.0 && v < 1.0 + 0x1p-20);
  const Moments m = moments(eval(uniform(rng(g, 1, 2), {20000}, -1.0, 3.0, 0)));
  EXPECT_NEAR(m.mean, 1.0, 0.04);
  EXPECT_NEAR(m.variance, 16.0 / 12.0, 0.04);
}

TEST(Random, NormalHasItsMoments) {
  Graph g;
  const Tensor t = eval(normal(rng(g, 3, 0), {40001}, 2.0, 0.5, 4));
  const Moments m = moments(t);
  EXPECT_NEAR(m.mean, 2.0, 0.012);
  EXPECT_NEAR(m.variance, 0.25, 0.008);
  double inside = 0.0;
  for (const double v : values(t)) inside += std::abs(v - 2.0) < 0.5;
  EXPECT_NEAR(inside / 40001.0, 0.6827, 0.01);
}

TEST(Random, StreamsAndStepsDiffer) {
  Graph g;
  const auto draw = [&](std::int64_t offset, std::int64_t stream) {
    return values(eval(uniform(rng(g, 3, offset), {8}, 0.0, 1.0, stream)));
  };
  EXPECT_NE(draw(0, 0), draw(0, 1));
  EXPECT_NE(draw(0, 0), draw(1, 0));
  EXPECT_EQ(draw(1, 1), draw(1, 1));
}

TEST(Random, DropoutKeepsAndScales) {
  Graph g;
  const Value x = full(g, 3.0, {DType::F32, {100, 100}});
  const auto [y, mask] = dropout(x, rng(g, 8, 1), 0.25, 2);
  const auto v = values(eval(y)), k = values(eval(mask));
  double kept = 0.0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    ASSERT_EQ(v[i], k[i] != 0.0 ? 4.0 : 0.0);
    kept += k[i];
  }
  EXPECT_NEAR(kept / 10000.0, 0.75, 0.02);
  const Value dy = full(g, 1.5, x.type());
  const auto dx = values(eval(operand_gradients(y, dy)[0]));
  for (std::size_t i = 0; i < dx.size(); ++i) ASSERT_EQ(dx[i], k[i] != 0.0 ? 2.0 : 0.0);
  EXPECT_EQ(values(eval(dropout(x, rng(g, 8, 1), 1.0, 2).y)), std::vector<double>(10000, 0.0));
}

TEST(Random, RefusesBadArguments) {
  Graph g;
  const Value r = rng(g, 0, 0), x = full(g, 1.0, {DType::F32, {2}});
  EXPECT_THROW(dropout(x, r, 1.5, 0), UsageError);
  EXPECT_THROW(uniform(r, {2}, 1.0, 0.0, 0), UsageError);
  EXPECT_THROW(uniform(r, {2}, 0.0, 1.0, std::int64_t{1} << 20), UsageError);
  EXPECT_THROW(normal(x, {2}, 0.0, 1.0, 0), ShapeError);
  EXPECT_THROW(normal(r, {2}, 0.0, 1.0, 0, DType::I32), ShapeError);
}

}  // namespace
}  // namespace ingot
