// Mixed precision: what runs in which type, what is cast where, and that training in it learns.
#include "core/passes/precision.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/op/builder.h"
#include "core/op/verify.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/reduce.h"
#include "core/runtime/program.h"
#include "core/runtime/session.h"

namespace ingot {
namespace {

const PrecisionOptions kBf16{.compute = DType::BF16, .overrides = {}};

// The result's type of the only node of that op.
DType type_of(const Graph& g, std::string_view op) {
  const Node* found = nullptr;
  for (const Node& n : g.nodes())
    if (n.op == op) {
      EXPECT_EQ(found, nullptr) << "two nodes of " << op;
      found = &n;
    }
  EXPECT_NE(found, nullptr) << op;
  return found == nullptr ? DType::I64 : g.type(found->outputs[0]).dtype;
}
int count(const Graph& g, std::string_view op) {
  int n = 0;
  for (const Node& node : g.nodes()) n += node.op == op;
  return n;
}

// conv, batch norm, ReLU, mean over pixels, product, exp.
Graph small() {
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", {DType::F32, {4, 3, 8, 8}});
  const Value w = parameter(g, "w", {DType::F32, {8, 3, 3, 3}}, Init::normal(0, 0.2));
  Value y;
  {
    const Scope block(g, "block");
    y = conv2d(x, w, {.padding = {1, 1}});
    const Value gamma = parameter(g, "gamma", {DType::F32, {8}}, Init::constant(1)),
                beta = parameter(g, "beta", {DType::F32, {8}}, Init::constant(0)),
                mean = buffer(g, "mean", {DType::F32, {8}}, Init::constant(0)),
                var = buffer(g, "var", {DType::F32, {8}}, Init::constant(1));
    const BatchNormResult b = batch_norm(y, gamma, beta, mean, var);
    g.add_update(mean.id(), b.running_mean.id());
    g.add_update(var.id(), b.running_var.id());
    y = relu(b.y) * 2.0;
  }
  y = mean(y, {2, 3});
  const Value fc = parameter(g, "fc", {DType::F32, {8, 5}}, Init::normal(0, 0.2));
  output("logits", matmul(y, fc));
  output("e", exp(Value{g, g.find_output("logits")}));
  return g;
}

TEST(MixedPrecision, EachOpRunsInTheTypeThatTheRegistrySays) {
  const Graph g = mixed_precision(small(), kBf16);
  verify(g);
  EXPECT_EQ(type_of(g, "conv2d"), DType::BF16);
  EXPECT_EQ(type_of(g, "batch_norm"), DType::BF16) << "follows its image";
  EXPECT_EQ(type_of(g, "relu"), DType::BF16);
  EXPECT_EQ(type_of(g, "mul"), DType::BF16) << "a scalar does not decide";
  EXPECT_EQ(type_of(g, "reduce_mean"), DType::F32);
  EXPECT_EQ(type_of(g, "matmul"), DType::BF16);
  EXPECT_EQ(type_of(g, "exp"), DType::F32);
}

TEST(MixedPrecision, StatesOutputsAndStatisticsStayF32) {
  const Graph g = mixed_precision(small(), kBf16);
  for (const State& s : g.states()) EXPECT_EQ(g.type(s.value).dtype, DType::F32) << s.name;
  for (const Output& o : g.outputs()) EXPECT_EQ(g.type(o.value).dtype, DType::F32) << o.name;
  for (const Update& u : g.updates()) EXPECT_EQ(g.type(u.value), g.type(u.state));
  for (const Node& n : g.nodes()) {
    if (n.op != "batch_norm") continue;
    for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(g.type(n.inputs[i]).dtype, DType::F32) << "operand " << i;
  }
}

TEST(MixedPrecision, AValueIsCastOnceForEachType) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4, 4}}), w = input(g, "w", {DType::F32, {4, 4}});
  output("y", matmul(x, w) + matmul(matmul(w, x), x));
  const Graph mixed = mixed_precision(g, kBf16);
  EXPECT_EQ(count(mixed, "cast"), 3) << "x, w and the result";
}

TEST(MixedPrecision, F32AndNoOptionsChangeNothing) {
  const Graph g = small();
  EXPECT_EQ(mixed_precision(g, {}), g);
}

