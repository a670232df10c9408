// Whole models, forward, backward and update in one program, on the simulated device against the CPU backend.
#include <functional>
#include <set>
#include <tuple>
#include <vector>

#include "cuda/ops/table.h"
#include "models/models.h"
#include "models/resnet.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

constexpr int kSteps = 10;
constexpr double kTolerance = 1e-5;

Graph training(const char* model, std::int64_t batch, const Optimizer& optimizer) {
  const auto net = make_model(model);
  return training_graph(*net, {DType::F32, model_input(model, batch)}, optimizer);
}

// Ops of the compiled graph that have no row in the table, for a message; the CPU's passes are the same.
std::set<std::string> not_served(const Graph& g) {
  std::set<std::string> ops;
  const ProgramPtr program = compile(g, {.target = Target::cpu(1)});
  for (const Node& n : program->graph().nodes())
    if (cuda::lowerings().find(n.op) == nullptr) ops.insert(n.op);
  return ops;
}

// ResNet-8 on images of 8 x 8. It is small for a reason beside time: where a ReLU's argument is so near zero
// that two orders of summing give it two signs, the gradient jumps (seen with ResNet-20 and batch 8:
// differences of 3e-6 for nine steps, then 5e-3 in one, also between one and two threads of the CPU). Ten
// steps have 74,000 such arguments here and had 900,000 there. Adam's epsilon keeps it from making a whole
// step of a gradient that is only rounding, in the perceptron too.
Graph small_resnet(const Optimizer& optimizer) {
  return training_graph(*make_cifar_resnet(1, 3, 10), {DType::F32, {2, 3, 8, 8}}, optimizer);
}

struct Training {
  const char* name;
  std::function<Graph()> graph;
};
const std::vector<Training>& trainings() {
  static const std::vector<Training> all = {
      {"MlpWithSgd",
       [] { return training("mlp", 2, *sgd({.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4})); }},
      {"MlpWithAdam", [] { return training("mlp", 3, *adam({.lr = 0.002, .eps = 1e-6})); }},
      {"LeNetWithSgd", [] { return training("lenet5", 2, *sgd({.lr = 0.05, .momentum = 0.9})); }},
      {"LeNetWithAdam", [] { return training("lenet5", 1, *adam({.lr = 0.001})); }},
      {"SmallResNetWithSgd",
       [] { return small_resnet(*sgd({.lr = 0.002, .momentum = 0.9, .weight_decay = 1e-4})); }},
      {"SmallResNetWithAdam", [] { return small_resnet(*adam({.lr = 0.0005, .eps = 1e-3})); }},
  };
  return all;
}

// Ten steps under orders of the device's work that these seeds give, each by both policies; losses are looked
// at after every third step.
void expect_cpu_numbers(const Training& t, int first_seed, int seeds) {
  const Graph g = t.graph();
  ASSERT_EQ(join(not_served(g)), "");
  const Runs runs{.runs = kSteps, .look_every = 3};
  const auto want = run(g, Target::cpu(1), runs);
  const ProgramPtr program = compile(g, {.target = Target::cuda(0)});
  CudaBackendTest::each_order([&] { expect_close(run(program, runs), want, kTolerance); }, seeds, first_seed);
}

class CudaBackendTraining : public CudaBackendTest {};
class CudaBackendTrainings : public CudaBackendTest, public testing::WithParamInterface<Training> {};

// Casts, counters and the choice between old and new statistics, joined or each by itself.
TEST_F(CudaBackendTraining, JoinedNodesComputeTheSameBits) {
  for (const DType dtype : {DType::BF16, DType::F16}) {
    const LossScale scale = dtype == DType::F16 ? dynamic_loss_scale({.init_scale = 1e9}) : LossScale();
    const Graph g = training_graph(*make_cifar_resnet(1, 3, 10), {DType::F32, {2, 3, 8, 8}},
                                   *sgd({.lr = 0.01, .momentum = 0.9}), {.scale = scale}, {.compute = dtype});
    CompileOptions options{.target = Target::cuda(0)};
    const ProgramPtr joined = compile(g, options);
    options.skip_passes = {"join-elementwise"};
    const ProgramPtr single = compile(g, options);
    EXPECT_LT(joined->launches() + 20, single->launches()) << name(dtype);
    const Runs runs{.runs = 3, .look_every = 1};
    expect_close(run(joined, runs), run(single, runs), 0.0);
  }
}

