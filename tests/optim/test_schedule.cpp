// Learning-rate schedules, as the compiled step computes them in f32, against torch.optim.lr_scheduler's
// formulas in double and against PyTorch's own numbers (tests/golden/op_schedule.json).
//
// Tolerance: the step counts in f32, so a rate is right to a few roundings of the base rate.
#include "optim/schedule.h"

#include <cmath>
#include <functional>
#include <numbers>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// lr(t) of a schedule, by a program that counts t itself.
class Rates {
 public:
  Rates(const Schedule& schedule, double lr)
      : session_(compile(graph(schedule, lr), {.target = Target::cpu(1)})) {}
  double at(std::int64_t t) {
    session_.input("t").set(0, static_cast<double>(t));
    session_.run();
    return session_.output("lr").item();
  }

 private:
  static Graph graph(const Schedule& schedule, double lr) {
    Graph g;
    output("lr", schedule(input(g, "t", {DType::F32, {}}), lr));
    return g;
  }
  Session session_;
};

void expect_rates(const Schedule& schedule, double lr, const std::vector<std::int64_t>& steps,
                  const std::function<double(double)>& formula) {
  Rates rates(schedule, lr);
  for (const std::int64_t t : steps)
    EXPECT_NEAR(rates.at(t), formula(static_cast<double>(t)), 1e-6 * lr) << "step " << t;
}

TEST(Schedules, FollowPyTorchStepByStep) {
  std::size_t seen = 0;
  for (const golden::OpCase& c : golden::op_cases("schedule")) {
    SCOPED_TRACE(c.title());
    const auto& a = c.attrs;
    Schedule s;
    if (c.op == "step_lr") s = step_lr(a.integer("step_size"), a.number("gamma"));
    if (c.op == "cosine") s = cosine(a.integer("t_max"), a.number("eta_min"));
    if (c.op == "one_cycle")
      s = one_cycle(a.integer("total_steps"), a.number("pct_start"), a.number("div_factor"),
                    a.number("final_div_factor"));
    if (c.op == "warmup") {
      s = a.has("t_max") ? cosine(a.integer("t_max")) : constant_lr();
      s = s.warmup(a.integer("steps"), a.number("start_factor"));
    }
    Rates rates(s, a.number("lr"));
    const Tensor& want = c.outputs.at(0);
    for (std::int64_t t = 0; t < want.numel(); ++t)
      EXPECT_NEAR(rates.at(t), want.get(t), 1e-6 * a.number("lr")) << "step " << t;
    ++seen;
  }
  EXPECT_EQ(seen, 7u);
}

TEST(Schedules, ConstantIsTheDefault) {
  for (const Schedule& s : {Schedule(), constant_lr()})
    expect_rates(s, 0.3, {0, 1, 1000, 1 << 24}, [](double) { return 0.3; });
}

// StepLR: lr gamma^floor(t / step_size). The drop comes exactly at each multiple, whatever 1 / step_size is
// in f32.
TEST(Schedules, StepDropsAtEveryMultiple) {
  for (const std::int64_t size : {1, 3, 7, 41, 49, 937}) {
    std::vector<std::int64_t> steps;
    for (std::int64_t k = 1; k <= 6; ++k)
      for (const std::int64_t off : {-1, 0, 1}) steps.push_back(k * size + off);
    expect_rates(step_lr(size, 0.5), 0.8, steps,
                 [&](double t) { return 0.8 * std::pow(0.5, std::floor(t / static_cast<double>(size))); });
  }
  expect_rates(step_lr(10), 0.1, {0, 9, 10, 19, 20},
               [](double t) { return 0.1 * std::pow(0.1, std::floor(t / 10)); });
}

// CosineAnnealingLR: eta_min + (lr - eta_min) (1 + cos(pi t / T)) / 2; after T it stays at eta_min.
TEST(Schedules, CosineFallsToItsFloorAndStays) {
  const auto formula = [](double lr, double floor, double t, double t_max) {
    return floor + (lr - floor) * (1.0 + std::cos(std::numbers::pi * std::min(t, t_max) / t_max)) / 2.0;
  };
  const std::vector<std::int64_t> steps{0, 1, 333, 500, 999, 1000, 1001, 100000};
  expect_rates(cosine(1000), 0.1, steps, [&](double t) { return formula(0.1, 0.0, t, 1000.0); });
  expect_rates(cosine(1000, 0.01), 0.1, steps, [&](double t) { return formula(0.1, 0.01, t, 1000.0); });
  Rates rates(cosine(1000), 0.1);
  EXPECT_EQ(rates.at(1000), 0.0);
  EXPECT_EQ(rates.at(5000), 0.0);
}

