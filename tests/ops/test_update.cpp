// Three steps of each rule against torch.optim (float64, one parameter of two elements).
#include "core/ops/update.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/ops/creation.h"
#include "core/runtime/session.h"
#include "tests/ops/eval.h"
#include "tests/support/formula.h"

namespace ingot {
namespace {

using Doubles = std::vector<double>;

// The parameter after three steps with the gradients {0.5, -1}, {-0.25, 2}, {1, 0.125}, scaled by 2 and
// halved here, so that grad_scale counts.
Doubles after_three_steps(std::string_view name, const Attrs& attrs, int states, double lr) {
  const double grads[3][2] = {{0.5, -1}, {-0.25, 2}, {1, 0.125}};
  std::vector<Tensor> kept{Tensor::from<double>({2}, Doubles{1.0, -2.0})};
  for (int i = 0; i < states; ++i) kept.push_back(Tensor::zeros({DType::F64, {2}}));
  for (int step = 1; step <= 3; ++step) {
    Graph g;
    const auto scalar = [&](double v) { return full(g, v, {DType::F64, {}}); };
    const double* d = grads[step - 1];
    std::vector<Value> operands{scalar(lr), scalar(step), scalar(2.0), constant(g, kept[0]),
                                constant(g, Tensor::from<double>({2}, Doubles{d[0] / 2, d[1] / 2}))};
    for (std::size_t i = 1; i < kept.size(); ++i) operands.push_back(constant(g, kept[i]));
    const auto next = apply(name, operands, attrs);
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = eval(next.at(i));
  }
  return values(kept[0]);
}

void expect_near(const Doubles& got, const Doubles& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-12) << i;
}

TEST(Update, Sgd) {
  expect_near(after_three_steps("sgd", SgdAttrs{1}, 0, 0.1), {0.875, -2.1125000000000003});
}

TEST(Update, SgdMomentum) {
  expect_near(after_three_steps("sgd", SgdAttrs{1, 0.9, 0.25, 0.01}, 1, 0.1),
              {0.8203718213125, -2.0137842676249997});
}

TEST(Update, SgdNesterov) {
  expect_near(after_three_steps("sgd", SgdAttrs{1, 0.9, 0.0, 0.0, true}, 1, 0.1), {0.7058, -2.22185});
}

TEST(Update, Adam) {
  expect_near(after_three_steps("adam", AdamAttrs{1, 0.8, 0.95, 1e-6, 0.1}, 2, 0.1),
              {0.7839227906202132, -1.9507548496449323});
}

TEST(Update, AdamW) {
  expect_near(after_three_steps("adam", AdamAttrs{1, 0.8, 0.95, 1e-6, 0.1, true}, 2, 0.1),
              {0.7828663912497353, -1.918588139481412});
}

TEST(Update, Rmsprop) {
  expect_near(after_three_steps("rmsprop", RmspropAttrs{1, 0.9, 1e-6, 0.1}, 1, 0.1),
              {0.5000072629968524, -1.9415010324250046});
}

TEST(Update, RmspropCenteredMomentum) {
  expect_near(after_three_steps("rmsprop", RmspropAttrs{1, 0.9, 1e-6, 0.1, 0.5, true}, 3, 0.1),
              {0.265509259208238, -1.8140453635644966});
}

// Whatever the gradients hold, in place and not, by every candidate of the CPU: the bits stay.
TEST(Update, StepZeroChangesNoBit) {
  const struct {
    const char* name;
    Attrs attrs;
    int states;
  } rules[] = {{"sgd", SgdAttrs{1, 0.9, 0.0, 0.01}, 1},
               {"sgd", SgdAttrs{1}, 0},
               {"adam", AdamAttrs{1, 0.9, 0.999, 1e-8, 0.01}, 2},
               {"adam", AdamAttrs{1, 0.9, 0.999, 1e-8, 0.01, true}, 2},
               {"rmsprop", RmspropAttrs{1, 0.9, 1e-8, 0.01, 0.9}, 2},
               {"rmsprop", RmspropAttrs{1, 0.9, 1e-8, 0.01, 0.9, true}, 3}};
  const Tensor start = formula::unit("kept", {1000});
  for (const auto& rule : rules)
    for (const bool in_place : {true, false}) {
      SCOPED_TRACE(cat(rule.name, rule.states, in_place ? " in place" : ""));
      Graph g;
      const auto scalar = [&](double v) { return full(g, v, {DType::F32, {}}); };
      std::vector<Value> kept;
      for (int k = 0; k <= rule.states; ++k)
        kept.push_back(state(g, StateRole::Optimizer, cat("s", k), start.type(), Init::from(start), false));
      std::vector<Value> operands{scalar(0.1), scalar(0.0), scalar(0.5), kept[0],
                                  input(g, "gradient", start.type())};
      operands.insert(operands.end(), kept.begin() + 1, kept.end());
      const auto next = apply(rule.name, operands, rule.attrs);
      for (std::size_t k = 0; k < kept.size(); ++k) g.add_update(kept[k].id(), next.at(k).id());
      CompileOptions options;
      options.target = Target::cpu(2);
      options.in_place = in_place;
      Session s(compile(g, options));
      for (const double v :
           {1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        s.input("gradient").copy_from(Tensor::full(start.type(), v));
        s.run();
        for (std::size_t k = 0; k < kept.size(); ++k)
          EXPECT_TRUE(bitwise_equal(s.state(cat("s", k)), start)) << k << " with gradients of " << v;
      }
    }
}

TEST(Update, PairsForReuse) {
  const auto pairs = op("sgd").in_place(SgdAttrs{2, 0.9}, 9);
  const std::vector<std::array<int, 2>> expected{{3, 0}, {4, 1}, {7, 2}, {8, 3}};
  EXPECT_EQ(pairs, expected);
  EXPECT_EQ(op("sgd").in_place(SgdAttrs{2}, 7).size(), 2u);
}

TEST(Update, RefusesWhatDoesNotFit) {
  Graph g;
  const Value s = full(g, 1.0, {DType::F32, {}}), p = full(g, 1.0, {DType::F32, {3}}),
              q = full(g, 1.0, {DType::F32, {2}});
  const Value good[] = {s, s, s, p, p}, shape[] = {s, s, s, p, q}, few[] = {s, s, s, p, p, p, p};
  EXPECT_NO_THROW(apply("sgd", good, SgdAttrs{}));
  EXPECT_THROW(apply("sgd", shape, SgdAttrs{}), ShapeError);
  EXPECT_THROW(apply("sgd", few, SgdAttrs{2, 0.9}), UsageError);
  EXPECT_THROW(apply("sgd", good, SgdAttrs{1, 0.0, 0.0, 0.0, true}), UsageError);
}

TEST(Update, GlobalNorm) {
  Graph g;
  const Value ts[] = {constant(g, Tensor::of({3})), full(g, 2.0, {DType::F32, {2, 2}})};
  EXPECT_EQ(eval(global_norm(ts)).item(), 5.0);
}

}  // namespace
}  // namespace ingot
