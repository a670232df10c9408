// A training that PyTorch did (tests/golden), done again: what the tests of such trainings share.
#pragma once

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/support/formula.h"
#include "train/step_graph.h"

namespace ingot::golden_run {

inline nlohmann::json read(const std::string& name) {
  std::ifstream file(std::string(INGOT_SOURCE_DIR) + "/tests/golden/train_" + name + ".json");
  return nlohmann::json::parse(file);
}

inline OptimizerPtr optimizer_of(const nlohmann::json& o, const std::vector<ParameterGroup>& groups = {}) {
  const std::string type = o.at("type");
  if (type == "sgd")
    return sgd({.lr = o.at("lr"),
                .momentum = o.at("momentum"),
                .dampening = o.at("dampening"),
                .weight_decay = o.at("weight_decay"),
                .nesterov = o.at("nesterov"),
                .groups = groups});
  if (type == "rmsprop")
    return rmsprop({.lr = o.at("lr"),
                    .alpha = o.at("alpha"),
                    .eps = o.at("eps"),
                    .weight_decay = o.at("weight_decay"),
                    .momentum = o.at("momentum"),
                    .groups = groups});
  AdamOptions a{.lr = o.at("lr"),
                .beta1 = o.at("beta1"),
                .beta2 = o.at("beta2"),
                .eps = o.at("eps"),
                .weight_decay = o.at("weight_decay"),
                .groups = groups};
  return type == "adam" ? adam(a) : adamw(a);
}

inline void set_weights(Session& s) {
  for (const State& state : s.program().graph().states())
    if (state.role == StateRole::Parameter ||
        (state.role == StateRole::Buffer && !state.name.ends_with("num_batches_tracked")))
      s.set_state(state.name, formula::parameter(state.name, s.program().graph().type(state.value).shape));
}

inline Shape input_shape(const nlohmann::json& golden) {
  Shape shape{golden.at("batch_size").get<std::int64_t>()};
  for (const std::int64_t d : golden.at("sample_shape")) shape.push_back(d);
  return shape;
}

inline Tensor unit_input(const std::string& key, const Shape& shape) {
  return formula::unit(key, shape);
}

// The steps of one case of `golden` by the graph of a training step, then its evaluation. Losses, states and
// the evaluation must be PyTorch's.
inline void expect_same(
    const nlohmann::json& golden, const nlohmann::json& c, const Graph& training, const Graph& evaluation,
    const std::function<Tensor(const std::string&, const Shape&)>& input_of = unit_input) {
  const Shape shape = input_shape(golden);
  Session s(compile(training, {.target = Target::cpu(2)}), {});
  set_weights(s);
  s.input("valid_rows").set(0, static_cast<double>(shape[0]));
  const auto feed = [&](const Session& session, int b) {
    session.input("x").copy_from(input_of(cat("input/", b), shape));
    session.input("labels").copy_from(formula::labels(cat("label/", b), shape[0], golden.at("classes")));
  };
  const int steps = golden.at("steps"), batches = golden.at("batches");
  for (int i = 0; i < steps; ++i) {
    feed(s, i % batches);
    s.run();
    const double expected = c.at("losses_f64").at(static_cast<std::size_t>(i));
    ASSERT_NEAR(s.output("loss").item(), expected, 1e-4 * std::abs(expected)) << "step " << i;
  }
  for (const auto& [key, want] : c.at("state").items()) {
    if (key.ends_with("num_batches_tracked")) continue;
    const Tensor t = s.state(key);
    const double count = static_cast<double>(t.numel());
    double sum = 0.0, squares = 0.0;
    for (const float v : t.values<float>()) {
      sum += static_cast<double>(v);
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    const double want_sum = want.at(1), want_squares = want.at(2);
    EXPECT_EQ(count, want.at(0).get<double>()) << key;
    EXPECT_NEAR(sum, want_sum, 1e-3 * std::sqrt(count * want_squares) + 1e-6) << key;
    EXPECT_NEAR(squares, want_squares, 1e-3 * want_squares + 1e-6) << key;
  }
  Session e(compile(evaluation, {.target = Target::cpu(2)}), {});
  e.copy_states_from(s);
  feed(e, 0);
  e.input("valid_rows").set(0, static_cast<double>(shape[0]));
  e.run();
  const double expected = c.at("eval_loss_f64");
  EXPECT_NEAR(e.output("loss").item(), expected, 1e-3 * std::abs(expected));
}

}  // namespace ingot::golden_run
