// The prediction of a compiled program: a row for each step as it was lowered, and totals that are their
// sums.
#include "core/runtime/prediction.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/view.h"

namespace ingot {
namespace {

Machine machine() {
  Machine m;
  m.threads = 1;
  m.launch_seconds = 1e-6;
  m.vector[0] = 3e9, m.matrix[0] = 7e9;
  m.levels = {{"memory", 0.0, 1.1e10, false}};
  return m;
}

TEST(Prediction, TheSumOfTheStepsIsTheTotal) {
  Graph g;
  Value x = input(g, "x", {DType::F32, {32, 48}});
  Value w = state(g, StateRole::Parameter, "w", {DType::F32, {48, 48}}, Init::normal(0.0, 1.0));
  Value y = relu(matmul(x, w));
  output("y", reshape(y, {48, 32}));
  g.add_update(w.id(), transpose(w, {1, 0}).id());
  const ProgramPtr p = compile(g, {.target = Target::cpu(1)});
  const Prediction all = predict(machine(), *p);
  ASSERT_EQ(all.steps.size(), p->schedule().size() + p->copies().size());
  double seconds = 0.0, roofline = 0.0, flops = 0.0, bytes = 0.0;
  int launches = 0;
  for (std::size_t i = 0; i < all.steps.size(); ++i) {
    const PredictedStep& s = all.steps[i];
    if (i < p->schedule().size()) {
      EXPECT_EQ(s.node, p->schedule()[i]);
      EXPECT_EQ(s.kernel, p->step(s.node).is_view ? "view" : p->step(s.node).kernel);
    }
    EXPECT_FALSE(s.kernel.empty());
    EXPECT_EQ(s.cost.seconds == 0.0, s.kernel == "view") << s.name;
    seconds += s.cost.seconds, roofline += s.cost.roofline_seconds;
    flops += s.cost.flops, bytes += s.cost.bytes, launches += s.cost.launches;
  }
  EXPECT_EQ(all.total.seconds, seconds);
  EXPECT_EQ(all.total.roofline_seconds, roofline);
  EXPECT_EQ(all.total.flops, flops);
  EXPECT_EQ(all.total.bytes, bytes);
  EXPECT_EQ(all.total.launches, launches);
  EXPECT_EQ(all.total.flops, p->flops());
  EXPECT_GT(all.total.seconds, 0.0);
}

// A chain through small values leaves each in the cache for the next; what is read a second time at the end
// of a long chain is not there any more.
TEST(Prediction, WhatTheStepBeforeLeftInACache) {
  constexpr std::int64_t kSize = 1 << 12;
  Graph g;
  Value x = input(g, "x", {DType::F32, {kSize}});
  Value y = x;
  for (int i = 0; i < 8; ++i) y = exp(y);
  output("y", add(y, x));
  const ProgramPtr p =
      compile(g, {.target = Target::cpu(1), .optimise = false, .share_memory = false, .in_place = false});
  const std::vector<Amounts> all = amounts_of(*p);
  ASSERT_EQ(all.size(), 9u);
  const double bytes = 4.0 * kSize;
  const auto nearest = [&](const Amounts& a) {
    double least = 1e30;
    for (const Touched& t : a.touched) least = std::min(least, t.distance);
    return least;
  };
  const auto furthest = [&](const Amounts& a) {
    double most = 0.0;
    for (const Touched& t : a.touched) most = std::max(most, t.distance);
    return most;
  };
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LE(nearest(all[i]), 3.0 * bytes) << i;
  EXPECT_GE(furthest(all.back()), 8.0 * bytes);
  Machine m = machine();
  m.levels = {{"cache", 4.0 * bytes, 1e12, false}, {"memory", 0.0, 1e9, false}};
  m.launch_seconds = 0.0, m.vector[0] = 1e30;
  const Prediction predicted = predict(m, *p);
  // Reads one value from the cache and writes another, which was touched one run ago.
  EXPECT_NEAR(predicted.steps[4].cost.seconds, bytes / 1e9, 0.1 * bytes / 1e9);
}

TEST(Prediction, TheCostliestComeFirst) {
  Graph g;
  Value x = input(g, "x", {DType::F32, {16, 16}});
  output("small", matmul(x, x));
  Value big = input(g, "big", {DType::F32, {64, 64}});
  output("large", matmul(big, big));
  const Prediction all = predict(machine(), *compile(g, {.target = Target::cpu(1)}));
  const auto order = costliest(all, 10);
  ASSERT_EQ(order.size(), 2u);
  EXPECT_GT(order[0]->cost.seconds, order[1]->cost.seconds);
  EXPECT_EQ(order[0]->cost.flops, 2.0 * 64 * 64 * 64);
  EXPECT_EQ(costliest(all, 1).size(), 1u);
}

}  // namespace
}  // namespace ingot