TEST(MixedPrecision, AnOverrideHoldsForANodeOrAScope) {
  const Graph scope =
      mixed_precision(small(), {.compute = DType::BF16, .overrides = {{"block", Precision::Full}}});
  EXPECT_EQ(type_of(scope, "conv2d"), DType::F32);
  EXPECT_EQ(type_of(scope, "relu"), DType::F32);
  EXPECT_EQ(type_of(scope, "matmul"), DType::BF16);
  const Graph longest = mixed_precision(
      small(), {.compute = DType::BF16,
                .overrides = {{"block", Precision::Full}, {"block.conv2d", Precision::Compute}}});
  EXPECT_EQ(type_of(longest, "conv2d"), DType::BF16);
  EXPECT_EQ(type_of(longest, "relu"), DType::F32);
}

TEST(MixedPrecision, RefusesWhatFitsNothing) {
  EXPECT_THROW(mixed_precision(small(), {.compute = DType::BF16, .overrides = {{"bloc", Precision::Full}}}),
               UsageError);
  EXPECT_THROW(mixed_precision(small(), {.compute = DType::F64, .overrides = {}}), UsageError);
}

TEST(MixedPrecision, GradientsReachF32Weights) {
  Graph f32;
  const Value x = input(f32, "x", {DType::F32, {8, 6}});
  const Value w = parameter(f32, "w", {DType::F32, {6, 4}}, Init::normal(0, 0.3));
  const Value labels = input(f32, "labels", {DType::I64, {8}});
  ValueId loss = cross_entropy(relu(matmul(x, w)), labels).id();
  Graph g = mixed_precision(f32, kBf16, {&loss, 1});
  EXPECT_EQ(g.type(loss).dtype, DType::F32);
  const Value weight{g, g.find_state("w")->value};
  const Value grad = differentiate(g, {g, loss}, {&weight, 1}).at(0);
  EXPECT_EQ(grad.type(), weight.type());
  // Within the rounding of bf16 of the f32 gradient.
  output("grad", grad);
  const Value exact = differentiate(f32, cross_entropy(relu(matmul(x, w)), labels), {&w, 1}).at(0);
  output("grad", exact);
  Session a(compile(g, {}), {.seed = 3}), b(compile(f32, {}), {.seed = 3});
  for (Session* s : {&a, &b}) {
    for (std::int64_t i = 0; i < 48; ++i) s->input("x").set(i, std::sin(static_cast<double>(i)));
    for (std::int64_t i = 0; i < 8; ++i) s->input("labels").set(i, static_cast<double>(i % 4));
    s->run();
  }
  const Tensor got = a.output("grad"), want = b.output("grad");
  double most = 0, apart = 0;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    most = std::max(most, std::abs(want.get(i)));
    apart = std::max(apart, std::abs(want.get(i) - got.get(i)));
  }
  EXPECT_LT(apart, 0.02 * most);
  EXPECT_GT(apart, 0.0) << "it was computed in bf16";
}

// Batch norm goes into the bf16 convolution, whose weight is scaled before its cast.
TEST(MixedPrecision, InferenceFoldsBatchNorm) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 16, 7, 9}});
  const auto state = [&](std::string_view name, double low) {
    return buffer(g, std::string(name), {DType::F32, {16}}, Init::uniform(low, 1.5));
  };
  const Value w = parameter(g, "w", {DType::F32, {16, 16, 3, 3}}, Init::normal(0, 0.1));
  const Value y = batch_norm_infer(conv2d(x, w, {.padding = {1, 1}}), state("gamma", 0.5), state("beta", -1),
                                   state("mean", -1), state("var", 0.5));
  g.add_output("y", y.id());
  const ProgramPtr folded = compile(mixed_precision(g, kBf16), {});
  EXPECT_EQ(count(folded->graph(), "batch_norm_infer"), 0);
  Session a(folded, {.seed = 3}), b(compile(g, {.optimise = false}), {.seed = 3});
  for (Session* s : {&a, &b}) {
    float* to = s->input("x").data<float>();
    for (int i = 0; i < 2 * 16 * 7 * 9; ++i) to[i] = static_cast<float>(i % 23) / 11.0f - 1.0f;
    s->run();
  }
  const Tensor got = a.output("y"), want = b.output("y");
  for (std::int64_t i = 0; i < want.numel(); ++i)
    EXPECT_NEAR(got.get(i), want.get(i), 0.02 * (1.0 + std::abs(want.get(i)))) << "element " << i;
}

}  // namespace
}  // namespace ingot