// OneCycleLR, anneal_strategy "cos", two phases: up during pct_start total - 1 steps from lr / div to lr,
// then down to lr / div / final_div at total - 1.
TEST(Schedules, OneCycleRisesAndFalls) {
  for (const auto& [total, pct] : {std::pair{100, 0.3}, {37, 0.25}, {3, 0.3}, {2, 0.5}}) {
    const double lr = 0.4, low = lr / 25.0, last = low / 1e4;
    const double up = pct * total - 1.0, down = total - 1.0 - up;
    const auto between = [](double from, double to, double x) {
      return to + (from - to) * (1.0 + std::cos(std::numbers::pi * x)) / 2.0;
    };
    std::vector<std::int64_t> steps;
    for (std::int64_t t = 0; t < total; ++t) steps.push_back(t);
    expect_rates(one_cycle(total, pct), lr, steps, [&](double t) {
      return t <= up ? between(low, lr, up == 0.0 ? 0.0 : t / up) : between(lr, last, (t - up) / down);
    });
    Rates rates(one_cycle(total, pct), lr);
    EXPECT_NEAR(rates.at(total - 1), last, 1e-7 * lr);
    EXPECT_NEAR(rates.at(total + 50), last, 1e-7 * lr) << "held after the last step";
  }
  Rates peak(one_cycle(100), 0.4);
  EXPECT_NEAR(peak.at(29), 0.4, 1e-7);
  EXPECT_NEAR(peak.at(0), 0.4 / 25.0, 1e-7);
}

// LinearLR(start_factor, total_iters) followed, as by SequentialLR, by the schedule from its own step 0.
TEST(Schedules, WarmupIsALineThenTheScheduleFromItsStart) {
  const auto after = [](double t) { return 0.2 * (1.0 + std::cos(std::numbers::pi * t / 50.0)) / 2.0; };
  expect_rates(cosine(50).warmup(10, 0.1), 0.2, {0, 1, 5, 9, 10, 11, 35, 60},
               [&](double t) { return t < 10.0 ? 0.2 * (0.1 + 0.9 * t / 10.0) : after(t - 10.0); });
  expect_rates(step_lr(4, 0.5).warmup(3), 0.2, {0, 1, 2, 3, 6, 7, 10, 11}, [](double t) {
    return t < 3.0 ? 0.2 * (1e-3 + (1.0 - 1e-3) * t / 3.0) : 0.2 * std::pow(0.5, std::floor((t - 3.0) / 4.0));
  });
}

TEST(Schedules, ByName) {
  expect_rates(schedule_by_name("constant", 90), 0.1, {0, 89}, [](double) { return 0.1; });
  expect_rates(schedule_by_name("step", 90), 0.1, {29, 30, 59, 60, 89},
               [](double t) { return 0.1 * std::pow(0.1, std::floor(t / 30.0)); });
  expect_rates(schedule_by_name("cosine", 90), 0.1, {0, 45, 90},
               [](double t) { return 0.05 * (1.0 + std::cos(std::numbers::pi * t / 90.0)); });
  Rates cycle(schedule_by_name("one-cycle", 90), 0.1);
  EXPECT_NEAR(cycle.at(26), 0.1, 1e-7);
  EXPECT_TRUE(says(message_of<UsageError>([] { schedule_by_name("linear", 9); }), "linear",
                   "constant, step, cosine, one-cycle"));
}

TEST(Schedules, RefuseBadArguments) {
  EXPECT_TRUE(says(message_of<UsageError>([] { step_lr(0); }), "step_lr", "positive", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { cosine(-3); }), "cosine", "got -3"));
  EXPECT_TRUE(says(message_of<UsageError>([] { one_cycle(0); }), "one_cycle", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { one_cycle(10, 0.0); }), "pct_start", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { one_cycle(10, 1.0); }), "pct_start", "got 1"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { one_cycle(10, 0.3, 0.0); }), "one_cycle", "div_factor", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { one_cycle(10, 0.3, 25.0, -1.0); }), "final_div_factor", "-1"));
  EXPECT_TRUE(says(message_of<UsageError>([] { cosine(5).warmup(0); }), "warmup", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { cosine(5).warmup(3, -0.5); }), "start_factor", "-0.5"));
  EXPECT_TRUE(says(message_of<UsageError>([] { cosine(5).warmup(3, 1.5); }), "start_factor", "1.5"));
}

}  // namespace
}  // namespace ingot
