// Kim's network of texts: PyTorch's keys and logits (tests/golden/make_text_golden.py); what is refused. Its
// training is in tests/train/test_golden_training.cpp.
#include "models/text_cnn.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

const TextCnnConfig kSmall{.vocabulary = 40, .classes = 10, .embedding = 12, .filters = 6};

Session session_of(const TextCnnConfig& config, const Shape& shape) {
  Session s(
      compile(inference_graph(*make_text_cnn(config), {DType::I32, shape}), {.target = Target::cpu(1)}));
  for (const State& state : s.program().graph().states())
    s.set_state(state.name, formula::parameter(state.name, s.program().graph().type(state.value).shape));
  return s;
}

TEST(TextCnn, EqualsPyTorch) {
  std::ifstream in(INGOT_SOURCE_DIR "/tests/golden/train_text_cnn.json");
  const nlohmann::json golden = nlohmann::json::parse(in);
  const Shape shape{golden.at("batch_size").get<std::int64_t>(),
                    golden.at("sample_shape").at(0).get<std::int64_t>()};
  Session s = session_of(kSmall, shape);
  const Graph& g = s.program().graph();
  std::map<std::string, std::vector<std::int64_t>> keys;
  for (const State& state : g.states())
    for (int i = 0; i < g.type(state.value).shape.rank(); ++i)
      keys[state.name].push_back(g.type(state.value).shape[i]);
  EXPECT_EQ(keys, (golden.at("keys").get<std::map<std::string, std::vector<std::int64_t>>>()));
  s.input("x").copy_from(formula::texts("input/0", shape, kSmall.vocabulary));
  s.run();
  const auto logits = golden.at("logits").get<std::vector<double>>();
  ASSERT_EQ(s.output("logits").numel(), std::ssize(logits));
  for (std::size_t i = 0; i < logits.size(); ++i)
    ASSERT_NEAR(s.output("logits").get(static_cast<std::int64_t>(i)), logits[i], 1e-6) << i;
}

// The same text, filled up to another length, and one that is as long as the widest filter.
TEST(TextCnn, PaddingChangesNothing) {
  Session narrow = session_of(kSmall, {1, 5}), wide = session_of(kSmall, {1, 9});
  for (const std::int64_t length : {1, 2, 3, 4, 5}) {
    for (Session* s : {&narrow, &wide}) {
      const Tensor x = s->input("x");
      for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, i < length ? static_cast<double>(7 + i) : 0.0);
      s->run();
    }
    for (std::int64_t c = 0; c < kSmall.classes; ++c)
      EXPECT_NEAR(narrow.output("logits").get(c), wide.output("logits").get(c), 1e-6) << length;
  }
}

TEST(TextCnn, IsAModelLikeOthers) {
  EXPECT_EQ(text_models()[0].name, "text_cnn");
  const ModelOptions o{.num_classes = 28, .vocabulary = 100, .sequence_length = 7};
  EXPECT_EQ(to_string(model_input_type("text_cnn", 3, o)), "i32[3, 7]");
  EXPECT_EQ(head_parameters("text_cnn", o), (std::vector<std::string>{"fc.weight", "fc.bias"}));
  // Embeddings; a bias and 128 numbers a word for 100 filters of each width; 300 to 28.
  EXPECT_EQ(model_size("text_cnn", o).parameters, 100 * 128 + 100 * (12 * 128 + 3) + 28 * 301);
  EXPECT_EQ(model_size("text_cnn", o).multiply_adds, 100 * 128 * (3 * 5 + 4 * 4 + 5 * 3) + 28 * 300);
}

TEST(TextCnn, RefusesWhatItCannotRead) {
  Graph g;
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     (*make_text_cnn({}))(input(g, "f", {DType::F32, {2, 8}}));
                   }),
                   "token numbers", "f32[2, 8]"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     (*make_text_cnn({}))(input(g, "s", {DType::I32, {2, 4}}));
                   }),
                   "at least 5", "i32[2, 4]"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_text_cnn({.widths = {}}); }), "at least one width"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_text_cnn({.widths = {3, 0}}); }), "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_text_cnn({.vocabulary = 0}); }), "embedding", "0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_model("text_cnn", {.sequence_length = 4}); }),
                   "at least 5", "got 4"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_model("text_cnn", {.vocabulary = -1}); }), "got -1"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { make_model("text_cnn", {.in_channels = 3}); }), "takes texts"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_model("lenet5", {.vocabulary = 30}); }), "takes images"));
}

}  // namespace
}  // namespace ingot
