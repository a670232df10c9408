#include "core/autodiff/differentiate.h"

#include <array>
#include <cmath>

#include "core/op/verify.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/ops/update.h"
#include "core/ops/view.h"
#include "core/runtime/interpreter.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

Value vector_input(Graph& g, const char* name, std::int64_t n) {
  return input(g, name, {DType::F32, {n}});
}

// d loss / d wrt at the given feeds.
std::vector<Tensor> gradients(Graph& g, Value loss, const std::vector<Value>& wrt,
                              const NamedTensors& feeds) {
  const auto grads = differentiate(g, loss, wrt);
  for (std::size_t i = 0; i < grads.size(); ++i) output(cat("g", i), grads[i]);
  verify(g);
  const Evaluated r = evaluate(g, feeds, {}, {.as_f64 = true});
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < grads.size(); ++i) out.push_back(r.outputs.at(cat("g", i)));
  return out;
}

void expect_values(const Tensor& t, std::initializer_list<double> want) {
  ASSERT_EQ(t.numel(), static_cast<std::int64_t>(want.size()));
  std::int64_t i = 0;
  for (const double w : want) {
    EXPECT_NEAR(t.get(i), w, 1e-9) << "element " << i;
    ++i;
  }
}

TEST(Differentiate, KnownFormulas) {
  Graph g;
  const Value x = vector_input(g, "x", 2), y = vector_input(g, "y", 2);
  const auto d = gradients(g, sum(square(x) * y + exp(y)), {x, y},
                           {{"x", Tensor::of({1.f, 3.f})}, {"y", Tensor::of({2.f, 0.f})}});
  expect_values(d[0], {4.0, 0.0});                        // 2 x y
  expect_values(d[1], {1.0 + std::exp(2.0), 9.0 + 1.0});  // x^2 + e^y
}

TEST(Differentiate, SumsOverBroadcastAxes) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 2}}), b = vector_input(g, "b", 2);
  const auto d = gradients(g, sum(x * b), {b},
                           {{"x", Tensor::of({1, 2, 3, 4}).reshaped({2, 2})}, {"b", Tensor::of({5, 6})}});
  expect_values(d[0], {4.0, 6.0});
}

// A value that two branches read gets the sum of both contributions: d (x^2 + x^3) = 2x + 3x^2.
TEST(Differentiate, Diamond) {
  Graph g;
  const Value x = vector_input(g, "x", 1);
  const Value s = square(x);
  const auto d = gradients(g, sum(s + s * x), {x}, {{"x", Tensor::of({3.f})}});
  expect_values(d[0], {6.0 + 27.0});
}

TEST(Differentiate, OneOperandTwice) {
  Graph g;
  const Value x = vector_input(g, "x", 1);
  const auto d = gradients(g, sum(x * x), {x}, {{"x", Tensor::of({5.f})}});
  expect_values(d[0], {10.0});
}

// The same weight in two layers.
TEST(Differentiate, SharedWeights) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {1, 1}});
  const Value w = input(g, "w", {DType::F32, {1, 1}});
  const auto d =
      gradients(g, sum(matmul(matmul(x, w), w)), {w, x},
                {{"x", Tensor::of({2}).reshaped({1, 1})}, {"w", Tensor::of({3}).reshaped({1, 1})}});
  expect_values(d[0], {12.0});  // 2 x w
  expect_values(d[1], {9.0});
}

// d/dx of sum(x^3) is 3x^2, of which the derivative of the sum is 6x.
TEST(Differentiate, SecondOrder) {
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value first = differentiate(g, sum(x * x * x), std::array{x})[0];
  const auto d = gradients(g, sum(first), {x}, {{"x", Tensor::of({2.f, -1.f})}});
  expect_values(d[0], {12.0, -6.0});
}

TEST(Differentiate, IntermediateValuesAndTheLossItself) {
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value h = square(x);
  const Value loss = sum(h * 3.0);
  const auto d = gradients(g, loss, {h, loss}, {{"x", Tensor::of({2, 4})}});
  expect_values(d[0], {3.0, 3.0});
  expect_values(d[1], {1.0});
}

TEST(Differentiate, ZerosWhereNothingFlows) {
  Graph g;
  const Value x = vector_input(g, "x", 2), unused = vector_input(g, "u", 3);
  const auto d = gradients(g, sum(x), {unused, x}, {{"x", Tensor::of({2, 4})}, {"u", Tensor::of({1, 1, 1})}});
  expect_values(d[0], {0.0, 0.0, 0.0});
  expect_values(d[1], {1.0, 1.0});
}

