// Small data sets and models for tests of the trainer, and the classifier's loss in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "train/callbacks.h"
#include "train/trainer.h"

namespace ingot {

// f32[features] samples with labels that a linear model can partly learn.
inline std::shared_ptr<InMemoryDataset> points(std::int64_t count, std::int64_t features = 5,
                                               std::int64_t classes = 3, const std::string& key = "points") {
  const Tensor x = formula::unit(key, {count, features});
  const Tensor y = formula::labels(key, count, classes, DType::I64);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = i * features + static_cast<std::int64_t>(y.get(i)) % features;
    x.set(at, x.get(at) + 1.0);
  }
  return std::make_shared<InMemoryDataset>(x, y, classes);
}

// u8[1, 6, 6] samples of three classes.
inline std::shared_ptr<InMemoryDataset> pictures(std::int64_t count, const std::string& key = "pictures") {
  const Tensor y = formula::labels(key, count, 3, DType::I64), x(TensorType{DType::U8, {count, 1, 6, 6}});
  const Tensor noise = formula::unit(key, x.shape());
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const bool stripe = i / 6 % 6 / 2 == static_cast<std::int64_t>(y.get(i / 36));
    x.set(i, std::floor(100.0 + 60.0 * noise.get(i) + (stripe ? 80.0 : 0.0)));
  }
  return std::make_shared<InMemoryDataset>(x, y, 3);
}

struct LinearNet : Module {
  Linear fc;
  explicit LinearNet(std::int64_t features = 5, std::int64_t classes = 3) : fc("fc", features, classes) {}

 protected:
  Value forward(Value x) override { return fc(flatten(x)); }
};

// Everything that has a state of its own: batch norm, and two dropouts of one generator.
struct DropoutNet : Module {
  Conv2d conv{"conv", 1, 4, 3, {.padding = 1}};
  BatchNorm2d bn{"bn", 4};
  Dropout drop1{"drop1", 0.3}, drop2{"drop2", 0.2};
  MaxPool2d pool{2};
  Linear fc{"fc", 36, 3};

 protected:
  Value forward(Value x) override {
    x = drop1(pool(relu(bn(conv(x)))));
    return fc(drop2(flatten(x)));
  }
};

// Calls functions at the events of a run.
struct Hook final : Callback {
  std::function<void(Trainer&, std::int64_t, const Logs&)> batch_end, epoch_end;
  std::function<void(Trainer&)> train_end;
  void on_batch_end(Trainer& t, std::int64_t step, const Logs& l) override {
    if (batch_end) batch_end(t, step, l);
  }
  void on_epoch_end(Trainer& t, std::int64_t epoch, const Logs& l) override {
    if (epoch_end) epoch_end(t, epoch, l);
  }
  void on_train_end(Trainer& t, const Logs&) override {
    if (train_end) train_end(t);
  }
};

inline std::shared_ptr<Hook> at_step(std::int64_t when, const std::function<void(Trainer&)>& what) {
  auto hook = std::make_shared<Hook>();
  hook->batch_end = [=](Trainer& t, std::int64_t step, const Logs&) {
    if (step == when) what(t);
  };
  return hook;
}

inline void expect_same_states(const std::map<std::string, Tensor>& a,
                               const std::map<std::string, Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_TRUE(bitwise_equal(tensor, b.at(name))) << name;
  }
}

// The figures that do not measure time.
inline Logs timeless(Logs l) {
  for (const char* key : {"seconds", "images_per_second", "input_bound"}) l.erase(key);
  return l;
}

// A linear classifier in double, for LinearNet's weights.
struct LinearReference {
  std::int64_t features, classes;
  std::vector<double> w, b;

  explicit LinearReference(const std::map<std::string, Tensor>& states)
      : features(states.at("fc.weight").shape()[1]), classes(states.at("fc.weight").shape()[0]) {
    const auto copy = [](const Tensor& t, std::vector<double>& out) {
      for (std::int64_t i = 0; i < t.numel(); ++i) out.push_back(t.get(i));
    };
    copy(states.at("fc.weight"), w);
    copy(states.at("fc.bias"), b);
  }
  std::vector<double> logits(const InMemoryDataset& d, std::int64_t row) const {
    std::vector<double> out = b;
    for (std::int64_t c = 0; c < classes; ++c)
      for (std::int64_t f = 0; f < features; ++f)
        out[static_cast<std::size_t>(c)] +=
            w[static_cast<std::size_t>(c * features + f)] * d.inputs().get(row * features + f);
    return out;
  }
  // d loss / d logits of one sample, and its loss: cross-entropy with the target spread as by label
  // smoothing.
  std::vector<double> gradient(const InMemoryDataset& d, std::int64_t row, double smoothing,
                               double& loss) const {
    std::vector<double> z = logits(d, row);
    double total = 0.0;
    for (const double v : z) total += std::exp(v);
    loss = 0.0;
    for (std::size_t c = 0; c < z.size(); ++c) {
      const bool hit = static_cast<std::int64_t>(c) == d.labels()[static_cast<std::size_t>(row)];
      const double target = smoothing / static_cast<double>(classes) + (hit ? 1.0 - smoothing : 0.0);
      const double log_p = z[c] - std::log(total);
      loss -= target * log_p;
      z[c] = std::exp(log_p) - target;
    }
    return z;
  }
  double loss(const InMemoryDataset& d, std::int64_t row, double smoothing = 0.0) const {
    double out = 0.0;
    gradient(d, row, smoothing, out);
    return out;
  }
  bool correct(const InMemoryDataset& d, std::int64_t row) const {
    const std::vector<double> z = logits(d, row);
    return std::max_element(z.begin(), z.end()) - z.begin() == d.labels()[static_cast<std::size_t>(row)];
  }
  // One step of gradient descent on the mean loss of these rows.
  void descend(const InMemoryDataset& d, const std::vector<std::int64_t>& rows, double lr) {
    std::vector<double> dw(w.size()), db(b.size());
    for (const std::int64_t row : rows) {
      double unused = 0.0;
      const std::vector<double> g = gradient(d, row, 0.0, unused);
      for (std::size_t c = 0; c < b.size(); ++c) {
        db[c] += g[c] / static_cast<double>(rows.size());
        for (std::int64_t f = 0; f < features; ++f)
          dw[c * static_cast<std::size_t>(features) + static_cast<std::size_t>(f)] +=
              g[c] * d.inputs().get(row * features + f) / static_cast<double>(rows.size());
      }
    }
    for (std::size_t i = 0; i < w.size(); ++i) w[i] -= lr * dw[i];
    for (std::size_t i = 0; i < b.size(); ++i) b[i] -= lr * db[i];
  }
};

}  // namespace ingot
