// Adagrad, Lion, LAMB and LARS, and clipping by value: several steps of a compiled program against plain
// loops in double.
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/runtime/interpreter.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using Numbers = std::vector<double>;

double norm(const Numbers& v) {
  double sum = 0.0;
  for (const double e : v) sum += e * e;
  return std::sqrt(sum);
}

// One parameter of a test: its first content, and its gradient in step s.
struct Parameter {
  std::string name;
  Shape shape;
  Numbers start;
  Numbers gradient(int s) const {
    Numbers g;
    for (std::size_t i = 0; i < start.size(); ++i)
      g.push_back(std::cos(1.0 + 3.0 * static_cast<double>(s) + static_cast<double>(i)) *
                  (s % 2 == 0 ? 1.0 : 0.1));
    return g;
  }
};
const std::vector<Parameter> kParameters{
    {"w", {2, 2}, {1.0, -2.0, 0.5, 3.0}}, {"b", {3}, {0.25, -0.5, 2.0}}, {"zero", {1, 2}, {0.0, 0.0}}};

Tensor tensor(const Numbers& v, const Shape& shape) {
  Tensor t(TensorType{DType::F32, shape});
  for (std::size_t i = 0; i < v.size(); ++i) t.set(static_cast<std::int64_t>(i), v[i]);
  return t;
}

Session session_of(const Optimizer& optimizer, const LossScale& scaling = {}) {
  Graph g;
  g.build.training = true;
  Value loss;
  for (const Parameter& p : kParameters) {
    const Value w = parameter(g, p.name, {DType::F32, p.shape}, Init::from(tensor(p.start, p.shape)));
    const Value part = sum(w * input(g, "g_" + p.name, w.type()));
    loss = loss.defined() ? loss + part : part;
  }
  optimizer.minimize(loss, scaling);
  return Session(compile(g, {.target = Target::cpu(2)}));
}

void step(Session& s, int number, double scale = 1.0) {
  for (const Parameter& p : kParameters) {
    Numbers g = p.gradient(number);
    for (double& e : g) e *= scale;
    s.input("g_" + p.name).copy_from(tensor(g, p.shape));
  }
  s.run();
}

// Step number s (from 1) on one parameter and its states; all zero at first.
using Rule =
    std::function<void(const Parameter&, int s, const Numbers& g, Numbers& p, Numbers& a, Numbers& b)>;

void expect_follows(const OptimizerPtr& optimizer, const Rule& rule, double first_state = 0.0) {
  Session s = session_of(*optimizer);
  std::vector<std::array<Numbers, 3>> kept;
  for (const Parameter& p : kParameters)
    kept.push_back({p.start, Numbers(p.start.size(), first_state), Numbers(p.start.size(), 0.0)});
  for (int number = 1; number <= 5; ++number) {
    step(s, number);
    for (std::size_t k = 0; k < kParameters.size(); ++k) {
      const Parameter& p = kParameters[k];
      rule(p, number, p.gradient(number), kept[k][0], kept[k][1], kept[k][2]);
      const Tensor got = s.state(p.name);
      for (std::size_t i = 0; i < p.start.size(); ++i)
        ASSERT_NEAR(got.get(static_cast<std::int64_t>(i)), kept[k][0][i],
                    2e-6 * (1.0 + std::abs(kept[k][0][i])))
            << p.name << " " << i << " after step " << number;
    }
  }
}

TEST(ComposedOptimizers, Adagrad) {
  const auto rule = [](double lr_decay, double decay) -> Rule {
    return [=](const Parameter&, int s, const Numbers& gradient, Numbers& p, Numbers& sum, Numbers&) {
      for (std::size_t i = 0; i < p.size(); ++i) {
        const double g = gradient[i] + decay * p[i];
        sum[i] += g * g;
        p[i] -= 0.1 / (1.0 + (s - 1) * lr_decay) * g / (std::sqrt(sum[i]) + 1e-10);
      }
    };
  };
  expect_follows(adagrad({.lr = 0.1}), rule(0.0, 0.0));
  expect_follows(
      adagrad({.lr = 0.1, .lr_decay = 0.5, .weight_decay = 0.1, .initial_accumulator_value = 0.25}),
      rule(0.5, 0.1), 0.25);
}

