// Loss scaling: the scale's path through overflows and growth worked out by hand, what a skipped step leaves
// alone, and that a scale changes nothing else: neither updates nor clipping.
#include "optim/loss_scale.h"

#include <cmath>

#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "optim/optimizer.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// loss = c w, through f16: the gradient of w is f16(scale c), infinite from 65520 on, 0 below 3e-8.
class ThroughF16 {
 public:
  explicit ThroughF16(const LossScale& scale, const OptimizerPtr& optimizer = sgd({.lr = 0.25}))
      : session_(compile(graph(scale, *optimizer), {.target = Target::cpu(1)})) {}

  void step(double c) {
    session_.input("c").set(0, c);
    session_.run();
  }
  double out(const char* name) const { return session_.output(name).item(); }
  double state(const std::string& name) const { return session_.state(name).item(); }
  Session& session() { return session_; }

 private:
  static Graph graph(const LossScale& scale, const Optimizer& optimizer) {
    Graph g;
    g.build.training = true;
    const Value w = parameter(g, "w", {DType::F32, {}}, Init::constant(8.0));
    const Value c = input(g, "c", {DType::F32, {}});
    const Value loss = cast(cast(w, DType::F16), DType::F32) * c;
    output("loss", loss);
    optimizer.minimize(loss, scale);
    return g;
  }
  Session session_;
};

TEST(LossScale, FollowsTheTraceByHand) {
  ThroughF16 t(dynamic_loss_scale({.init_scale = 65536.0, .growth_interval = 2}));
  const double nan = std::nan("");
  // Each step: the slope and the scale it has, then what it leaves.
  const struct {
    double c, had, w, next, tracker, skipped, steps;
  } trace[] = {
      {1.0, 65536, 8.0, 32768, 0, 1, 0},  // 65536 is beyond f16: skipped, half the scale
      {1.0, 32768, 7.75, 32768, 1, 1, 1},
      {-0.5, 32768, 7.875, 65536, 0, 1, 2},  // the second good one in a row: twice the scale
      {1.0, 65536, 7.875, 32768, 0, 2, 2},   // and again too much
      {0.5, 32768, 7.75, 32768, 1, 2, 3},
      {nan, 32768, 7.75, 16384, 0, 3, 3},  // a skipped step begins the count anew
      {2.0, 16384, 7.25, 16384, 1, 3, 4},
      {2.0, 16384, 6.75, 32768, 0, 3, 5},
      {-INFINITY, 32768, 6.75, 16384, 0, 4, 5},
  };
  for (const auto& s : trace) {
    SCOPED_TRACE(cat("step with c = ", s.c, " and scale ", s.had));
    EXPECT_EQ(t.state("optim/loss_scale"), s.had);
    t.step(s.c);
    EXPECT_EQ(t.state("w"), s.w);
    EXPECT_EQ(t.out("loss_scale"), s.next);
    EXPECT_EQ(t.state("optim/loss_scale"), s.next);
    EXPECT_EQ(t.state("optim/growth_tracker"), s.tracker);
    EXPECT_EQ(t.state("optim/skipped_steps"), s.skipped);
    EXPECT_EQ(t.out("skipped_steps"), s.skipped);
    EXPECT_EQ(t.state("optim/step"), s.steps);
  }
}

TEST(LossScale, TheLossIsNotScaled) {
  ThroughF16 t(fixed_loss_scale(1024.0));
  t.step(0.5);
  EXPECT_EQ(t.out("loss"), 4.0);
}

// 1e-8 is 0 in f16, 1e-8 x 65536 is not.
TEST(LossScale, KeepsGradientsThatF16WouldLose) {
  const auto after = [](const LossScale& scale) {
    ThroughF16 t(scale, sgd({.lr = 1e7}));
    t.step(1e-8);
    return t.state("w");
  };
  EXPECT_EQ(after({}), 8.0);
  EXPECT_NEAR(after(dynamic_loss_scale()), 8.0 - 0.1, 1e-3 * 0.1);
}

