// A program that lives outside Ingot's tree and knows it by <ingot/...> alone: trains a small network,
// predicts, and reads its weights back.
#include <ingot/core/base/shape.h>
#include <ingot/ingot.h>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>

#include "core/base/shape.h"

using namespace ingot;

namespace {

int fail(const char* what) {
  std::printf("consumer: failed: %s\n", what);
  return 1;
}

struct Net : Module {
  Conv2d conv{"conv", 1, 4, 3, {.padding = 1}};
  Linear fc{"fc", 4 * 8 * 8, 2};
  Value forward(Value x) override { return fc(flatten(relu(conv(x)))); }
};

// Class 1 is bright on the left, class 0 on the right.
Tensor images(std::int64_t count) {
  const Tensor t = Tensor::zeros({DType::F32, {count, 1, 8, 8}});
  float* const x = t.data<float>();
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const bool left = i % 8 < 4, one = i / 64 % 2 == 1;
    x[i] = (left == one ? 1.0f : 0.0f) + 0.1f * static_cast<float>(i * 37 % 11) / 11.0f;
  }
  return t;
}

std::int64_t right_answers(const Tensor& logits) {
  std::int64_t right = 0;
  for (std::int64_t n = 0; n < logits.shape()[0]; ++n)
    right += (logits.get(2 * n + 1) > logits.get(2 * n)) == (n % 2 == 1);
  return right;
}

}  // namespace

int main() {
  if (consumer::Shape{}.corners != 4) return fail("the program's own core/base/shape.h was not used");

  // Exceptions cross the library's border with their type.
  try {
    Tensor::zeros({DType::F32, {2, 3}}).data<double>();
    return fail("a wrong element type was accepted");
  } catch (const UsageError&) {
  }

  constexpr std::int64_t kCount = 70;  // with batches of 16 the last one is short
  const Tensor labels = Tensor::zeros({DType::I64, {kCount}});
  for (std::int64_t n = 0; n < kCount; ++n) labels.set(n, static_cast<double>(n % 2));
  const auto data = std::make_shared<InMemoryDataset>(images(kCount), labels, 2);

  Trainer trainer(std::make_shared<Net>(), {.optimizer = sgd({.lr = 0.1, .momentum = 0.9}), .seed = 1});
  const History history = trainer.fit(data, {.epochs = 6, .batch_size = 16});
  const double first = history.front().at("loss"), last = history.back().at("loss");
  std::printf("loss %.4f -> %.4f\n", first, last);
  if (!(last < 0.2 * first)) return fail("the loss did not fall");

  const Tensor logits = trainer.predict(images(10));
  if (logits.shape() != Shape{10, 2} || right_answers(logits) != 10) return fail("wrong predictions");

  trainer.save("consumer.safetensors");
  Trainer second(std::make_shared<Net>(), {.seed = 2});
  second.load("consumer.safetensors");
  if (!bitwise_equal(second.predict(images(10)), logits))
    return fail("weights changed on their way through a file");
  std::puts("consumer: ok");
}
