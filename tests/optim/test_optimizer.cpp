// Optimisers as graph builders: what they update, with which rate and decay, clipping, their states and
// outputs, and what they refuse. The update formulas themselves are held against PyTorch in tests/autodiff,
// whole trainings in tests/train.
#include "optim/optimizer.h"

#include <cmath>

#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// loss = sum of c_k . w_k over three parameters, so that the gradient of w_k is c_k.
constexpr float kStart[3][2] = {{1.0f, -2.0f}, {0.5f, 4.0f}, {-1.0f, 3.0f}};
constexpr float kSlope[3][2] = {
    {3.0f, 4.0f}, {12.0f, 0.0f}, {0.0f, 84.0f}};  // norm sqrt(25 + 144 + 7056) = 85
constexpr const char* kNames[3] = {"layer1.weight", "layer1.bias", "layer2.weight"};

Graph linear_loss(const Optimizer& optimizer) {
  Graph g;
  g.build.training = true;
  Value loss;
  for (int k = 0; k < 3; ++k) {
    const TensorType type{DType::F32, {2}};
    const Value w = parameter(g, kNames[k], type, Init::from(Tensor::of({kStart[k][0], kStart[k][1]})));
    const Value c = input(g, cat("c", k), type);
    const Value part = sum(w * c);
    loss = k == 0 ? part : loss + part;
  }
  output("loss", loss);
  optimizer.minimize(loss);
  return g;
}

class Descent {
 public:
  explicit Descent(const OptimizerPtr& optimizer)
      : session_(compile(linear_loss(*optimizer), {.target = Target::cpu(1)})) {
    for (int k = 0; k < 3; ++k)
      session_.input(cat("c", k)).copy_from(Tensor::of({kSlope[k][0], kSlope[k][1]}));
  }
  Session& session() { return session_; }
  Descent& steps(int n) {
    for (int i = 0; i < n; ++i) session_.run();
    return *this;
  }
  double weight(int k, int i) const { return session_.state(kNames[k]).get(i); }
  double out(const char* name) const { return session_.output(name).item(); }

 private:
  Session session_;
};

// Plain gradient descent on parameter k with decay: one number after n steps.
double descended(int k, int i, int steps, double lr, double decay, double scale = 1.0) {
  double w = static_cast<double>(kStart[k][i]);
  for (int s = 0; s < steps; ++s) w -= lr * (static_cast<double>(kSlope[k][i]) * scale + decay * w);
  return w;
}

void expect_descended(const Descent& d, int k, int steps, double lr, double decay, double scale = 1.0) {
  for (const int i : {0, 1})
    EXPECT_NEAR(d.weight(k, i), descended(k, i, steps, lr, decay, scale), 1e-5) << kNames[k] << " " << i;
}

TEST(Optimizer, UpdatesEveryTrainableParameter) {
  Descent d(sgd({.lr = 0.01, .weight_decay = 0.1}));
  d.steps(3);
  for (int k = 0; k < 3; ++k) expect_descended(d, k, 3, 0.01, 0.1);
  EXPECT_EQ(d.session().state("optim/step").item(), 3.0);
}

TEST(Optimizer, ReportsTheRateOfTheStepJustDone) {
  Descent d(sgd({.lr = 0.5, .schedule = step_lr(2, 0.1)}));
  const double rates[] = {0.5, 0.5, 0.05, 0.05, 0.005};
  double w = 1.0;
  for (const double lr : rates) {
    d.steps(1);
    EXPECT_NEAR(d.out("lr"), lr, 1e-7);
    w -= lr * 3.0;
    EXPECT_NEAR(d.weight(0, 0), w, 1e-5) << "the step must use the rate it reports";
  }
  for (const OptimizerPtr& o : {adam({.lr = 0.25}), adamw({.lr = 0.25}), rmsprop({.lr = 0.25})})
    EXPECT_EQ(Descent(o).steps(1).out("lr"), 0.25);
}

