// Twenty training steps against PyTorch, from the same weights and data (tests/golden).
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/support/formula.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

nlohmann::json golden(const std::string& model) {
  std::ifstream file(std::string(INGOT_SOURCE_DIR) + "/tests/golden/train_" + model + ".json");
  return nlohmann::json::parse(file);
}

OptimizerPtr optimizer_of(const nlohmann::json& o) {
  const std::string type = o.at("type");
  if (type == "sgd")
    return sgd({.lr = o.at("lr"),
                .momentum = o.at("momentum"),
                .dampening = o.at("dampening"),
                .weight_decay = o.at("weight_decay"),
                .nesterov = o.at("nesterov")});
  if (type == "rmsprop")
    return rmsprop({.lr = o.at("lr"),
                    .alpha = o.at("alpha"),
                    .eps = o.at("eps"),
                    .weight_decay = o.at("weight_decay"),
                    .momentum = o.at("momentum")});
  AdamOptions a{.lr = o.at("lr"),
                .beta1 = o.at("beta1"),
                .beta2 = o.at("beta2"),
                .eps = o.at("eps"),
                .weight_decay = o.at("weight_decay")};
  return type == "adam" ? adam(a) : adamw(a);
}

void set_weights(Session& s) {
  for (const State& state : s.program().graph().states())
    if (state.role == StateRole::Parameter ||
        (state.role == StateRole::Buffer && !state.name.ends_with("num_batches_tracked")))
      s.set_state(state.name, formula::parameter(state.name, s.program().graph().type(state.value).shape));
}

class GoldenTraining : public testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(GoldenTraining, LossesStateAndEvaluationMatchPyTorch) {
  const auto [model, index] = GetParam();
  const nlohmann::json g = golden(model);
  ASSERT_LT(static_cast<std::size_t>(index), g.at("cases").size());
  const nlohmann::json& c = g.at("cases").at(static_cast<std::size_t>(index));
  SCOPED_TRACE(c.at("optimizer").dump());
  const std::int64_t batch = g.at("batch_size"), classes = g.at("classes");
  Shape shape{batch};
  for (const std::int64_t d : g.at("sample_shape")) shape.push_back(d);
  const TensorType input{DType::F32, shape};
  ModelOptions options;
  options.num_classes = classes;
  options.image_size = shape[-1];
  const auto net = make_model(model, options);

  Session s(
      compile(training_graph(*net, input, *optimizer_of(c.at("optimizer"))), {.target = Target::cpu(2)}), {});
  set_weights(s);
  s.input("valid_rows").set(0, static_cast<double>(batch));
  const auto feed = [&](const Session& session, int b) {
    session.input("x").copy_from(formula::unit(cat("input/", b), shape));
    session.input("labels").copy_from(formula::labels(cat("label/", b), batch, classes));
  };
  const int steps = g.at("steps"), batches = g.at("batches");
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
  Session e(compile(evaluation_graph(*net, input), {.target = Target::cpu(2)}), {});
  e.copy_states_from(s);
  feed(e, 0);
  e.input("valid_rows").set(0, static_cast<double>(batch));
  e.run();
  const double expected = c.at("eval_loss_f64");
  EXPECT_NEAR(e.output("loss").item(), expected, 1e-3 * std::abs(expected));
}

std::vector<std::pair<const char*, int>> all_cases() {
  std::vector<std::pair<const char*, int>> v;
  for (const char* model : {"lenet5", "resnet20", "resnet18"})
    for (int i = 0; i < (std::string(model) == "lenet5" ? 5 : 4); ++i) v.emplace_back(model, i);
  return v;
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTraining, testing::ValuesIn(all_cases()), [](const auto& test) {
  return cat(std::string(test.param.first) == "lenet5" ? "" : "Slow_", test.param.first, "_",
             golden(test.param.first)
                 .at("cases")
                 .at(static_cast<std::size_t>(test.param.second))
                 .at("optimizer")
                 .at("type")
                 .template get<std::string>(),
             "_", test.param.second);
});

}  // namespace
}  // namespace ingot
