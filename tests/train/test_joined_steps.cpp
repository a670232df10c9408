// A training step whose elementwise nodes are joined (core/passes/join_elementwise.cpp) computes what it
// computes with each by itself, bit for bit: casts of weights and gradients, counters, the choice between old
// and new statistics where a step does not count.
#include <algorithm>

#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/resnet.h"
#include "optim/optimizer.h"
#include "tests/support/formula.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

constexpr int kSteps = 4;

std::size_t groups(const ProgramPtr& p) {
  return static_cast<std::size_t>(std::count_if(p->graph().nodes().begin(), p->graph().nodes().end(),
                                                [](const Node& n) { return n.op == "fused_many"; }));
}

// All outputs after each step, and the states at the end.
std::vector<Tensor> trained(const ProgramPtr& p) {
  Session s(p, {.seed = 5, .poison = true});
  std::vector<Tensor> seen;
  const Tensor x = s.input("x"), labels = s.input("labels");
  s.input("valid_rows").set(0, 4);
  for (int k = 0; k < kSteps; ++k) {
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.set(i, std::sin(0.7 * static_cast<double>(i) + static_cast<double>(k)));
    for (std::int64_t i = 0; i < labels.numel(); ++i) labels.set(i, static_cast<double>((i + k) % 10));
    s.run();
    for (const Output& o : p->graph().outputs()) seen.push_back(s.output(o.name).clone());
  }
  for (const State& state : p->graph().states()) seen.push_back(s.state(state.name).clone());
  return seen;
}

class JoinedSteps : public testing::TestWithParam<DType> {};

TEST_P(JoinedSteps, ComputeTheSameBits) {
  // Steps of which some overflow f16, whose updates are not made.
  const LossScale scale = GetParam() == DType::F16 ? dynamic_loss_scale({.init_scale = 1e9}) : LossScale();
  const Graph g =
      training_graph(*make_cifar_resnet(1, 3, 10), {DType::F32, {4, 3, 16, 16}},
                     *sgd({.lr = 0.1, .momentum = 0.9}), {.scale = scale}, {.compute = GetParam()});
  for (const int threads : {1, 2}) {
    CompileOptions options{.target = Target::cpu(threads)};
    const ProgramPtr joined = compile(g, options);
    options.skip_passes = {"join-elementwise"};
    const ProgramPtr single = compile(g, options);
    EXPECT_GE(groups(joined), GetParam() == DType::F16 ? 3u : 1u);
    EXPECT_EQ(groups(single), 0u);
    EXPECT_LT(joined->schedule().size(), single->schedule().size());
    // Workspaces are not known where nodes are joined.
    EXPECT_LE(joined->report().total_bytes, 1.01 * static_cast<double>(single->report().total_bytes));
    const std::vector<Tensor> got = trained(joined), want = trained(single);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(bitwise_equal(got[i], want[i])) << i;
  }
  if (GetParam() == DType::F16) {
    Session s(compile(g, {.target = Target::cpu(1)}), {.seed = 5});
    s.input("valid_rows").set(0, 4);
    s.run();
    EXPECT_EQ(s.output("skipped_steps").item(), 1.0);
    EXPECT_EQ(s.state("bn1.num_batches_tracked").item(), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, JoinedSteps, testing::Values(DType::F32, DType::BF16, DType::F16),
                         [](const auto& p) { return std::string(name(p.param)); });

}  // namespace
}  // namespace ingot
