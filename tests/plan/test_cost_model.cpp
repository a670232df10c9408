// The cost model's arithmetic on a machine with round figures: which of its terms counts, where operands come
// from, that more work never takes less time, and which efficiency a node gets.
#include "core/plan/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "core/op/registry.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

constexpr std::size_t kF32 = static_cast<std::size_t>(DType::F32);
constexpr std::size_t kBF16 = static_cast<std::size_t>(DType::BF16);

// A GPU, whose arithmetic and traffic overlap.
Machine machine() {
  Machine m;
  m.name = "round";
  m.launch_seconds = 1e-6;
  m.vector[kF32] = 1e9, m.matrix[kF32] = 1e10, m.matrix[kBF16] = 1e11;
  m.levels = {{"L2", 1e4, 1e11, true}, {"memory", 0.0, 1e10, false}};
  return m;
}

// One matmul of n x k by k x n.
Graph product(std::int64_t n, std::int64_t k, DType t = DType::F32) {
  Graph g;
  output("y", matmul(input(g, "a", {t, {n, k}}), input(g, "b", {t, {k, n}})));
  return g;
}
StepCost cost_of(const Machine& m, const Graph& g, const Lowered& how = {}) {
  return predict(m, g, g.nodes().back(), how);
}

TEST(CostModel, TheLargestTermCounts) {
  const Machine m = machine();
  const StepCost compute = cost_of(m, product(100, 1000));
  EXPECT_DOUBLE_EQ(compute.flops, 2e7);
  EXPECT_DOUBLE_EQ(compute.seconds, 2e7 / 1e10 + 1e-6);
  EXPECT_DOUBLE_EQ(compute.roofline_seconds, 2e7 / 1e10);
  EXPECT_EQ(compute.bound, Bound::Compute);
  const StepCost memory = cost_of(m, product(100, 1));
  EXPECT_DOUBLE_EQ(memory.bytes, 4.0 * (100 + 100 + 10000));
  EXPECT_DOUBLE_EQ(memory.seconds, memory.bytes / 1e10 + 1e-6) << "beyond twice the L2 all is the memory's";
  EXPECT_EQ(memory.bound, Bound::Memory);
  const StepCost small = cost_of(m, product(4, 4));
  EXPECT_EQ(small.bound, Bound::Latency);
  EXPECT_DOUBLE_EQ(cost_of(m, product(4, 4), {"", 5}).seconds - small.seconds, 4e-6);
}

TEST(CostModel, TheLevelThatHoldsTheWorkingSet) {
  Machine m = machine();
  m.launch_seconds = 0.0;
  m.matrix[kF32] = 1e18;
  const auto a_byte = [&](std::int64_t n) {
    const StepCost c = cost_of(m, product(n, 1));
    return c.seconds / c.bytes;
  };
  EXPECT_DOUBLE_EQ(a_byte(40), 1e-11) << "6720 bytes lie in the L2";
  EXPECT_DOUBLE_EQ(a_byte(80), 1e-10);
  EXPECT_GT(a_byte(60), 1.5e-11) << "between once and twice the L2";
  EXPECT_LT(a_byte(60), 9e-11);
}

TEST(CostModel, ACpuWaitsForItsOperands) {
  Machine m = machine();
  m.threads = 1;
  const StepCost c = cost_of(m, product(100, 1000));
  EXPECT_DOUBLE_EQ(c.seconds, 2e7 / 1e10 + c.bytes / 1e10 + 1e-6);
  EXPECT_DOUBLE_EQ(c.roofline_seconds, 2e7 / 1e10);
  EXPECT_EQ(c.bound, Bound::Compute);
}

// Operands come from where their last touch left them; what is read again comes from the working set's level.
TEST(CostModel, OperandsThatACacheStillHas) {
  Machine m = machine();
  m.launch_seconds = 0.0, m.vector[kF32] = 1e18;
  Amounts a{.flops = 1.0, .bytes = 30e3, .working_set = 30e3};
  const auto seconds = [&](std::vector<Touched> touched) {
    a.touched = std::move(touched);
    return predict(m, Work::Elementwise, a).seconds;
  };
  EXPECT_DOUBLE_EQ(seconds({}), 30e3 / 1e10);
  EXPECT_DOUBLE_EQ(seconds({{10e3, 5e3}, {20e3, 1e6}}), 10e3 / 1e11 + 20e3 / 1e10);
  EXPECT_DOUBLE_EQ(seconds({{10e3, 5e3}}), 10e3 / 1e11 + 20e3 / 1e10) << "20 kB are read again";
  EXPECT_DOUBLE_EQ(seconds({{30e3, 5e3}, {30e3, 1e6}}), 15e3 / 1e11 + 15e3 / 1e10) << "half is read";
}

