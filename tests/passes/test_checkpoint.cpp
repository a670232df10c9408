// Checkpointing: the step's peak falls to the budget, what a step computes stays, running statistics move
// once.
#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/op/verify.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/norm.h"
#include "core/ops/reduce.h"
#include "core/passes/pass.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

// Blocks of convolution, batch norm and ReLU, every second one with a residual, and all gradients.
Graph blocks(int depth, DType dtype = DType::F32) {
  Graph g;
  const Value image = input(g, "x", {DType::F32, {4, 8, 12, 12}});
  Value x = cast(image, dtype);
  std::vector<Value> weights;
  for (int i = 0; i < depth; ++i) {
    const auto named = [&](const char* what) { return cat("block", i, ".", what); };
    const auto state = [&](const char* what, double low, double high) {
      return parameter(g, named(what), {DType::F32, {8}}, Init::uniform(low, high));
    };
    Scope scope(g, cat("block", i));
    const Value w = parameter(g, named("weight"), {DType::F32, {8, 8, 3, 3}}, Init::normal(0, 0.1));
    const Value gamma = state("gamma", 0.5, 1.5), beta = state("beta", -0.5, 0.5);
    const Value mean = buffer(g, named("mean"), {DType::F32, {8}}, Init::constant(0));
    const Value var = buffer(g, named("var"), {DType::F32, {8}}, Init::constant(1));
    const BatchNormResult b =
        batch_norm(conv2d(x, cast(w, dtype), {.padding = {1, 1}}), gamma, beta, mean, var);
    g.add_update(mean.id(), b.running_mean.id());
    g.add_update(var.id(), b.running_var.id());
    x = relu(i % 2 == 1 ? add(b.y, x) : b.y);
    for (const Value& p : {w, gamma, beta}) weights.push_back(p);
  }
  const Value loss = mean(square(cast(x, DType::F32)));
  const std::vector<Value> gradients = differentiate(g, loss, weights);
  g.add_output("loss", loss.id());
  for (std::size_t i = 0; i < weights.size(); ++i) g.add_output(cat("grad", i), gradients[i].id());
  return g;
}

struct Ran {
  std::vector<std::vector<double>> outputs, states;
};
Ran run(const Graph& g, const ProgramPtr& p) {
  Session s(p, {.seed = 3, .poison = true});
  const Tensor x = s.input("x");
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(0.37 * static_cast<double>(i)));
  for (int k = 0; k < 2; ++k) s.run();
  Ran r;
  const auto values = [](const Tensor& t) {
    std::vector<double> v;
    for (std::int64_t i = 0; i < t.numel(); ++i) v.push_back(t.get(i));
    return v;
  };
  for (const Output& o : g.outputs()) r.outputs.push_back(values(s.output(o.name)));
  for (const State& st : g.states()) r.states.push_back(values(s.state(st.name)));
  return r;
}

void expect_near(const std::vector<std::vector<double>>& got, const std::vector<std::vector<double>>& want,
                 double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t k = 0; k < want.size(); ++k) {
    double most = 1e-6;
    for (const double w : want[k]) most = std::max(most, std::abs(w));
    for (std::size_t i = 0; i < want[k].size(); ++i)
      ASSERT_NEAR(got[k][i], want[k][i], tolerance * most) << "value " << k << ", element " << i;
  }
}

int count(const Graph& g, std::string_view op) {
  int n = 0;
  for (const Node& node : g.nodes()) n += node.op == op;
  return n;
}

TEST(Checkpoint, MeetsBudgetsAndComputesTheSame) {
  const Graph g = blocks(8);
  CompileOptions options;
  options.target = Target::cpu(1);
  const ProgramPtr whole = compile(g, options);
  EXPECT_EQ(whole->recomputed().nodes, 0u) << "the CPU spends no time where nobody asked";
  const Ran want = run(g, whole);
  std::size_t nodes = 0;
  for (const double share : {0.9, 0.8, 0.7, 0.6}) {
    SCOPED_TRACE(share);
    options.memory_budget =
        static_cast<std::size_t>(share * static_cast<double>(whole->report().total_bytes));
    const ProgramPtr p = compile(g, options);
    EXPECT_LE(p->report().total_bytes, options.memory_budget);
    EXPECT_GT(p->recomputed().nodes, nodes);
    EXPECT_LT(p->recomputed().bytes_after, p->recomputed().bytes_before);
    EXPECT_GT(p->recomputed().seconds, 0.0);
    EXPECT_EQ(count(p->graph(), "batch_norm"), 8) << "its running statistics move once";
    nodes = p->recomputed().nodes;
    const Ran got = run(g, p);
    expect_near(got.outputs, want.outputs, 1e-4);
    expect_near(got.states, want.states, 0.0);
  }
}

