// Twenty training steps against PyTorch, from the same weights and data (tests/golden).
#include "models/models.h"
#include "models/resnet.h"
#include "models/text_cnn.h"
#include "tests/train/golden_run.h"

namespace ingot {
namespace {

class GoldenTraining : public testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(GoldenTraining, LossesStateAndEvaluationMatchPyTorch) {
  const auto [model, index] = GetParam();
  const nlohmann::json g = golden_run::read(model);
  ASSERT_LT(static_cast<std::size_t>(index), g.at("cases").size());
  const nlohmann::json& c = g.at("cases").at(static_cast<std::size_t>(index));
  SCOPED_TRACE(c.at("optimizer").dump());
  const TensorType input{DType::F32, golden_run::input_shape(g)};
  ModelOptions options;
  options.num_classes = g.at("classes").get<std::int64_t>();
  options.image_size = input.shape[-1];
  const auto net = make_model(model, options);
  golden_run::expect_same(g, c, training_graph(*net, input, *golden_run::optimizer_of(c.at("optimizer"))),
                          evaluation_graph(*net, input));
}

std::vector<std::pair<const char*, int>> all_cases() {
  std::vector<std::pair<const char*, int>> v;
  for (const char* model : {"lenet5", "resnet20", "resnet18"})
    for (int i = 0; i < (std::string(model) == "lenet5" ? 5 : 4); ++i) v.emplace_back(model, i);
  return v;
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTraining, testing::ValuesIn(all_cases()), [](const auto& test) {
  return cat(std::string(test.param.first) == "lenet5" ? "" : "Slow_", test.param.first, "_",
             golden_run::read(test.param.first)
                 .at("cases")
                 .at(static_cast<std::size_t>(test.param.second))
                 .at("optimizer")
                 .at("type")
                 .template get<std::string>(),
             "_", test.param.second);
});

// Parameter groups with rates and decays of their own, and frozen parameters, with batch norms in training or
// in evaluation mode.
class GoldenTransfer : public testing::TestWithParam<int> {};

TEST_P(GoldenTransfer, GroupsAndFrozenParametersMatchPyTorch) {
  const nlohmann::json g = golden_run::read("transfer");
  const nlohmann::json& c = g.at("cases").at(static_cast<std::size_t>(GetParam()));
  std::vector<ParameterGroup> groups;
  for (const auto& group : c.at("groups"))
    groups.push_back({group.at("pattern"), group.at("lr_scale"), group.at("weight_decay").get<double>()});
  FreezeOptions freeze;
  freeze.patterns = c.at("freeze").get<std::vector<std::string>>();
  freeze.batch_norm = c.at("freeze_batch_norm");
  SCOPED_TRACE(c.at("optimizer").dump());
  const TensorType input{DType::F32, golden_run::input_shape(g)};
  const auto net = make_cifar_resnet(1, 3, g.at("classes"));
  golden_run::expect_same(
      g, c, training_graph(*net, input, *golden_run::optimizer_of(c.at("optimizer"), groups), {}, {}, freeze),
      evaluation_graph(*net, input));
}

const char* const kTransferCases[] = {"sgd_groups", "adamw_groups", "frozen", "frozen_statistics"};
INSTANTIATE_TEST_SUITE_P(Cases, GoldenTransfer, testing::Range(0, 4),
                         [](const auto& test) { return kTransferCases[test.param]; });

// Texts of token numbers, some shorter than the widest filter.
class GoldenText : public testing::TestWithParam<int> {};

TEST_P(GoldenText, LossesStateAndEvaluationMatchPyTorch) {
  const nlohmann::json g = golden_run::read("text_cnn");
  const nlohmann::json& c = g.at("cases").at(static_cast<std::size_t>(GetParam()));
  SCOPED_TRACE(c.at("optimizer").dump());
  const TextCnnConfig config{.vocabulary = g.at("vocabulary"),
                             .classes = g.at("classes"),
                             .embedding = g.at("embedding"),
                             .filters = g.at("filters"),
                             .dropout = 0.0};
  const TensorType input{DType::I32, golden_run::input_shape(g)};
  const auto net = make_text_cnn(config);
  golden_run::expect_same(g, c, training_graph(*net, input, *golden_run::optimizer_of(c.at("optimizer"))),
                          evaluation_graph(*net, input), [&](const std::string& key, const Shape& shape) {
                            return formula::texts(key, shape, config.vocabulary);
                          });
}

INSTANTIATE_TEST_SUITE_P(Optimizers, GoldenText, testing::Range(0, 2),
                         [](const auto& test) { return test.param == 0 ? "sgd" : "adam"; });

}  // namespace
}  // namespace ingot