// torch.nn.utils.clip_grad_norm_: all gradients times min(1, max_norm / (norm + 1e-6)), the norm over all of
// them.
TEST(Optimizer, ClipsByTheGlobalNorm) {
  Descent above(sgd({.lr = 0.01, .clip_norm = 17.0}));
  above.steps(1);
  EXPECT_NEAR(above.out("grad_norm"), 85.0, 1e-4);
  for (int k = 0; k < 3; ++k) expect_descended(above, k, 1, 0.01, 0.0, 17.0 / 85.0);

  Descent below(sgd({.lr = 0.01, .clip_norm = 100.0}));
  below.steps(1);
  EXPECT_NEAR(below.out("grad_norm"), 85.0, 1e-4) << "the norm before clipping";
  for (int k = 0; k < 3; ++k) expect_descended(below, k, 1, 0.01, 0.0);

  Descent none(sgd({.lr = 0.01}));
  none.steps(1);
  EXPECT_FALSE(none.session().has_output("grad_norm"));
  for (int k = 0; k < 3; ++k) expect_descended(none, k, 1, 0.01, 0.0);
}

// Decay is added after clipping: it counts neither in the norm nor is it scaled.
TEST(Optimizer, ClippingLeavesWeightDecayAlone) {
  Descent d(sgd({.lr = 0.01, .weight_decay = 0.5, .clip_norm = 17.0}));
  d.steps(1);
  EXPECT_NEAR(d.out("grad_norm"), 85.0, 1e-4);
  for (int k = 0; k < 3; ++k) expect_descended(d, k, 1, 0.01, 0.5, 17.0 / 85.0);
}

TEST(Optimizer, ANormOfZeroIsNoDivision) {
  Descent d(sgd({.lr = 0.01, .clip_norm = 1.0}));
  for (int k = 0; k < 3; ++k) d.session().input(cat("c", k)).copy_from(Tensor::of({0.0f, 0.0f}));
  d.steps(1);
  EXPECT_EQ(d.out("grad_norm"), 0.0);
  for (int k = 0; k < 3; ++k) EXPECT_EQ(d.weight(k, 1), static_cast<double>(kStart[k][1]));
}

TEST(Groups, HaveTheirOwnRateAndDecay) {
  Descent d(sgd(
      {.lr = 0.01,
       .weight_decay = 0.1,
       .groups = {{.pattern = "*.bias", .weight_decay = 0.0}, {.pattern = "layer2.*", .lr_scale = 0.5}}}));
  d.steps(2);
  expect_descended(d, 0, 2, 0.01, 0.1);
  expect_descended(d, 1, 2, 0.01, 0.0);
  expect_descended(d, 2, 2, 0.005, 0.1);
  EXPECT_NEAR(d.out("lr"), 0.01, 1e-8) << "the base rate is reported";
}

TEST(Groups, TheFirstMatchWins) {
  Descent d(sgd(
      {.lr = 0.01, .groups = {{.pattern = "layer1.*", .lr_scale = 2.0}, {.pattern = "*", .lr_scale = 3.0}}}));
  d.steps(1);
  expect_descended(d, 0, 1, 0.02, 0.0);
  expect_descended(d, 1, 1, 0.02, 0.0);
  expect_descended(d, 2, 1, 0.03, 0.0);
}

TEST(Groups, FollowTheSchedule) {
  Descent d(
      sgd({.lr = 0.01, .schedule = step_lr(1, 0.1), .groups = {{.pattern = "layer2.*", .lr_scale = 2.0}}}));
  d.steps(2);
  EXPECT_NEAR(d.weight(2, 1), 3.0 - 84.0 * (0.02 + 0.002), 1e-5);
}

TEST(Groups, AScaleOfZeroFreezes) {
  Descent d(sgd({.lr = 0.01,
                 .momentum = 0.9,
                 .weight_decay = 0.1,
                 .clip_norm = 1000.0,
                 .groups = {{.pattern = "layer1.*", .lr_scale = 0.0}}}));
  d.steps(2);
  for (int k = 0; k < 2; ++k)
    for (int i = 0; i < 2; ++i) EXPECT_EQ(d.weight(k, i), static_cast<double>(kStart[k][i]));
  EXPECT_NE(d.weight(2, 1), 3.0);
  EXPECT_EQ(d.session().program().graph().find_state("optim/layer1.weight/momentum"), nullptr);
  EXPECT_NEAR(d.out("grad_norm"), 84.0, 1e-4) << "of the gradients that are used";
  const auto frozen = sgd({.lr = 0.01, .groups = {{.pattern = "*", .lr_scale = 0.0}}});
  EXPECT_TRUE(says(message_of<UsageError>([&] { linear_loss(*frozen); }), "no trainable parameter"));
}

