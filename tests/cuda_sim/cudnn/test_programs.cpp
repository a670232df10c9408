// Whole programs with cuDNN's convolutions on the simulated device: ten training steps equal the CPU's, run
// step by step and as a captured graph; and what becomes of a program when cuDNN fails.
#include <functional>

#include "core/base/error.h"
#include "core/ops/conv.h"
#include "cuda/libs/cudnn.h"
#include "models/models.h"
#include "models/resnet.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/cudnn/cudnn_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

constexpr int kSteps = 10;

Graph lenet() {
  return training_graph(*make_model("lenet5"), {DType::F32, model_input("lenet5", 2)},
                        *sgd({.lr = 0.05, .momentum = 0.9}));
}
// As small as that of the backend's own tests, for their reason (tests/cuda_sim/backend/test_training.cpp).
Graph small_resnet() {
  return training_graph(*make_cifar_resnet(1, 3, 10), {DType::F32, {2, 3, 8, 8}},
                        *sgd({.lr = 0.002, .momentum = 0.9, .weight_decay = 1e-4}));
}

class CudnnPrograms : public CudnnTest {};

int convolutions_of(const Graph& g) {
  int n = 0;
  for (const Node& node : g.nodes()) n += node.op.find("conv2d") == 0 ? 1 : 0;
  return n;
}

void expect_cpu_numbers(const Graph& g) {
  const Runs runs{.runs = kSteps, .look_every = 3};
  const auto want = run(g, Target::cpu(1), runs);
  fake_cudnn::install({.engines = {{.index = 5, .workspace_bytes = 3000}}});
  const ProgramPtr p = compile(g, {.target = Target::cuda(0)});
  // Those that are computed again count again.
  const int convolutions = convolutions_of(p->graph());
  EXPECT_GE(convolutions, convolutions_of(g));
  EXPECT_EQ(cudnn_steps(*p), convolutions);
  EXPECT_EQ(p->library_calls(), convolutions);
  CudaBackendTest::each_order(
      [&] {
        const int before = fake_cudnn::counts().executions, ran = fake_cudnn::counts().runs;
        expect_close(run(p, runs), want, 1e-5);
        // Called for the first run and for the capture; the rest are replays.
        EXPECT_EQ(fake_cudnn::counts().executions - before, 2 * convolutions);
        EXPECT_EQ(fake_cudnn::counts().runs - ran, kSteps * convolutions);
        EXPECT_EQ(fake_cudnn::counts().handles, 0);
      },
      1);
  sim::reset();
  Runs slow = runs;
  slow.options.debug = true;  // each step waited for, nothing captured
  const int before = fake_cudnn::counts().executions;
  expect_close(run(p, slow), want, 1e-5);
  EXPECT_EQ(fake_cudnn::counts().executions - before, kSteps * convolutions);
}

// Two convolutions and their gradients, but of the images'.
TEST_F(CudnnPrograms, LeNetTrainsAsOnTheCpu) {
  EXPECT_EQ(convolutions_of(lenet()), 5);
  expect_cpu_numbers(lenet());
}

// Nine convolutions, as many gradients of weights, one less of inputs.
TEST_F(CudnnPrograms, SmallResNetTrainsAsOnTheCpu) {
  EXPECT_EQ(convolutions_of(small_resnet()), 9 + 9 + 8);
  expect_cpu_numbers(small_resnet());
}

TEST_F(CudnnPrograms, OneLaunchAStep) {
  Session s(compile(lenet(), {.target = Target::cuda(0)}));
  for (int i = 0; i < 2; ++i) s.run();
  expect_one_launch_a_run(s, 3);
  s.output("loss");
}

// ---- What goes wrong -------------------------------------------------------------------------------------

Graph small_conv() {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 4, 6, 6}});
  const Value w = state(g, StateRole::Parameter, "w", {DType::F32, {8, 4, 3, 3}}, Init::normal(0.0, 1.0));
  output("y", conv2d(x, w, {.padding = {1, 1}}));
  return g;
}

std::string conv_kernel(const ProgramPtr& p) {
  for (const NodeId n : p->schedule())
    if (p->graph().node(n).op == "conv2d") return p->step(n).kernel;
  return "";
}

// What the cuDNN candidate of the convolution says of itself.
std::string reason(const ProgramPtr& p) {
  for (const NodeId n : p->schedule())
    if (p->graph().node(n).op == "conv2d")
      for (const Candidate& c : backend("cuda").explain(p->graph(), p->graph().node(n), p->target()))
        if (c.name == "cudnn") return c.why;
  return "(no such candidate)";
}

// At planning, our own kernel takes over, for the reason that --explain prints.
void expect_own_kernel(const fake_cudnn::Options& options, const std::string& why) {
  const Graph g = small_conv();
  const auto want = run(g, Target::cpu(1));
  fake_cudnn::install(options);
  const ProgramPtr p = compile(g, {.target = Target::cuda(0)});
  EXPECT_EQ(conv_kernel(p), "conv");
  EXPECT_NE(reason(p).find(why), std::string::npos) << reason(p);
  expect_close(run(p), want, 1e-5);
}

TEST_F(CudnnPrograms, NoEngineListed) {
  expect_own_kernel({.engines = {}}, "cuDNN has no plan");
}

