// Functions made of several ops: their programs against the references node by node, and what they refuse.
#include <cmath>

#include "core/ops/arc_face.h"
#include "core/ops/box_loss.h"
#include "core/ops/conv_transpose.h"
#include "core/ops/creation.h"
#include "core/ops/einsum.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/max_unpool.h"
#include "core/ops/normalize.h"
#include "core/ops/rearrange.h"
#include "core/ops/recurrent.h"
#include "core/ops/resize.h"
#include "core/ops/view.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/ops/eval.h"
#include "tests/support/composed_case.h"
#include "tests/support/messages.h"

namespace ingot::test {
namespace {

class Composed : public testing::TestWithParam<ComposedIn> {};

// Fusion rounds less often than node after node, so below f32 a result may be some roundings off.
TEST_P(Composed, ProgramsEqualTheReference) {
  const auto& [c, compute] = GetParam();
  const TypedCase t = composed_program(c, compute);
  Session s(compile(t.graph, {.target = Target::cpu(2)}));
  const std::vector<ValueId> inputs = t.graph.inputs();
  for (std::size_t i = 0; i < inputs.size(); ++i)
    s.input(t.graph.value(inputs[i]).name).copy_from(t.inputs[i]);
  s.run();
  for (const auto& [name, want] : rounded_outputs(t)) {
    const Tensor got = s.output(name);
    double size = 1.0;
    for (std::int64_t i = 0; i < want.numel(); ++i) size = std::max(size, std::abs(want.get(i)));
    for (std::int64_t i = 0; i < want.numel(); ++i)
      ASSERT_NEAR(got.get(i), want.get(i), (4e-5 + 16 * rounding(compute)) * size)
          << name << ", element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Composed, testing::ValuesIn(all_composed()), composed_name);

class Refusals : public testing::Test {
 protected:
  Value f32(const Shape& shape) { return input(g, cat("x", g.inputs().size()), {DType::F32, shape}); }
  Value i64(const Shape& shape) { return input(g, cat("x", g.inputs().size()), {DType::I64, shape}); }
  template <class E, class Call>
  static void expect(Call&& call, std::string_view part) {
    const std::string message = message_of<E>(call);
    EXPECT_TRUE(says(message, part, std::string_view("test_composed.cpp:")));
  }
  Graph g;
};

TEST_F(Refusals, ConvTranspose2d) {
  const Value x = f32({1, 4, 3, 3}), w = f32({4, 2, 3, 3});
  expect<ShapeError>([&] { conv_transpose2d(x, f32({3, 2, 3, 3})); }, "expects 3 input channels in 1 groups");
  expect<ShapeError>([&] { conv_transpose2d(f32({4, 3, 3}), w); }, "must have rank 4");
  expect<ShapeError>([&] { conv_transpose2d(x, w, f32({3}), {}); }, "bias must be f32[2]");
  expect<ShapeError>([&] { conv_transpose2d(x, w, {.groups = 3}); }, "in 3 groups");
  expect<ShapeError>([&] { conv_transpose2d(x, w, {.padding = {3, 3}}); }, "nothing is left of the output");
  expect<UsageError>(
      [&] {
        conv_transpose2d(x, w, {.stride = {2, 2}, .output_padding = {2, 0}});
      },
      "output_padding (2, 0) must be smaller than the stride");
  expect<UsageError>([&] { conv_transpose2d(x, w, {.stride = {0, 1}}); }, "must be 1 or more");
}

TEST_F(Refusals, Normalisations) {
  const Value x = f32({2, 6, 4, 4});
  expect<ShapeError>([&] { group_norm(x, 4); }, "num_groups 4 must divide the 6 channels");
  expect<ShapeError>([&] { group_norm(x, 3, f32({3}), f32({6})); }, "one number per channel, got f32[3]");
  expect<ShapeError>([&] { group_norm(x, 3, f32({6})); }, "given together");
  expect<ShapeError>([&] { group_norm(i64({2, 6}), 3); }, "must be floating");
  expect<ShapeError>([&] { instance_norm(f32({2, 6, 1, 1})); }, "more than one pixel");
  expect<ShapeError>([&] { local_response_norm(f32({2, 6}), 3); }, "rank 3 or more");
  expect<UsageError>([&] { local_response_norm(x, 0); }, "size must be 1 or more");
  expect<UsageError>([&] { normalize(x, 0.5); }, "p must be 1 or more");
  expect<ShapeError>([&] { normalize(x, 2.0, 4); }, "axis 4 is out of range");
}

TEST_F(Refusals, Rearrangements) {
  const Value x = f32({2, 6, 4, 6});
  expect<ShapeError>([&] { pixel_shuffle(x, 2); }, "6 channels");
  expect<ShapeError>([&] { pixel_unshuffle(x, 3); }, "must be multiples of downscale_factor 3");
  expect<UsageError>([&] { pixel_shuffle(x, 0); }, "upscale_factor must be 1 or more");
  expect<UsageError>([&] { interpolate(x, {}); }, "give either size or scale_factor");
  expect<UsageError>([&] { interpolate(x, {.size = {{2, 2}}, .mode = "area"}); }, "got 'area'");
  expect<UsageError>(
      [&] {
        interpolate(x, {.size = {{2, 2}}, .align_corners = true});
      },
      "is for mode 'bilinear'");
  expect<UsageError>([&] { interpolate(x, {.scale_factor = {{0.0, 1.0}}}); }, "greater than 0");
  expect<ShapeError>([&] { max_unpool2d(x, i64({2, 6, 4, 5})); }, "one shape of rank 4");
  expect<ShapeError>(
      [&] {
        max_unpool2d(x, i64({2, 6, 4, 6}), {.output_size = {{3, 3}}});
      },
      "has no place for the 24");
}

TEST_F(Refusals, Einsum) {
  const Value a = f32({2, 3}), b = f32({3, 4});
  expect<ShapeError>([&] { einsum("ij,jk->ik", {a}); }, "'ij,jk->ik' names 2 operands, got 1");
  expect<ShapeError>([&] { einsum("ijk->i", {a}); }, "gives operand 0 3 axes, it is f32[2, 3]");
  expect<ShapeError>([&] { einsum("ij,ik", {a, b}); }, "gives 'i' the sizes 2 and 3");
  expect<UsageError>([&] { einsum("ij->k", {a}); }, "the result's 'k' is in no operand");
  expect<UsageError>([&] { einsum("ij->ii", {a}); }, "names 'i' twice");
  expect<UsageError>([&] { einsum("...j->j", {a}); }, "'.' is no letter");
  expect<ShapeError>([&] { einsum("ij,jk->ik", {i64({2, 3}), i64({3, 4})}); }, "is floating only");
}

TEST_F(Refusals, Losses) {
  const Value x = f32({4, 3});
  expect<ShapeError>([&] { cross_entropy(x, i64({4}), {.weight = f32({4})}); },
                     "weight must be f32[3], one per class");
  expect<ShapeError>([&] { nll_loss(x, i64({3})); }, "labels must have shape [4]");
  expect<ShapeError>([&] { l1_loss(x, f32({4})); }, "must have one type");
  expect<UsageError>([&] { smooth_l1_loss(x, x, {.beta = -1.0}); }, "beta must not be negative");
  expect<UsageError>([&] { huber_loss(x, x, {.delta = 0.0}); }, "greater than 0");
  expect<UsageError>([&] { sigmoid_focal_loss(x, x, {.gamma = 0.5}); }, "gamma must be 0, or 1 and more");
  expect<ShapeError>([&] { dice_loss(f32({4}), f32({4})); }, "a row axis and more");
  expect<ShapeError>([&] { triplet_margin_loss(x, x, f32({4, 2})); }, "anchor and negative");
  expect<ShapeError>([&] { generalized_box_iou_loss(x, x); }, "must hold left, top, right and bottom");
  expect<ShapeError>([&] { generalized_box_iou_loss(x, f32({4, 4})); }, "must have one type");
  expect<ShapeError>([&] { arc_face(x, f32({5, 2}), i64({4})); }, "weight [C, D] of one type");
  expect<ShapeError>([&] { arc_face(x, f32({5, 3}), i64({3})); }, "labels must have shape [4]");
  expect<UsageError>([&] { arc_face(x, f32({5, 3}), i64({4}), {.margin = 2.0}); }, "margin must be an angle");
  expect<UsageError>([&] { arc_face(x, f32({5, 3}), i64({4}), {.scale = 0.0}); }, "scale must be positive");
  expect<ShapeError>([&] { hinge_loss(x, x, {.weights = f32({3})}); }, "weights must be f32[4], one per row");
}

TEST_F(Refusals, Recurrent) {
  const Value x = f32({4, 3, 6}), w_ih = f32({8, 6}), w_hh = f32({8, 2}), bias = f32({8});
  expect<ShapeError>([&] { lstm(f32({4, 6}), {w_ih, w_hh}); }, "lstm: x must be [T, N, I], got f32[4, 6]");
  expect<ShapeError>([&] { lstm(x, {w_ih, f32({6, 2})}); }, "lstm: w_hh must be [4 H, H], got f32[6, 2]");
  expect<ShapeError>([&] { gru(x, {w_ih, {}}); }, "gru: w_hh must be [3 H, H]");
  expect<ShapeError>([&] { lstm(x, {f32({8, 5}), w_hh}); }, "lstm: w_ih must be [8, 6] for x f32[4, 3, 6]");
  expect<UsageError>([&] { lstm(x, {w_ih, w_hh, bias}); }, "b_ih and b_hh come together or not at all");
  expect<ShapeError>([&] { lstm(x, {w_ih, w_hh, bias, f32({2})}); }, "b_ih and b_hh must be [8]");
  expect<ShapeError>([&] { lstm(x, {w_ih, w_hh}, f32({2, 3})); }, "h0 must have shape [3, 2]");
  expect<UsageError>([&] { rnn(x, {f32({2, 6}), f32({2, 2})}, "gelu"); }, "must be tanh or relu, got 'gelu'");
}

// A class that is none shows itself, and an ignored one does not count.
TEST(NllLoss, LabelsThatAreNoClass) {
  Graph graph;
  const Value x = reshape(constant(graph, Tensor::of({-1, -2, -3, -4})), {2, 2});
  const auto at = [&](std::int64_t first, std::int64_t second) {
    const std::int64_t l[2] = {first, second};
    return eval(nll_loss(x, constant(graph, Tensor::from<std::int64_t>({2}, l)))).item();
  };
  EXPECT_DOUBLE_EQ(at(0, 1), 2.5);
  EXPECT_DOUBLE_EQ(at(-100, 1), 4.0);
  EXPECT_TRUE(std::isnan(at(0, 2)));
  EXPECT_TRUE(std::isnan(at(-1, 0)));
}

// Rows of weight 0, the padding of a short batch, change no mean.
TEST(RowWeights, OfEveryLoss) {
  Graph graph;
  const Value x = reshape(constant(graph, Tensor::of({0.1, 0.9, 0.4, 0.2, 0.7, 0.7})), {3, 2});
  const Value t = reshape(constant(graph, Tensor::of({0, 1, 1, 0.5, 1, 0})), {3, 2});
  const Value w = constant(graph, Tensor::of({1, 1, 0}));
  const auto front = [](Value v) { return slice(v, 0, 0, 2); };
  const auto same = [&](const auto& loss) {
    EXPECT_NEAR(eval(loss(x, t, w)).item(), eval(loss(front(x), front(t), Value{})).item(), 1e-6);
  };
  same([](Value a, Value b, Value v) { return l1_loss(a, b, {.weights = v}); });
  same([](Value a, Value b, Value v) { return smooth_l1_loss(a, b, {.beta = 0.3, .weights = v}); });
  same([](Value a, Value b, Value v) { return huber_loss(a, b, {.delta = 0.3, .weights = v}); });
  same([](Value a, Value b, Value v) { return kl_div(a, b, {.batchmean = true, .weights = v}); });
  same([](Value a, Value b, Value v) { return dice_loss(a, b, {.weights = v}); });
  same([](Value a, Value b, Value v) { return hinge_loss(a, b, {.weights = v}); });
  same([](Value a, Value b, Value v) {
    return sigmoid_focal_loss(a, b, {.reduction = Reduction::Mean, .weights = v});
  });
  same([](Value a, Value b, Value v) { return triplet_margin_loss(a, b, square(b), {.weights = v}); });
}

}  // namespace
}  // namespace ingot::test