TEST(Groups, PatternsAreGlobs) {
  // Which of the three parameters the pattern reaches; "none" where it is refused for reaching none.
  const auto matches = [](const char* pattern) -> std::string {
    std::string out;
    try {
      Descent d(sgd({.lr = 0.01, .groups = {{.pattern = pattern, .lr_scale = 0.0}}}));
      d.steps(1);
      for (int k = 0; k < 3; ++k)
        out += d.weight(k, 0) == static_cast<double>(kStart[k][0]) &&
                       d.weight(k, 1) == static_cast<double>(kStart[k][1])
                   ? '1'
                   : '0';
    } catch (const UsageError&) {
      return "none";
    }
    return out;
  };
  EXPECT_EQ(matches("layer1.weight"), "100");
  EXPECT_EQ(matches("*.weight"), "101");
  EXPECT_EQ(matches("layer*ght"), "101");
  EXPECT_EQ(matches("*1*"), "110");
  EXPECT_EQ(matches("**bias"), "010");
  EXPECT_EQ(matches("layer1"), "none") << "the whole name must match";
  EXPECT_EQ(matches("ayer1.*"), "none");
  EXPECT_EQ(matches("layer1?weight"), "none") << "only * is special";
  EXPECT_EQ(matches(""), "none");
}

TEST(OptimizerStates, BearTheNamesOfTheirParameters) {
  const auto states = [](const OptimizerPtr& o) {
    std::string out;
    const Graph g = linear_loss(*o);
    for (const State& s : g.states())
      if (s.role == StateRole::Optimizer && s.name.starts_with("optim/layer1.bias/"))
        out += s.name.substr(18) + " ";
    return out;
  };
  EXPECT_EQ(states(sgd({.lr = 0.1})), "");
  EXPECT_EQ(states(sgd({.lr = 0.1, .momentum = 0.9})), "momentum ");
  EXPECT_EQ(states(adam({})), "exp_avg exp_avg_sq ");
  EXPECT_EQ(states(adamw({})), "exp_avg exp_avg_sq ");
  EXPECT_EQ(states(rmsprop({})), "square_avg ");
  EXPECT_EQ(states(rmsprop({.momentum = 0.5})), "square_avg momentum_buffer ");
}

TEST(OptimizerStates, BuffersAreNotTrained) {
  BatchNorm2d bn("bn", 3);
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", {DType::F32, {4, 3}});
  sgd({.lr = 0.1, .momentum = 0.9})->minimize(sum(square(bn(x))));
  std::string optimised;
  for (const State& s : g.states())
    if (s.role == StateRole::Optimizer) optimised += s.name + " ";
  EXPECT_EQ(optimised, "optim/bn.weight/momentum optim/bn.bias/momentum ");
}

// The first step of each, in closed form: |step| = lr for Adam, lr / sqrt(1 - alpha) for RMSprop.
TEST(Optimizer, FirstSteps) {
  EXPECT_NEAR(Descent(adam({.lr = 0.1})).steps(1).weight(0, 0), 1.0 - 0.1, 1e-5);
  EXPECT_NEAR(Descent(adamw({.lr = 0.1, .weight_decay = 0.5})).steps(1).weight(0, 0), 1.0 - 0.05 - 0.1, 1e-5);
  EXPECT_NEAR(Descent(rmsprop({.lr = 0.1, .alpha = 0.75})).steps(1).weight(0, 0), 1.0 - 0.1 / 0.5, 1e-5);
  EXPECT_NEAR(Descent(sgd({.lr = 0.1, .momentum = 0.9})).steps(2).weight(0, 0), 1.0 - 0.3 - 0.3 * 1.9, 1e-5);
  EXPECT_NEAR(Descent(sgd({.lr = 0.1, .momentum = 0.9, .nesterov = true})).steps(1).weight(0, 0),
              1.0 - 0.3 * 1.9, 1e-5);
}