TEST(CostModel, MoreWorkNeverTakesLess) {
  Machine m = machine();
  m.lanes = 8;
  m.efficiencies = {{.work = Work::Product, .compute = 0.5, .memory = 0.5, .result_cost = 20.0}};
  for (const std::function<Graph(std::int64_t)>& grow :
       {std::function<Graph(std::int64_t)>([](std::int64_t i) { return product(i, 16); }),
        std::function<Graph(std::int64_t)>([](std::int64_t i) { return product(16, i); })}) {
    StepCost before;
    for (std::int64_t i = 1; i < 400; ++i) {
      const StepCost c = cost_of(m, grow(i));
      EXPECT_GT(c.flops, before.flops);
      EXPECT_GT(c.bytes, before.bytes);
      EXPECT_GE(c.seconds, before.seconds) << i;
      EXPECT_LE(c.roofline_seconds, c.seconds) << i;
      before = c;
    }
  }
}

TEST(CostModel, ShortSumsPayForTheirResults) {
  Machine m = machine();
  m.launch_seconds = 0.0;
  m.efficiencies = {{.work = Work::Product, .result_cost = 100.0}};
  EXPECT_DOUBLE_EQ(cost_of(m, product(100, 100)).seconds, 2.0 * 2e6 / 1e10);
}

TEST(CostModel, ChannelsThatFillNoVectorCostAWholeOne) {
  Machine m = machine();
  m.launch_seconds = 0.0, m.levels = {{"memory", 0.0, 1e30, false}}, m.lanes = 16;
  const auto seconds = [&](std::int64_t out, std::int64_t in, const char* op) {
    Graph g;
    Value x = input(g, "x", {DType::F32, {2, in, 8, 8}}), w = input(g, "w", {DType::F32, {out, in, 1, 1}});
    Value y = input(g, "y", {DType::F32, {2, out, 8, 8}});
    output("r", op == std::string("conv2d")  ? conv2d(x, w)
                : op == std::string("input") ? conv2d_grad_input(y, w, {.input_shape = x.shape()})
                                             : conv2d_grad_weight(x, y, {.weight_shape = w.shape()}));
    return cost_of(m, g).seconds;
  };
  for (const char* op : {"conv2d", "weight"}) {
    EXPECT_DOUBLE_EQ(seconds(6, 32, op), seconds(16, 32, op)) << op;
    EXPECT_GT(seconds(17, 32, op), 1.9 * seconds(16, 32, op)) << op;
    EXPECT_LT(seconds(32, 6, op), 0.2 * seconds(32, 32, op)) << op;
  }
  EXPECT_DOUBLE_EQ(seconds(32, 6, "input"), seconds(32, 16, "input"));
  EXPECT_LT(seconds(6, 32, "input"), 0.2 * seconds(32, 32, "input"));
}

TEST(CostModel, TheFirstEfficiencyThatFits) {
  Machine m = machine();
  m.launch_seconds = 0.0;
  m.efficiencies = {{.work = Work::Product, .kernel = "lib:", .dtype = DType::BF16, .compute = 0.5},
                    {.work = Work::Product, .kernel = "lib:", .compute = 0.25},
                    {.work = Work::Product, .compute = 0.125}};
  const auto seconds = [&](DType t, std::string_view kernel) {
    return cost_of(m, product(100, 1000, t), {kernel}).seconds;
  };
  EXPECT_DOUBLE_EQ(seconds(DType::F32, "lib:fast"), 2e7 / 1e10 / 0.25);
  EXPECT_DOUBLE_EQ(seconds(DType::F32, "own"), 2e7 / 1e10 / 0.125);
  EXPECT_DOUBLE_EQ(seconds(DType::BF16, "lib:fast"), 2e7 / 1e11 / 0.5);
  EXPECT_DOUBLE_EQ(seconds(DType::BF16, "f32:lib"), 2e7 / 1e10 / 0.125) << "widened: the arithmetic is f32's";
  m.tf32 = 1e11;
  EXPECT_DOUBLE_EQ(cost_of(m, product(100, 1000), {"own", 1, true}).seconds, 2e7 / 1e11 / 0.125);
}

