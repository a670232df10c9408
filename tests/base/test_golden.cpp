// The reader of golden files, and that the files mean what tests/golden/README.md says: a few cases are
// computed here by hand from their inputs.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/base/error.h"

namespace ingot {
namespace {

const golden::OpCase& find(const std::vector<golden::OpCase>& cases, const std::string& title) {
  for (const golden::OpCase& c : cases)
    if (c.title() == title) return c;
  throw UsageError("no golden case " + title);
}

TEST(Golden, EveryFamilyIsWellFormed) {
  std::set<std::string> ops;
  for (const char* family : {"activation", "conv", "gather", "loss", "matmul", "norm", "pool", "reduce",
                             "schedule", "softmax", "update"}) {
    for (const golden::OpCase& c : golden::op_cases(family)) {
      SCOPED_TRACE(c.title());
      ops.insert(c.op);
      ASSERT_FALSE(c.outputs.empty());
      ASSERT_EQ(c.cotangents.size(), c.outputs.size());
      for (const Tensor& t : c.outputs)
        for (std::int64_t i = 0; i < t.numel(); ++i) ASSERT_TRUE(std::isfinite(t.get(i)));
      if (c.grads.empty()) continue;
      ASSERT_EQ(c.grads.size(), c.inputs.size());
      for (std::size_t i = 0; i < c.grads.size(); ++i) {
        if (c.grads[i].defined()) {
          EXPECT_EQ(c.grads[i].shape(), c.inputs[i].shape()) << "gradient " << i;
        }
      }
    }
  }
  EXPECT_GE(ops.size(), 60u);
}

// y = a b, da = dy b^T, db = a^T dy.
TEST(Golden, MatmulByHand) {
  const auto cases = golden::op_cases("matmul", "matmul");
  const golden::OpCase& c = find(cases, "matmul/plain");
  EXPECT_FALSE(c.attrs.flag("transpose_a"));
  const std::int64_t m = 3, k = 4, n = 5;
  ASSERT_EQ(c.inputs[0].shape(), (Shape{m, k}));
  ASSERT_EQ(c.outputs[0].shape(), (Shape{m, n}));
  const auto a = c.inputs[0].values<double>(), b = c.inputs[1].values<double>();
  const auto dy = c.cotangents[0].values<double>();
  auto at = [](std::int64_t row, std::int64_t column, std::int64_t columns) {
    return static_cast<std::size_t>(row * columns + column);
  };
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (std::int64_t l = 0; l < k; ++l) sum += a[at(i, l, k)] * b[at(l, j, n)];
      EXPECT_NEAR(c.outputs[0].values<double>()[at(i, j, n)], sum, 1e-14);
    }
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t l = 0; l < k; ++l) {
      double sum = 0.0;
      for (std::int64_t j = 0; j < n; ++j) sum += dy[at(i, j, n)] * b[at(l, j, n)];
      EXPECT_NEAR(c.grads[0].values<double>()[at(i, l, k)], sum, 1e-14);
    }
}

TEST(Golden, SgdMomentumByHand) {
  const auto cases = golden::op_cases("update", "sgd");
  const golden::OpCase& c = find(cases, "sgd/momentum");
  const double lr = c.attrs.number("lr"), momentum = c.attrs.number("momentum");
  for (std::int64_t i = 0; i < c.inputs[0].numel(); ++i) {
    double p = c.inputs[0].get(i), velocity = 0.0;
    for (std::size_t s = 0; s < c.outputs.size(); ++s) {
      velocity = momentum * velocity + c.inputs[s + 1].get(i);
      p -= lr * velocity;
      EXPECT_NEAR(c.outputs[s].get(i), p, 1e-14) << "element " << i << ", step " << s;
    }
  }
}

TEST(Golden, TrainingFiles) {
  for (const char* model : {"lenet5", "resnet20", "resnet18"}) {
    SCOPED_TRACE(model);
    const golden::Training t = golden::training(model);
    EXPECT_EQ(t.model, model);
    std::set<std::string> titles;
    for (const golden::TrainingCase& c : t.cases) {
      titles.insert(c.title());
      EXPECT_EQ(static_cast<std::int64_t>(c.losses.size()), t.steps);
      EXPECT_LT(c.loss_deviation, 2e-5);
      EXPECT_GT(c.options.number("lr"), 0.0);
    }
    for (const char* title : {"sgd", "adam", "adamw", "rmsprop"}) EXPECT_EQ(titles.count(title), 1u) << title;
  }
  const golden::Training t = golden::training("resnet18");
  EXPECT_EQ(t.inputs(5).shape(), (Shape{8, 3, 64, 64}));
  EXPECT_TRUE(bitwise_equal(t.inputs(5), t.inputs(1)));
  EXPECT_FALSE(bitwise_equal(t.inputs(5), t.inputs(2)));
  EXPECT_EQ(t.labels(0).numel(), 8);
  EXPECT_EQ(t.cases[0].state.at("layer4.1.conv2.weight").count, 512 * 512 * 9);
}

TEST(Golden, SaysWhatIsWrong) {
  EXPECT_THROW(golden::op_cases("no_such_family"), FormatError);
  EXPECT_THROW(golden::op_cases("matmul", "no_such_op"), FormatError);
  const auto cases = golden::op_cases("conv");
  EXPECT_THROW(cases[0].attrs.number("no_such_attribute"), FormatError);
  EXPECT_THROW(cases[0].attrs.flag("groups"), FormatError);
  EXPECT_EQ(cases[0].attrs.pair("stride"), (std::array<std::int64_t, 2>{1, 1}));
}

}  // namespace
}  // namespace ingot