TEST(Optimizer, RefusesBadHyperParameters) {
  const double nan = std::nan("");
  const auto refused = [](auto&& make, auto... parts) {
    return says(message_of<UsageError>([&] { make(); }), std::string_view(parts)...);
  };
  EXPECT_TRUE(refused([] { sgd({.lr = -0.1}); }, "sgd", "lr", "-0.1"));
  EXPECT_TRUE(refused([&] { sgd({.lr = nan}); }, "sgd", "lr", "nan"));
  EXPECT_TRUE(refused([] { sgd({.momentum = -1.0}); }, "sgd", "momentum", "-1"));
  EXPECT_TRUE(refused([] { sgd({.weight_decay = -1.0}); }, "sgd", "weight_decay", "-1"));
  EXPECT_TRUE(refused([] { sgd({.clip_norm = -1.0}); }, "sgd", "clip_norm", "-1"));
  EXPECT_TRUE(refused([] { sgd({.nesterov = true}); }, "sgd", "nesterov", "momentum"));
  EXPECT_TRUE(
      refused([] { sgd({.momentum = 0.9, .dampening = 0.1, .nesterov = true}); }, "nesterov", "dampening"));
  EXPECT_TRUE(refused([] { adam({.lr = -0.1}); }, "adam", "lr", "-0.1"));
  EXPECT_TRUE(refused([] { adam({.beta1 = 1.0}); }, "adam", "beta1", "[0, 1)", "got 1"));
  EXPECT_TRUE(refused([] { adamw({.beta2 = -0.5}); }, "adamw", "beta2", "[0, 1)", "-0.5"));
  EXPECT_TRUE(refused([] { adam({.eps = -1e-8}); }, "adam", "eps", "-1e-08"));
  EXPECT_TRUE(refused([] { adamw({.weight_decay = -0.5}); }, "adamw", "weight_decay", "-0.5"));
  EXPECT_TRUE(refused([] { rmsprop({.lr = -0.1}); }, "rmsprop", "lr", "-0.1"));
  EXPECT_TRUE(refused([] { rmsprop({.alpha = 1.0}); }, "rmsprop", "alpha", "[0, 1)", "got 1"));
  EXPECT_TRUE(refused([] { rmsprop({.alpha = -0.1}); }, "rmsprop", "alpha", "[0, 1)", "-0.1"));
  EXPECT_TRUE(refused([] { rmsprop({.eps = -1.0}); }, "rmsprop", "eps", "-1"));
  EXPECT_TRUE(refused([] { rmsprop({.momentum = -0.9}); }, "rmsprop", "momentum", "-0.9"));
  EXPECT_TRUE(refused([] { sgd({.groups = {{.pattern = "*.bias", .lr_scale = -1.0}}}); }, "*.bias",
                      "lr_scale", "-1"));
  EXPECT_TRUE(refused([] { adam({.groups = {{.pattern = "fc.*", .weight_decay = -2.0}}}); }, "fc.*",
                      "weight_decay", "-2"));
}

TEST(Optimizer, NeedsAScalarLossAndAParameter) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2}});
  EXPECT_TRUE(says(message_of<UsageError>([&] { sgd({})->minimize(sum(x)); }), "no trainable parameter"));
  const Value w = parameter(g, "w", {DType::F32, {2}}, Init::constant(1.0));
  EXPECT_THROW(sgd({})->minimize(w * x), Error);
}

TEST(Optimizer, ByName) {
  const auto states = [](const std::string& name) {
    const Graph g = linear_loss(*optimizer_by_name(name, {.lr = 0.5}));
    std::size_t n = 0;
    for (const State& s : g.states()) n += s.role == StateRole::Optimizer ? 1 : 0;
    return n;
  };
  EXPECT_EQ(states("sgd"), 3u) << "momentum 0.9";
  EXPECT_EQ(states("adam"), 6u);
  EXPECT_EQ(states("adamw"), 6u);
  EXPECT_EQ(states("rmsprop"), 3u);
  OptimizerOptions all{.lr = 0.01, .weight_decay = 0.1, .clip_norm = 17.0};
  all.schedule = step_lr(1, 0.5);
  all.groups = {{.pattern = "layer2.*", .lr_scale = 0.0}};
  for (const char* name : {"sgd", "adam", "adamw", "rmsprop"}) {
    Descent d(optimizer_by_name(name, all));
    d.steps(2);
    EXPECT_NEAR(d.out("lr"), 0.005, 1e-8) << name;
    EXPECT_NEAR(d.out("grad_norm"), 13.0, 1e-5) << name;
    EXPECT_EQ(d.weight(2, 1), 3.0) << name;
  }
  Descent decayed(optimizer_by_name("sgd", {.lr = 0.01, .weight_decay = 0.1}));
  decayed.steps(1);
  expect_descended(decayed, 0, 1, 0.01, 0.1);
  EXPECT_TRUE(says(message_of<UsageError>([] { optimizer_by_name("lyon", {}); }), "lyon",
                   "sgd, adam, adamw, rmsprop, adagrad, lion, lamb, lars"));
}

}  // namespace
}  // namespace ingot