TEST(CostModel, KindsOfWork) {
  const auto conv = [](std::int64_t channels, std::int64_t groups) {
    Graph g;
    output("y", conv2d(input(g, "x", {DType::F32, {1, channels, 8, 8}}),
                       input(g, "w", {DType::F32, {8, channels / groups, 3, 3}}), {.groups = groups}));
    return work_of(g, g.nodes().back());
  };
  EXPECT_EQ(conv(8, 1), Work::Convolution);
  EXPECT_EQ(conv(8, 8), Work::Depthwise);
  EXPECT_EQ(conv(1, 1), Work::Convolution) << "an image of one channel is no depthwise convolution";
  Graph g;
  output("y", relu(input(g, "x", {DType::F32, {4}})));
  EXPECT_EQ(work_of(g, g.nodes().back()), Work::Elementwise);
  for (int i = 0; i < kWorks; ++i) EXPECT_EQ(work_by_name(name(static_cast<Work>(i))), static_cast<Work>(i));
  EXPECT_FALSE(work_by_name("convolutions"));
}

// A new op must be placed, or be listed here as one whose cost is a guess.
TEST(CostModel, EveryOpHasAKindOfWork) {
  const std::set<std::string> guessed = {"compress",    "embedding_grad", "put_along_axis",
                                         "scatter_add", "sort",           "topk"};
  const Graph g;
  for (const OpDef* def : Registry::instance().all()) {
    if (def->name.starts_with("conv2d")) continue;  // these look at their operands
    Node n;
    n.op = def->name;
    EXPECT_EQ(work_of(g, n) == Work::Other, guessed.contains(def->name)) << def->name;
  }
}

TEST(CostModel, AGraphIsTheSumOfItsNodes) {
  Graph g;
  Value x = input(g, "x", {DType::F32, {64, 64}});
  output("y", relu(matmul(relu(x), x)));
  const Machine m = machine();
  double seconds = 0.0;
  for (const Node& n : g.nodes()) seconds += predict(m, g, n).seconds;
  EXPECT_EQ(predict(m, g).seconds, seconds);
  EXPECT_EQ(predict(m, g).launches, 3);
}

TEST(CostModel, ThreadsScaleWhatIsTheirs) {
  Machine cpu = machine();
  cpu.threads = 2;
  const Machine one = with_threads(cpu, 1), many = with_threads(cpu, 64);
  EXPECT_DOUBLE_EQ(one.matrix[kF32], 5e9);
  EXPECT_DOUBLE_EQ(one.levels[0].bytes, 5e3);
  EXPECT_DOUBLE_EQ(one.levels[0].bytes_per_second, 5e10);
  EXPECT_DOUBLE_EQ(one.levels[1].bytes_per_second, 1e10);
  EXPECT_DOUBLE_EQ(many.levels[0].bytes_per_second, 3.2e12);
  check_machine(one);
  check_machine(many);
  EXPECT_DOUBLE_EQ(with_threads(machine(), 8).matrix[kF32], 1e10) << "a GPU has none";
}

TEST(CostModel, RefusesWhatCannotBe) {
  const auto refusal = [](const auto& change) {
    Machine m = machine();
    change(m);
    return message_of<UsageError>([&] { check_machine(m); });
  };
  check_machine(machine());
  EXPECT_TRUE(says(refusal([](Machine& m) { m.levels.clear(); }), "memory", "round"));
  EXPECT_TRUE(says(refusal([](Machine& m) { m.vector[kF32] = 0.0; }), "f32"));
  EXPECT_TRUE(
      says(refusal([](Machine& m) { m.levels[1].bytes_per_second = 2e11; }), "memory", "faster than L2"));
  EXPECT_TRUE(says(refusal([](Machine& m) { m.levels[1].bytes = 5.0; }), "holds everything"));
  EXPECT_TRUE(says(refusal([](Machine& m) { m.lanes = 0; }), "lanes"));
  EXPECT_TRUE(says(refusal([](Machine& m) { m.launch_seconds = NAN; }), "launch_seconds"));
  EXPECT_TRUE(says(refusal([](Machine& m) { m.efficiencies = {{.work = Work::Update, .memory = 1.5}}; }),
                   "update", "1.5"));
}

}  // namespace
}  // namespace ingot