TEST_F(CudnnPrograms, EveryEngineRefuses) {
  expect_own_kernel({.engines = {{.index = 1, .builds = CUDNN_STATUS_NOT_SUPPORTED},
                                 {.index = 2, .builds = CUDNN_STATUS_ALLOC_FAILED}}},
                    "none of cuDNN's 2 plans serves");
}

TEST_F(CudnnPrograms, EnginesThatBreakAPromise) {
  expect_own_kernel({.engines = {{.index = 1, .notes = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}},
                                 {.index = 2, .notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}},
                                 {.index = 3, .notes = {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}},
                                 {.index = 4, .notes = {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}}}},
                    "none of cuDNN's 4 plans serves");
}

TEST_F(CudnnPrograms, TheNextEngineServes) {
  fake_cudnn::install({.engines = {{.index = 1, .builds = CUDNN_STATUS_NOT_SUPPORTED},
                                   {.index = 2, .notes = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}},
                                   {.index = 3, .workspace_bytes = 77},
                                   {.index = 4}}});
  const ProgramPtr p = compile(small_conv(), {.target = Target::cuda(0)});
  EXPECT_EQ(conv_kernel(p), "cudnn:eng3");
  Target any = Target::cuda(0);
  any.deterministic = false;
  EXPECT_EQ(conv_kernel(compile(small_conv(), {.target = any})), "cudnn:eng2");
}

TEST_F(CudnnPrograms, SwitchedOff) {
  cuda::use_cudnn(nullptr);
  const ProgramPtr p = compile(small_conv(), {.target = Target::cuda(0)});
  EXPECT_EQ(conv_kernel(p), "conv");
  EXPECT_EQ(reason(p), "cuDNN was switched off");
  EXPECT_EQ(cuda::cudnn_missing(), "cuDNN was switched off");
}

std::string device_error(const std::function<void()>& body, std::string* node = nullptr) {
  try {
    body();
  } catch (const DeviceError& e) {
    if (node != nullptr) *node = e.node();
    return e.what();
  }
  return "(nothing was thrown)";
}

TEST_F(CudnnPrograms, NoHandle) {
  fake_cudnn::install({.creates = CUDNN_STATUS_ALLOC_FAILED});
  const ProgramPtr p = compile(small_conv(), {.target = Target::cuda(0)});
  ASSERT_EQ(conv_kernel(p), "cudnn:eng1");
  std::string node;
  const std::string text = device_error(
      [&] {
        Session s(p);
        s.run();
      },
      &node);
  EXPECT_NE(text.find("cudnnCreate failed: CUDNN_STATUS_ALLOC_FAILED"), std::string::npos) << text;
  EXPECT_TRUE(sim::live_resources().empty());
  // The process goes on, and so does the program.
  fake_cudnn::install();
  expect_close(run(compile(small_conv(), {.target = Target::cuda(0)})), run(small_conv(), Target::cpu(1)),
               1e-5);
}

// The first run, which is step by step; the capture; and a session that looks at each step.
TEST_F(CudnnPrograms, ExecutionFails) {
  for (const int at : {1, 2}) {
    for (const bool debug : {false, true}) {
      sim::reset();
      fake_cudnn::install({.executes = CUDNN_STATUS_EXECUTION_FAILED, .fails_from = at});
      const ProgramPtr p = compile(small_conv(), {.target = Target::cuda(0)});
      std::string node;
      const std::string text = device_error(
          [&] {
            Session s(p, {.debug = debug});
            for (int i = 1; i < at; ++i) s.run();
            EXPECT_EQ(fake_cudnn::counts().handles, 1);
            s.run();
          },
          &node);
      EXPECT_NE(text.find("cuDNN plan eng1 of "), std::string::npos) << text;
      EXPECT_NE(text.find("CUDNN_STATUS_EXECUTION_FAILED"), std::string::npos) << text;
      EXPECT_NE(text.find("the fake was told to fail here"), std::string::npos) << text;
      EXPECT_NE(text.find("conv2d f32 n2 c4 6x6 o8 3x3"), std::string::npos) << text;
      EXPECT_EQ(node, "conv2d") << text;
      EXPECT_EQ(fake_cudnn::counts().handles, 0);
      for (const auto& resource : sim::live_resources()) ADD_FAILURE() << "left alive: " << resource;
    }
  }
}

// One handle for all steps of a session's stream, one per session, given back in any order.
TEST_F(CudnnPrograms, HandlesGoWithTheirSessions) {
  const ProgramPtr p = compile(lenet(), {.target = Target::cuda(0)});
  auto a = std::make_unique<Session>(p);
  EXPECT_EQ(fake_cudnn::counts().handles, 1);
  auto b = std::make_unique<Session>(p);
  EXPECT_EQ(fake_cudnn::counts().handles, 2);
  a->run(), b->run();
  a.reset();
  EXPECT_EQ(fake_cudnn::counts().handles, 1);
  b->run();
  b.reset();
  EXPECT_EQ(fake_cudnn::counts().handles, 0);
  EXPECT_TRUE(sim::live_resources().empty());
}

}  // namespace
}  // namespace ingot
