// The composed losses: reductions, row weights and ignored labels, against numbers by hand.
#include "core/ops/loss.h"

#include <cmath>
#include <string>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "gtest/gtest.h"
#include "tests/ops/eval.h"

namespace ingot {
namespace {

const double kLog2 = std::log(2.0);

Tensor labels(std::initializer_list<std::int64_t> v) {
  return Tensor::from<std::int64_t>({static_cast<std::int64_t>(v.size())},
                                    std::span<const std::int64_t>(v.begin(), v.size()));
}

double item(Value v) {
  return eval(v).item();
}

// Three rows over two classes with losses log 2, log(1 + e^-1) and log(1 + e).
class CrossEntropy : public ::testing::Test {
 protected:
  Graph g;
  Value logits = reshape(constant(g, Tensor::of({3, 3, 1, 0, 1, 0})), {3, 2});
  const double l0 = kLog2, l1 = std::log1p(std::exp(-1.0)), l2 = std::log1p(std::exp(1.0));
};

TEST_F(CrossEntropy, Reductions) {
  const Value y = constant(g, labels({0, 0, 1}));
  EXPECT_NEAR(item(cross_entropy(logits, y)), (l0 + l1 + l2) / 3, 1e-6);
  EXPECT_NEAR(item(cross_entropy(logits, y, {.reduction = Reduction::Sum})), l0 + l1 + l2, 1e-6);
  const auto each = values(eval(cross_entropy(logits, y, {.reduction = Reduction::None})));
  ASSERT_EQ(each.size(), 3u);
  EXPECT_NEAR(each[1], l1, 1e-6);
  EXPECT_NEAR(each[2], l2, 1e-6);
}

TEST_F(CrossEntropy, IgnoredRowsDoNotCount) {
  EXPECT_NEAR(item(cross_entropy(logits, constant(g, labels({0, -100, 1})))), (l0 + l2) / 2, 1e-6);
  EXPECT_NEAR(item(cross_entropy(logits, constant(g, labels({0, 0, 1})), {.ignore_index = 0})), l2, 1e-6);
  EXPECT_TRUE(std::isnan(item(cross_entropy(logits, constant(g, labels({-100, -100, -100}))))));
}

TEST_F(CrossEntropy, Weights) {
  const Value w = constant(g, Tensor::of({1, 3, 0}));
  EXPECT_NEAR(item(cross_entropy(logits, constant(g, labels({0, 0, 1})), {.weights = w})), (l0 + 3 * l1) / 4,
              1e-6);
  // An ignored row takes its weight along.
  EXPECT_NEAR(item(cross_entropy(logits, constant(g, labels({0, -100, 1})), {.weights = w})), l0, 1e-6);
}

TEST_F(CrossEntropy, LabelSmoothing) {
  // (1 - s) l(label) + s / C sum_c l(c)
  const double other = l2, s = 0.2;
  const Value y = constant(g, labels({0, 0, 0}));
  EXPECT_NEAR(item(cross_entropy(slice(logits, 0, 1, 2), slice(y, 0, 1, 2), {.label_smoothing = s})),
              (1 - s) * l1 + s / 2 * (l1 + other), 1e-6);
}

TEST_F(CrossEntropy, ClassesOnAxisOne) {
  // [N, C, L]: the same numbers as the transposed rows.
  const Value image = reshape(transpose(logits, {1, 0}), {1, 2, 3});
  const Value y = reshape(constant(g, labels({0, 0, 1})), {1, 3});
  EXPECT_NEAR(item(cross_entropy(image, y)), (l0 + l1 + l2) / 3, 1e-6);
  EXPECT_EQ(cross_entropy(image, y, {.reduction = Reduction::None}).shape(), (Shape{1, 3}));
}

TEST_F(CrossEntropy, Errors) {
  try {
    cross_entropy(logits, logits);
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("labels must have shape [3] for logits [3, 2], got [3, 2]"),
              std::string::npos)
        << e.what();
    EXPECT_NE(std::string(e.what()).find("test_loss.cpp"), std::string::npos) << e.what();
  }
  EXPECT_THROW(
      cross_entropy(logits, constant(g, labels({0, 0, 1})), {.weights = constant(g, Tensor::of({1, 2}))}),
      ShapeError);
  // A label beyond the classes is found when the step runs.
  const Value bad = cross_entropy(logits, constant(g, labels({0, 2, 1})));
  try {
    eval(bad);
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("label 2 of row 1 is outside of [0, 2)"), std::string::npos)
        << e.what();
  }
}

TEST(MseLoss, ReductionsAndWeights) {
  Graph g;
  const Value x = reshape(constant(g, Tensor::of({1, 2, 3, 4})), {2, 2});
  const Value t = reshape(constant(g, Tensor::of({0, 0, 3, 2})), {2, 2});
  EXPECT_DOUBLE_EQ(item(mse_loss(x, t)), 9.0 / 4);
  EXPECT_DOUBLE_EQ(item(mse_loss(x, t, {.reduction = Reduction::Sum})), 9.0);
  EXPECT_EQ(values(eval(mse_loss(x, t, {.reduction = Reduction::None}))), (std::vector<double>{1, 4, 0, 4}));
  // Row means 2.5 and 2.
  const Value w = constant(g, Tensor::of({1, 3}));
  EXPECT_DOUBLE_EQ(item(mse_loss(x, t, {.weights = w})), (2.5 + 3 * 2) / 4);
  EXPECT_THROW(mse_loss(x, reshape(t, {4})), ShapeError);
}

TEST(BceWithLogits, StableOnBothSides) {
  Graph g;
  const Value x = constant(g, Tensor::of({0, 20, -20, 500, -500}));
  const Value t = constant(g, Tensor::of({1, 1, 0, 0, 1}));
  const auto each = values(eval(bce_with_logits(x, t, {.reduction = Reduction::None})));
  ASSERT_EQ(each.size(), 5u);
  EXPECT_NEAR(each[0], kLog2, 1e-7);
  EXPECT_NEAR(each[1], 2.0611536181902037e-9, 1e-15);
  EXPECT_NEAR(each[2], 2.0611536181902037e-9, 1e-15);
  EXPECT_FLOAT_EQ(static_cast<float>(each[3]), 500.0f);
  EXPECT_FLOAT_EQ(static_cast<float>(each[4]), 500.0f);
}

TEST(ValidRows, WeightsOfAPaddedBatch) {
  Graph g;
  EXPECT_FALSE(valid_row_weights(g, 4, DType::F32).defined());
  const Value valid = cast(full(g, 3, {DType::I32, {}}), DType::I32);
  g.build.valid_rows = valid.id();
  const Value w = valid_row_weights(g, 4, DType::F32);
  ASSERT_TRUE(w.defined());
  EXPECT_EQ(values(eval(w)), (std::vector<double>{1, 1, 1, 0}));
  // The mean over the padded batch is the mean over the real rows.
  const Value x = constant(g, Tensor::of({1, 2, 3, 1000})), t = constant(g, Tensor::of({0, 0, 0, 0}));
  EXPECT_DOUBLE_EQ(item(mse_loss(x, t, {.weights = w})), static_cast<double>(static_cast<float>(14.0 / 3)));
}

}  // namespace
}  // namespace ingot