TEST(ComposedOptimizers, Lion) {
  for (const double decay : {0.0, 0.3})
    expect_follows(lion({.lr = 0.05, .beta1 = 0.8, .beta2 = 0.9, .weight_decay = decay}),
                   [=](const Parameter&, int, const Numbers& g, Numbers& p, Numbers& m, Numbers&) {
                     for (std::size_t i = 0; i < p.size(); ++i) {
                       const double c = 0.8 * m[i] + 0.2 * g[i];
                       p[i] = p[i] * (1.0 - 0.05 * decay) - 0.05 * (c > 0.0 ? 1.0 : c < 0.0 ? -1.0 : 0.0);
                       m[i] = 0.9 * m[i] + 0.1 * g[i];
                     }
                   });
}

TEST(ComposedOptimizers, Lamb) {
  for (const double decay : {0.0, 0.3})
    expect_follows(lamb({.lr = 0.05, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = decay}),
                   [=](const Parameter&, int s, const Numbers& g, Numbers& p, Numbers& m, Numbers& v) {
                     Numbers r(p.size());
                     for (std::size_t i = 0; i < p.size(); ++i) {
                       m[i] = 0.8 * m[i] + 0.2 * g[i];
                       v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
                       r[i] = m[i] / (1 - std::pow(0.8, s)) /
                                  (std::sqrt(v[i] / (1 - std::pow(0.95, s))) + 1e-6) +
                              decay * p[i];
                     }
                     const double trust = norm(p) > 0.0 && norm(r) > 0.0 ? norm(p) / norm(r) : 1.0;
                     for (std::size_t i = 0; i < p.size(); ++i) p[i] -= 0.05 * trust * r[i];
                   });
}

// Vectors are not scaled, nor is what is all zero.
TEST(ComposedOptimizers, Lars) {
  for (const double decay : {0.0, 0.3})
    expect_follows(lars({.lr = 0.5, .momentum = 0.8, .weight_decay = decay, .trust_coefficient = 0.02}),
                   [=](const Parameter& of, int, const Numbers& g, Numbers& p, Numbers& m, Numbers&) {
                     double trust = 1.0;
                     if (of.shape.rank() > 1 && norm(p) > 0.0 && norm(g) > 0.0)
                       trust = 0.02 * norm(p) / (norm(g) + decay * norm(p) + 1e-8);
                     for (std::size_t i = 0; i < p.size(); ++i) {
                       m[i] = 0.8 * m[i] + trust * (g[i] + decay * p[i]);
                       p[i] -= 0.5 * m[i];
                     }
                   });
}

// torch.nn.utils.clip_grad_value_, and clip_grad_norm_ behind it.
TEST(Optimizer, ClipsByValue) {
  const auto clipped = [](double g) { return std::min(std::max(g, -0.3), 0.3); };
  expect_follows(sgd({.lr = 0.1, .clip_value = 0.3}),
                 [&](const Parameter&, int, const Numbers& g, Numbers& p, Numbers&, Numbers&) {
                   for (std::size_t i = 0; i < p.size(); ++i) p[i] -= 0.1 * clipped(g[i]);
                 });
  expect_follows(sgd({.lr = 0.1, .clip_norm = 0.2, .clip_value = 0.3}),
                 [&](const Parameter&, int s, const Numbers& g, Numbers& p, Numbers&, Numbers&) {
                   Numbers all;
                   for (const Parameter& of : kParameters)
                     for (const double e : of.gradient(s)) all.push_back(clipped(e));
                   const double scale = std::min(1.0, 0.2 / (norm(all) + 1e-6));
                   for (std::size_t i = 0; i < p.size(); ++i) p[i] -= 0.1 * scale * clipped(g[i]);
                 });
  EXPECT_TRUE(says(message_of<UsageError>([] { sgd({.clip_value = -1.0}); }), "sgd", "clip_value", "-1"));
}

