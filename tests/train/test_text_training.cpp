// Training on token numbers: classes of texts, and the token that follows each of a sequence.
#include <cmath>

#include "core/base/error.h"
#include "data/language.h"
#include "data/text_dataset.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "models/text_cnn.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "train/callbacks.h"
#include "train/trainer.h"

namespace ingot {
namespace {

// Word 2 or 3 somewhere among others says the class.
EncodedTexts made_up(std::int64_t count, std::int64_t length) {
  EncodedTexts out;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t words = 1 + i % length, place = i * 7 % words;
    for (std::int64_t w = 0; w < words; ++w)
      out.ids.push_back(static_cast<std::int32_t>(w == place ? 2 + i % 2 : 4 + (i * 5 + w * 3) % 16));
    out.ends.push_back(std::ssize(out.ids));
    out.labels.push_back(i % 2);
  }
  return out;
}

std::shared_ptr<const TextDataset> made_up_texts(std::int64_t count, std::int64_t length = 9) {
  auto p = std::make_shared<TextPreparation>();
  p->sequence_length = length;
  return std::make_shared<const TextDataset>(p, made_up(count, length), 2,
                                             std::vector<std::string>{"two", "three"});
}

TrainerOptions quick() {
  return {.optimizer = adam({.lr = 0.01}), .target = Target::cpu(1), .seed = 3};
}

std::shared_ptr<Module> small_text_cnn() {
  return make_text_cnn({.vocabulary = 20, .classes = 2, .embedding = 8, .filters = 8});
}

TEST(TextTraining, LearnsThePresenceOfAWordAndIsResumedToTheBit) {
  const TempDir dir;
  const auto train = made_up_texts(302), test = made_up_texts(61);  // a short last batch
  Trainer whole(small_text_cnn(), quick());
  const History h = whole.fit(train, {.epochs = 8, .batch_size = 32, .validation = test, .workers = 2});
  EXPECT_GT(whole.evaluate(test).accuracy(), 0.95);
  EXPECT_GT(whole.evaluate(test).confusion.macro_f1(), 0.95);
  EXPECT_LT(h.back().at("loss"), 0.3);
  EXPECT_EQ(whole.sample_notes().class_names[1], "three");

  Trainer first(small_text_cnn(), quick());
  first.fit(train, {.epochs = 3, .batch_size = 32});
  first.save_checkpoint(dir / "c.safetensors");
  Trainer second(small_text_cnn(), quick());
  second.fit(train, {.epochs = 8, .batch_size = 32, .resume = dir / "c.safetensors"});
  for (const auto& [name, tensor] : second.states()) {
    const Tensor other = whole.states().at(name);
    ASSERT_TRUE(std::equal(tensor.as_bytes().begin(), tensor.as_bytes().end(), other.as_bytes().begin()))
        << name;
  }

  // The file alone predicts: what it says of a text does not depend on the batch around it.
  whole.save(dir / "w.safetensors");
  Trainer loaded(small_text_cnn(), quick());
  loaded.load(dir / "w.safetensors");
  const Tensor x = Tensor::zeros({DType::I32, {3, 9}});
  for (std::int64_t i = 0; i < 3; ++i) x.set(i * 9 + i, static_cast<double>(2 + i % 2));
  const Tensor logits = loaded.predict(x, 2);
  ASSERT_EQ(logits.shape(), Shape({3, 2}));
  for (std::int64_t i = 0; i < 3; i += 2) EXPECT_GT(logits.get(i * 2), logits.get(i * 2 + 1)) << i;
  EXPECT_LT(logits.get(2), logits.get(3));
  EXPECT_TRUE(loaded.load(dir / "w.safetensors", {}, train->input_type()).match());
}

// The token that follows, from the token alone.
class Bigram final : public Module {
 public:
  explicit Bigram(std::int64_t tokens) : embedding_("embedding", tokens, 16), fc_("fc", 16, tokens) {}

 protected:
  Value forward(Value x) override { return fc_(embedding_(x)); }

 private:
  Embedding embedding_;
  Linear fc_;
};

// 2 3 4 2 3 4 ...: what follows is certain.
std::shared_ptr<const LanguageDataset> cycle(std::int64_t count) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(2 + i % 3));
  return std::make_shared<const LanguageDataset>(
      std::make_shared<const Vocabulary>(Tokenisation{}, std::vector<std::string>{"a", "b", "c", "d"}),
      tokens, 6, 5);
}

TEST(LanguageTraining, ATargetForEachPlaceOfASequence) {
  const auto data = cycle(6 * 5 * 9 + 5);
  ASSERT_EQ(data->size(), 45);
  Trainer t(std::make_shared<Bigram>(6),
            {.optimizer = adam({.lr = 0.05}), .target = Target::cpu(1), .seed = 1});
  const Evaluation before = t.evaluate(data, {.batch_size = 8});
  EXPECT_EQ(before.confusion.total(), 45 * 6);
  const History h = t.fit(data, {.epochs = 12, .batch_size = 8});  // a last batch of 5 rows
  EXPECT_GT(h.back().at("accuracy"), 0.99);
  EXPECT_LE(h.back().at("accuracy"), 1.0);
  const Evaluation e = t.evaluate(data, {.batch_size = 8});
  EXPECT_EQ(e.accuracy(), 1.0);
  EXPECT_LT(e.loss, 0.2);
  EXPECT_EQ(e.confusion.count(2, 2), 90);
  // The mean over the real rows' places, whatever the batch.
  EXPECT_NEAR(t.evaluate(data, {.batch_size = 45}).loss, e.loss, 1e-6);
  const Tensor x = Tensor::full({DType::I32, {1, 6}}, 3.0), logits = t.predict(x);
  EXPECT_EQ(logits.shape(), Shape({1, 6, 6}));
}

TEST(LanguageTraining, TheLossIsTheMeanOfEachPlaces) {
  const auto data = cycle(6 * 5 + 5);
  Trainer t(std::make_shared<Bigram>(6), {.target = Target::cpu(1), .seed = 1});
  const Evaluation e = t.evaluate(data, {.batch_size = 4});
  double sum = 0.0;
  for (std::int64_t i = 0; i < data->size(); ++i) {
    const Tensor x({DType::I32, {1, 6}}), y({DType::I64, {6}});
    data->read(i, x.as_bytes(), y.as_bytes());
    const Tensor logits = t.predict(x);
    for (std::int64_t p = 0; p < 6; ++p) {
      double all = 0.0;
      for (std::int64_t c = 0; c < 6; ++c) all += std::exp(logits.get(p * 6 + c));
      sum += std::log(all) - logits.get(p * 6 + static_cast<std::int64_t>(y.get(p)));
    }
  }
  EXPECT_NEAR(e.loss, sum / static_cast<double>(data->size() * 6), 1e-5);
}

TEST(TextTraining, LabelsAndLogitsMustFit) {
  Trainer of_places(std::make_shared<Bigram>(20), {.target = Target::cpu(1)});
  EXPECT_TRUE(says(message_of<UsageError>([&] { of_places.evaluate(made_up_texts(8), {.batch_size = 4}); }),
                   "labels [4, 9]", "[4]"));
  Trainer of_texts(small_text_cnn(), quick());
  EXPECT_TRUE(says(message_of<UsageError>([&] { of_texts.fit(cycle(100), {.batch_size = 4}); }),
                   "classes, the model 2"));
}

}  // namespace
}  // namespace ingot