TEST_P(CudaBackendTrainings, EqualTheCpu) {
  expect_cpu_numbers(GetParam(), 1, 1);
}

// Fifty seeds of each policy, in pieces that a test runner may spread over processors (ctest -R
// training_seeds).
constexpr int kSeeds = 50, kPiece = 10;
class CudaBackendTrainingSeeds : public CudaBackendTest,
                                 public testing::WithParamInterface<std::tuple<Training, int>> {};

TEST_P(CudaBackendTrainingSeeds, EqualTheCpu) {
  expect_cpu_numbers(std::get<0>(GetParam()), std::get<1>(GetParam()), kPiece);
}

INSTANTIATE_TEST_SUITE_P(All, CudaBackendTrainings, testing::ValuesIn(trainings()),
                         [](const auto& p) { return std::string(p.param.name); });
INSTANTIATE_TEST_SUITE_P(All, CudaBackendTrainingSeeds,
                         testing::Combine(testing::ValuesIn(trainings()),
                                          testing::Range(1, kSeeds + 1, kPiece)),
                         [](const auto& p) {
                           return cat(std::get<0>(p.param).name, "_from_", std::get<1>(p.param));
                         });

TEST_F(CudaBackendTraining, OneLaunchAStep) {
  const Graph g = training("mlp", 4, *sgd({.lr = 0.05, .momentum = 0.9}));
  Session s(compile(g, {.target = Target::cuda(0)}));
  for (int i = 0; i < 2; ++i) s.run();
  expect_one_launch_a_run(s, 2);
  s.output("loss");
}

// Overflow, backing off, growth and skipped steps within one launch a step: no part of loss scaling asks the
// host. The scale begins where f16 overflows, and grows every second good step until it does again.
TEST_F(CudaBackendTraining, ScalesTheLossInOneLaunchAStep) {
  const auto net = make_model("mlp");
  const Graph g = training_graph(*net, {DType::F32, model_input("mlp", 4)},
                                 *adam({.lr = 0.001, .eps = 1e-3, .clip_norm = 1.0}),
                                 {.scale = dynamic_loss_scale({.init_scale = 0x1p22, .growth_interval = 2})},
                                 {.compute = DType::F16, .overrides = {}});
  ASSERT_EQ(join(not_served(g)), "");
  const Runs runs{.runs = 16, .look_every = 3};
  const auto want = run(g, Target::cpu(1), runs), got = run(g, Target::cuda(0), runs);
  double skipped = 0.0;
  for (const auto& [name, t] : want) {
    const bool counts = name.find("skipped_steps") != std::string::npos;
    if (counts) skipped = std::max(skipped, t.item());
    if (counts || name.find("loss_scale") != std::string::npos || name == "optim/growth_tracker" ||
        name == "optim/step") {
      EXPECT_EQ(got.at(name).item(), t.item()) << name;
    }
  }
  EXPECT_GT(skipped, 3.0);
  EXPECT_LT(skipped, 14.0);
  expect_close(got, want, 2e-3);  // products of f16 on both sides, a tenth of Adam's step apart
  Session s(compile(g, {.target = Target::cuda(0)}));
  for (int i = 0; i < 2; ++i) s.run();
  expect_one_launch_a_run(s, 2);
}

// Looking for the first bad node, memory poisoned after use, and the guard change no number.
TEST_F(CudaBackendTraining, OptionsOfTheSessionChangeNothing) {
  const Graph g = training("mlp", 3, *sgd({.lr = 0.05, .momentum = 0.9}));
  const Runs plain{.runs = 3, .look_every = 1};
  const auto want = run(g, Target::cuda(0), plain);
  for (const SessionOptions& options :
       {SessionOptions{.seed = 3, .check_numerics = true}, SessionOptions{.seed = 3, .guard = "loss"},
        SessionOptions{.seed = 3, .poison = true}, SessionOptions{.seed = 3, .debug = true}}) {
    if (sim_runs_ptx() && !options.guard.empty()) continue;  // conditional nodes are the simulated device's
    const auto got = run(g, Target::cuda(0), {.runs = 3, .look_every = 1, .options = options});
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [name, t] : want) EXPECT_TRUE(bitwise_equal(got.at(name), t)) << name;
  }
}

}  // namespace
}  // namespace ingot