// A loss scale changes no step, and a step whose gradients overflow none of the states, whatever clips them.
TEST(ComposedOptimizers, UnderALossScale) {
  const std::vector<OptimizerPtr> all{adagrad({.lr = 0.1, .clip_value = 0.5}), lion({.lr = 0.1}),
                                      lamb({.lr = 0.1, .clip_norm = 0.2}),
                                      lars({.lr = 0.1, .clip_norm = 0.2, .clip_value = 0.3})};
  for (const OptimizerPtr& o : all) {
    Session plain = session_of(*o), scaled = session_of(*o, fixed_loss_scale(1024.0));
    for (int number = 1; number <= 4; ++number) {
      if (number == 3) {
        NamedTensors before;
        for (const State& s : scaled.program().graph().states())
          if (s.role != StateRole::Counter) before[s.name] = scaled.state(s.name).clone();
        step(scaled, number, std::numeric_limits<double>::infinity());
        for (const auto& [name, t] : before) EXPECT_TRUE(bitwise_equal(scaled.state(name), t)) << name;
      }
      step(plain, number);
      step(scaled, number);
    }
    for (const Parameter& p : kParameters) {
      const Tensor a = plain.state(p.name), b = scaled.state(p.name);
      for (std::int64_t i = 0; i < a.numel(); ++i)
        EXPECT_NEAR(a.get(i), b.get(i), 1e-6) << p.name << " " << i;
    }
  }
}

// The first step's parameters, then a moving average; a step that is skipped moves nothing.
TEST(Optimizer, KeepsAMovingAverage) {
  for (const OptimizerPtr& o : {sgd({.lr = 0.1, .ema_decay = 0.75}), lion({.lr = 0.1, .ema_decay = 0.75})}) {
    Session s = session_of(*o, fixed_loss_scale(64.0));
    Numbers ema;
    for (int number = 1; number <= 4; ++number) {
      step(s, number, std::numeric_limits<double>::infinity());
      step(s, number);
      const Tensor p = s.state("w"), got = s.state("optim/w/ema");
      ema.resize(4);
      for (std::size_t i = 0; i < 4; ++i) {
        const double now = p.get(static_cast<std::int64_t>(i));
        ema[i] = number == 1 ? now : 0.75 * ema[i] + 0.25 * now;
        EXPECT_NEAR(got.get(static_cast<std::int64_t>(i)), ema[i], 1e-6) << i << " after step " << number;
      }
    }
  }
  EXPECT_EQ(session_of(*sgd({.lr = 0.1})).program().graph().find_state("optim/w/ema"), nullptr);
  EXPECT_TRUE(says(message_of<UsageError>([] { sgd({.ema_decay = 1.0}); }), "sgd", "ema_decay", "[0, 1)"));
}

TEST(ComposedOptimizers, NameTheirStatesAndRefuse) {
  const auto states = [](const OptimizerPtr& o) {
    std::string out;
    const Session s = session_of(*o);
    for (const State& state : s.program().graph().states())
      if (state.role == StateRole::Optimizer && state.name.starts_with("optim/b/"))
        out += state.name.substr(8) + " ";
    return out;
  };
  EXPECT_EQ(states(adagrad({})), "sum ");
  EXPECT_EQ(states(lion({})), "exp_avg ");
  EXPECT_EQ(states(lamb({})), "exp_avg exp_avg_sq ");
  EXPECT_EQ(states(lars({})), "momentum ");
  EXPECT_EQ(states(optimizer_by_name("lamb", {})), "exp_avg exp_avg_sq ");
  EXPECT_TRUE(says(message_of<UsageError>([] { adagrad({.lr_decay = -1.0}); }), "adagrad", "lr_decay"));
  EXPECT_TRUE(says(message_of<UsageError>([] { lion({.beta2 = 1.0}); }), "lion", "beta2", "[0, 1)"));
  EXPECT_TRUE(says(message_of<UsageError>([] { lamb({.eps = -1.0}); }), "lamb", "eps"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { lars({.trust_coefficient = -1.0}); }), "lars", "trust_coefficient"));
}

}  // namespace
}  // namespace ingot