TEST(LossScale, AFixedScaleStaysAndSkips) {
  ThroughF16 t(fixed_loss_scale(1024.0));
  t.step(64.0);  // 65536
  t.step(1.0);
  EXPECT_EQ(t.state("w"), 7.75);
  EXPECT_EQ(t.state("optim/loss_scale"), 1024.0);
  EXPECT_EQ(t.state("optim/skipped_steps"), 1.0);
  EXPECT_EQ(t.state("optim/step"), 1.0);
  EXPECT_EQ(t.session().program().graph().find_state("optim/growth_tracker"), nullptr);
}

TEST(LossScale, GrowsToTheLargestThatF32Holds) {
  ThroughF16 t(dynamic_loss_scale({.init_scale = 0x1p126, .growth_interval = 1}));
  for (int i = 0; i < 3; ++i) t.step(0.0);
  EXPECT_EQ(t.state("optim/loss_scale"), 0x1p127);
  EXPECT_EQ(t.state("optim/skipped_steps"), 0.0);
}

// The rate is that of the steps taken.
TEST(LossScale, ASkippedStepDoesNotMoveTheSchedule) {
  ThroughF16 t(dynamic_loss_scale(), sgd({.lr = 0.5, .schedule = step_lr(1, 0.5)}));
  t.step(1.0);
  t.step(1.0);
  EXPECT_EQ(t.out("lr"), 0.5);
  t.step(1.0);
  EXPECT_EQ(t.out("lr"), 0.25);
}

struct Net : Module {
  Conv2d conv{"conv", 1, 3, 3, {.padding = 1}};
  BatchNorm2d bn{"bn", 3};
  Linear fc{"fc", 48, 4};

 protected:
  Value forward(Value x) override { return fc(flatten(relu(bn(conv(x))))); }
};

// mean(net(x)^2 c), in f32.
Session net_session(const Optimizer& optimizer, const LossScale& scale) {
  Net net;
  Graph g;
  g.build.training = true;
  const Value c = input(g, "c", {DType::F32, {}});
  const Value loss = mean(square(net(input(g, "x", {DType::F32, {5, 1, 4, 4}}))) * c);
  output("loss", loss);
  optimizer.minimize(loss, scale);
  Session s(compile(g, {.target = Target::cpu(2)}), {.seed = 3});
  s.input("x").copy_from(formula::unit("x", {5, 1, 4, 4}));
  s.input("c").set(0, 1.0);
  return s;
}

std::vector<OptimizerPtr> all_optimizers(double clip_norm) {
  return {sgd({.lr = 0.1, .clip_norm = clip_norm}),
          sgd({.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true, .clip_norm = clip_norm}),
          adam({.lr = 0.01, .weight_decay = 0.01, .clip_norm = clip_norm}),
          adamw({.lr = 0.01, .weight_decay = 0.01, .clip_norm = clip_norm}),
          rmsprop({.lr = 0.01, .momentum = 0.5, .clip_norm = clip_norm})};
}

bool is_scaling_state(const std::string& name) {
  return name == "optim/loss_scale" || name == "optim/skipped_steps" || name == "optim/growth_tracker";
}

// Powers of two move exponents alone, and nothing here comes near the ends of f32.
TEST(LossScale, PowersOfTwoChangeNoBit) {
  for (const double clip : {0.0, 0.05})
    for (const OptimizerPtr& optimizer : all_optimizers(clip)) {
      for (const LossScale& scale :
           {dynamic_loss_scale({.init_scale = 65536.0, .growth_interval = 2}), fixed_loss_scale(0x1p-20)}) {
        Session scaled = net_session(*optimizer, scale);
        Session alone = net_session(*optimizer, {});
        for (int i = 0; i < 5; ++i) scaled.run(), alone.run();
        for (const auto& [name, tensor] : alone.states())
          EXPECT_TRUE(bitwise_equal(scaled.state(name), tensor)) << name << ", clip " << clip;
        EXPECT_EQ(scaled.output("loss").item(), alone.output("loss").item());
        if (clip > 0.0) {
          EXPECT_EQ(scaled.output("grad_norm").item(), alone.output("grad_norm").item());
          EXPECT_GT(alone.output("grad_norm").item(), clip) << "it clips";
        }
        for (const State& s : scaled.program().graph().states())
          EXPECT_TRUE(is_scaling_state(s.name) || alone.program().graph().find_state(s.name) != nullptr)
              << s.name;
      }
    }
}