// On a machine where convolutions cost much, what a residual was added to is repeated with it.
TEST(Checkpoint, ResidualsAreAddedAgain) {
  const Graph g = blocks(8);
  CompileOptions options;
  options.target = Target::cpu(1);
  const ProgramPtr whole = compile(g, options);
  options.memory_budget = whole->report().total_bytes * 6 / 10;
  options.node_seconds = [](const Graph&, const Node& n) { return n.op == "conv2d" ? 1.0 : 1e-6; };
  const ProgramPtr p = compile(g, options);
  int added = 0;
  for (const Node& n : p->graph().nodes())
    added += n.op == "batch_norm_apply" && n.attrs.as<BatchNormApplyAttrs>().has_residual;
  EXPECT_GT(added, 0);
  expect_near(run(g, p).outputs, run(g, whole).outputs, 1e-4);
}

TEST(Checkpoint, CheapResultsGoFirst) {
  const Graph g = blocks(8);
  CompileOptions options;
  options.target = Target::cpu(1);
  options.memory_budget = compile(g, options)->report().total_bytes * 95 / 100;
  const ProgramPtr p = compile(g, options);
  EXPECT_GT(count(p->graph(), "batch_norm_apply"), 0);
  EXPECT_EQ(count(p->graph(), "conv2d"), 8) << "no convolution was repeated while a batch norm would do";
}

// A machine on which a convolution costs nothing repeats convolutions.
TEST(Checkpoint, CostsDecide) {
  const Graph g = blocks(8);
  CompileOptions options;
  options.target = Target::cpu(1);
  options.memory_budget = compile(g, options)->report().total_bytes * 95 / 100;
  options.node_seconds = [](const Graph&, const Node& n) { return n.op == "conv2d" ? 1e-9 : 1.0; };
  EXPECT_GT(count(compile(g, options)->graph(), "conv2d"), 8);
}

TEST(Checkpoint, InHalfPrecision) {
  const Graph g = blocks(6, DType::BF16);
  CompileOptions options;
  options.target = Target::cpu(1);
  const ProgramPtr whole = compile(g, options);
  options.memory_budget = whole->report().total_bytes * 92 / 100;
  const ProgramPtr p = compile(g, options);
  EXPECT_GT(p->recomputed().nodes, 0u);
  expect_near(run(g, p).outputs, run(g, whole).outputs, 0.03);
}

TEST(Checkpoint, SaysWhatIsNeededAtLeast) {
  const Graph g = blocks(4);
  CompileOptions options;
  options.target = Target::cpu(1);
  options.memory_budget = 1000;
  try {
    compile(g, options);
    FAIL() << "no program fits into 1000 bytes";
  } catch (const UsageError& e) {
    EXPECT_NE(e.message().find("the budget is 1000"), std::string::npos) << e.message();
    EXPECT_NE(e.message().find("smaller batch"), std::string::npos) << e.message();
  }
}

// A share of the time instead of a budget, and a graph that needs nothing of it.
TEST(Checkpoint, SpendsItsShareOfTheTime) {
  const Graph g = blocks(8);
  PassContext context;
  EXPECT_TRUE(checkpoint(g, context) == g) << "neither a budget nor a share";
  double before = -1.0;
  std::size_t alive = SIZE_MAX;
  for (const double share : {0.01, 0.05, 0.2}) {
    PassContext some;
    some.recompute_share = share;
    const Graph after = checkpoint(g, some);
    verify(after);
    EXPECT_LE(some.recomputed.seconds, share * some.recomputed.seconds_before);
    EXPECT_GE(some.recomputed.seconds, before);
    EXPECT_LE(some.recomputed.bytes_after, alive);
    before = some.recomputed.seconds;
    alive = some.recomputed.bytes_after;
  }
  EXPECT_GT(before, 0.0);
}

}  // namespace
}  // namespace ingot
