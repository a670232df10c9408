// Trains a small CNN of your own on Fashion-MNIST and predicts a few test images.
//
//   build/release/bin/example_train_cnn [epochs]
#include <ingot/ingot.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace ingot;

// A model is a struct of layers and a forward function. Shapes are checked when the graph is built.
struct Net : Module {
  Conv2d conv1{"conv1", 1, 16, 3, {.padding = 1}};
  BatchNorm2d bn1{"bn1", 16};
  Conv2d conv2{"conv2", 16, 32, 3, {.padding = 1}};
  BatchNorm2d bn2{"bn2", 32};
  MaxPool2d pool{2};
  Linear fc{"fc", 32 * 7 * 7, 10};

  Value forward(Value x) override {
    x = pool(relu(bn1(conv1(x))));
    x = pool(relu(bn2(conv2(x))));
    return fc(flatten(x));
  }
};

int main(int argc, char** argv) {
  std::shared_ptr<const Dataset> train = fashion_mnist(Split::Train), test = fashion_mnist(Split::Test);
  const std::int64_t epochs = argc > 1 ? std::atoll(argv[1]) : 2;
  const std::int64_t steps = epochs * (train->size() / 64 + 1);

  Trainer trainer(std::make_shared<Net>(),
                  {.optimizer = sgd({.lr = 0.05, .momentum = 0.9, .schedule = one_cycle(steps)}), .seed = 1});
  FitOptions fit{.epochs = epochs, .batch_size = 64, .validation = test};
  const ChannelStats stats = channel_stats(*train);
  fit.augment.mean = stats.mean;
  fit.augment.stddev = stats.stddev;
  fit.callbacks = {std::make_shared<ProgressLine>()};
  trainer.fit(train, fit);

  // The exact bytes were known before the first step.
  const MemoryReport& memory = trainer.session().program().report();
  std::printf("the training session uses %zu bytes, its arena %zu\n", memory.total_bytes, memory.arena_bytes);
  trainer.save("fashion.safetensors");
}