// A skipped step leaves every state as it was, whatever the optimiser; the scale's own move on.
TEST(LossScale, ASkippedStepLeavesEveryStateAlone) {
  for (const double clip : {0.0, 0.05})
    for (const OptimizerPtr& optimizer : all_optimizers(clip)) {
      Session s = net_session(*optimizer, dynamic_loss_scale());
      s.run();
      const auto before = s.states();
      s.input("c").set(0, 1e36);  // the gradients' largest are infinite when scaled
      s.run();
      EXPECT_EQ(s.output("skipped_steps").item(), 1.0);
      for (const auto& [name, tensor] : before) {
        if (!is_scaling_state(name)) {
          EXPECT_TRUE(bitwise_equal(s.state(name), tensor)) << name << ", clip " << clip;
        }
      }
      EXPECT_EQ(s.state("optim/loss_scale").item(), 32768.0);
      s.input("c").set(0, 1.0);
      s.run();
      for (const char* name : {"conv.weight", "fc.bias", "bn.running_mean", "bn.running_var",
                               "bn.num_batches_tracked", "optim/step"})
        EXPECT_FALSE(bitwise_equal(s.state(name), before.at(name))) << name << " goes on";
      EXPECT_EQ(s.state("bn.num_batches_tracked").item(), 2.0);
    }
}

// What bf16 and f32 leave behind: no trace of scaling, and f16 has it by default.
TEST(LossScale, Defaults) {
  EXPECT_FALSE(LossScale().enabled());
  EXPECT_FALSE(default_loss_scale(DType::F32).enabled());
  EXPECT_FALSE(default_loss_scale(DType::BF16).enabled());
  EXPECT_TRUE(default_loss_scale(DType::F16).is_dynamic());
  ThroughF16 none(LossScale{});
  for (const State& s : none.session().program().graph().states()) EXPECT_FALSE(is_scaling_state(s.name));
  EXPECT_FALSE(none.session().has_output("loss_scale"));
  EXPECT_EQ(ThroughF16(dynamic_loss_scale()).state("optim/loss_scale"), 65536.0);
}

TEST(LossScale, ByName) {
  EXPECT_TRUE(loss_scale_by_name("dynamic").is_dynamic());
  EXPECT_FALSE(loss_scale_by_name("none").enabled());
  EXPECT_EQ(ThroughF16(loss_scale_by_name("1.5e3")).state("optim/loss_scale"), 1500.0);
  for (const char* bad : {"", "dynamics", "12x"})
    EXPECT_TRUE(says(message_of<UsageError>([&] { loss_scale_by_name(bad); }), cat("'", bad, "'"), "dynamic",
                     "none", "1024"));
}

TEST(LossScale, RefusesBadArguments) {
  const auto refused = [](auto&& make, auto... parts) {
    return says(message_of<UsageError>([&] { make(); }), "loss scale", std::string_view(parts)...);
  };
  for (const double bad : {0.0, -1.0, 1e39, 1e-39, std::nan("")}) {
    EXPECT_TRUE(refused([&] { fixed_loss_scale(bad); }, "greater than 0", cat(bad))) << bad;
    EXPECT_TRUE(refused([&] { dynamic_loss_scale({.init_scale = bad}); }, "init_scale", cat(bad))) << bad;
  }
  for (const double bad : {1.0, 0.5, std::nan("")})
    EXPECT_TRUE(refused([&] { dynamic_loss_scale({.growth_factor = bad}); }, "growth_factor", cat(bad)));
  for (const double bad : {0.0, 1.0, std::nan("")})
    EXPECT_TRUE(refused([&] { dynamic_loss_scale({.backoff_factor = bad}); }, "backoff_factor", cat(bad)));
  EXPECT_TRUE(refused([] { dynamic_loss_scale({.growth_interval = 0}); }, "growth_interval", "0"));
}

}  // namespace
}  // namespace ingot