// What passes only through integers or truth values counts as constant.
TEST(Differentiate, IntegersStopTheGradient) {
  Graph g;
  const Value x = vector_input(g, "x", 3);
  const Value index = cast(argmax(x, 0), DType::F32);
  const auto d = gradients(g, sum(x) * index, {x}, {{"x", Tensor::of({2, 4, 9})}});
  expect_values(d[0], {2.0, 2.0, 2.0});
}

// Nodes that lie on no path from `wrt` to the loss get no backward nodes.
TEST(Differentiate, VisitsOnlyThePath) {
  Graph g;
  const Value x = vector_input(g, "x", 2), c = vector_input(g, "c", 2);
  const Value loss = sum(x * exp(sin(c)));
  differentiate(g, loss, std::array{x});
  for (const Node& n : g.nodes()) {
    EXPECT_NE(n.op, "cos");
    EXPECT_TRUE(n.name.find("exp") == std::string::npos || n.name == "exp") << n.name;
  }
}

TEST(Differentiate, NamesAndLinesAreTheForwardNodes) {
  Graph g;
  const Value x = vector_input(g, "x", 2);
  Value y;
  {
    const Scope scope(g, "fc", {"user.cpp", 42});
    y = relu(x);
  }
  const Value loss = sum(y, {}, false, {"user.cpp", 43});
  const std::size_t forward = g.nodes().size();
  {
    const Scope scope(g, "elsewhere", {"user.cpp", 99});
    differentiate(g, loss, std::array{x});
  }
  ASSERT_GT(g.nodes().size(), forward);
  bool saw_relu = false;
  for (std::size_t n = forward; n < g.nodes().size(); ++n) {
    const Node& node = g.nodes()[n];
    EXPECT_TRUE(node.name == "grad/fc.relu" || node.name == "grad/reduce_sum") << node.name;
    EXPECT_EQ(node.loc.line, node.name == "grad/fc.relu" ? 42u : 43u);
    saw_relu = saw_relu || node.name == "grad/fc.relu";
  }
  EXPECT_TRUE(saw_relu);
  EXPECT_EQ(sum(x).graph().nodes().back().name, "reduce_sum") << "the user's scopes are as before";
}

TEST(Differentiate, RefusesALossOfManyElements) {
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value y = square(x, {"user.cpp", 5});
  EXPECT_TRUE(says(message_of<UsageError>([&] { differentiate(g, y, std::array{x}); }), "one element",
                   "mean()", "user.cpp:5"));
}

TEST(Differentiate, RefusesIntegers) {
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value i = input(g, "i", {DType::I64, {2}});
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { differentiate(g, sum(x), std::array{i}); }), "'i'", "floating"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { differentiate(g, argmax(x, 0), std::array{x}); }), "floating"));
}

TEST(Differentiate, NamesTheOpWithoutARule) {
  OpDef def;
  def.name = "test_no_rule";
  def.infer = [](const InferArgs& a) { return std::vector<TensorType>{a.inputs[0]}; };
  def.not_differentiable = "nobody wrote one";
  Registry::instance().add(def);
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value y = apply1("test_no_rule", {x}, {}, {"user.cpp", 8});
  const Value loss = sum(y);
  const std::size_t scopes = g.build.scopes.size();
  EXPECT_TRUE(says(message_of<UsageError>([&] { differentiate(g, loss, std::array{x}); }), "'test_no_rule'",
                   "nobody wrote one", "user.cpp:8"));
  EXPECT_EQ(g.build.scopes.size(), scopes);
  // Off the path it does no harm.
  const Value z = vector_input(g, "z", 2);
  EXPECT_NO_THROW(differentiate(g, sum(z * y), std::array{z}));
}

TEST(Differentiate, ChecksWhatARuleGives) {
  OpDef def;
  def.name = "test_wrong_rule";
  def.infer = [](const InferArgs& a) { return std::vector<TensorType>{a.inputs[0]}; };
  def.gradient = [](GradContext& c) { return std::vector<Value>{sum(c.grad())}; };
  Registry::instance().add(def);
  Graph g;
  const Value x = vector_input(g, "x", 2);
  const Value loss = sum(apply1("test_wrong_rule", {x}));
  EXPECT_TRUE(says(message_of<ShapeError>([&] { differentiate(g, loss, std::array{x}); }), "test_wrong_rule",
                   "f32[2]"));
}

}  // namespace
}  // namespace ingot
