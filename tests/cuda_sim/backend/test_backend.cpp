// Whole programs through compile() and Session on the simulated device, against the CPU backend.
#include "core/base/error.h"
#include "core/ops/elementwise.h"
#include "core/ops/softmax.h"
#include "core/ops/view.h"
#include "cuda/base/device_info.h"
#include "tests/cuda_sim/backend/backend_test.h"

namespace ingot {
namespace {

constexpr double kTolerance = 1e-5;

TEST_F(CudaBackendTest, TheProgramsBackendIsTheSimulatedOne) {
  EXPECT_EQ(Target::cuda(0).name, "Ingot simulated device sm_90, sm_90");
  EXPECT_EQ(Target::cuda(0).sm, 90);
}

TEST_F(CudaBackendTest, InferenceEqualsTheCpu) {
  const Graph g = softmax_graph();
  const auto want = run(g, Target::cpu(1));
  each_order([&] { expect_close(run(g, Target::cuda(0)), want, kTolerance); });
}

TEST_F(CudaBackendTest, AnOutputThatIsAStateIsItsOldContent) {
  Graph g;
  const Value a = parameter(g, "a", {DType::F32, {3, 5}}, Init::normal(0.0, 1.0));
  const Value b = parameter(g, "b", {DType::F32, {3, 5}}, Init::normal(0.0, 1.0));
  const Value n = state(g, StateRole::Counter, "n", {DType::I64, {}}, Init::constant(5.0));
  g.add_update(a.id(), b.id());
  g.add_update(b.id(), a.id());
  g.add_update(n.id(), add(n, 2.0).id());
  g.add_output("a", a.id());
  g.add_output("flat", reshape(b, {15}).id());
  g.add_output("n", n.id());
  const auto want = run(g, Target::cpu(1));
  EXPECT_EQ(want.at("n").get(0), 15.0);
  each_order([&] { expect_close(run(g, Target::cuda(0)), want, 0.0); });
}

TEST_F(CudaBackendTest, ARunFromTheThirdOnIsOneLaunchAndAllocatesNothing) {
  Session s(compile(softmax_graph(), {.target = Target::cuda(0)}));
  fill_inputs(s, 0);
  s.run();
  EXPECT_EQ(sim::counters().graph_launches, 0u) << "the first run is issued step by step";
  s.run();
  EXPECT_EQ(sim::counters().graph_launches, 1u);
  const std::size_t copies = sim::counters().copies;
  constexpr std::size_t kRuns = 5;
  expect_one_launch_a_run(s, kRuns);
  EXPECT_EQ(sim::counters().copies - copies, 2 * kRuns) << "to the staging slot, and from there";
  s.output("y");
}

TEST_F(CudaBackendTest, AllocatesWhatTheReportSaysAndGivesItBack) {
  const ProgramPtr p = compile(softmax_graph(), {.target = Target::cuda(0)});
  {
    Session s(p);
    EXPECT_EQ(s.allocated_bytes(), p->report().total_bytes);
    EXPECT_EQ(sim::counters().bytes, p->report().total_bytes);
    fill_inputs(s, 0);
    for (int i = 0; i < 3; ++i) s.run();
    EXPECT_EQ(s.run_timed().size(), p->schedule().size());
    EXPECT_EQ(sim::counters().bytes, p->report().total_bytes);
  }
  EXPECT_EQ(sim::counters().bytes, 0u);
  EXPECT_TRUE(sim::live_resources().empty());
}

TEST_F(CudaBackendTest, AStateCanBeReplacedBetweenReplays) {
  const Graph g = softmax_graph();
  Session here(compile(g, {.target = Target::cpu(1)})), there(compile(g, {.target = Target::cuda(0)}));
  const Tensor w = Tensor::full({DType::F32, {4, 9}}, 2.0);
  w.set(5, -1.0);
  for (Session* s : {&here, &there}) {
    fill_inputs(*s, 0);
    for (int i = 0; i < 3; ++i) s->run();
    s->set_state("w", w);
    s->run();
  }
  expect_close({{"p", there.output("p").clone()}}, {{"p", here.output("p").clone()}}, kTolerance);
  EXPECT_TRUE(bitwise_equal(there.state("w"), w));
}

// What if the queue had forgotten one of its waits? Some order of the device's work must show it, or the wait
// is not needed. Nobody looks before the last run: looking waits for everything.
TEST_F(CudaBackendTest, EachWaitIsNeeded) {
  const Graph g = softmax_graph();
  constexpr int kRuns = 6;
  std::map<int, std::map<std::string, Tensor>> want;
  for (int runs = 1; runs <= kRuns; ++runs)
    want[runs] = run(g, Target::cpu(1), {.runs = runs, .look_every = runs});
  run(g, Target::cuda(0), {.runs = kRuns, .look_every = kRuns});
  const auto waits = static_cast<int>(sim::calls("cudaStreamWaitEvent"));
  EXPECT_EQ(waits, kRuns + kRuns - 1) << "the inputs are there; the slot has been read, the run before";
  for (int nth = 1; nth <= waits; ++nth) {
    bool shown = false;
    for (const sim::Policy policy : {sim::Policy::Demand, sim::Policy::Random})
      for (std::uint64_t seed = 1; seed <= 8; ++seed)
        for (int runs = 1; runs <= kRuns && !shown; ++runs) {
          sim::reset({.seed = seed, .policy = policy});
          sim::skip_call("cudaStreamWaitEvent", nth);
          const auto got = run(g, Target::cuda(0), {.runs = runs, .look_every = runs});
          shown = !close(got, want[runs], kTolerance);
        }
    EXPECT_TRUE(shown) << "wait " << nth << " of " << waits << " can be left out unseen";
  }
  sim::reset();
}

TEST_F(CudaBackendTest, WorksOnTheCallersStreamWithTheCallersMemory) {
  const Graph g = softmax_graph();
  const ProgramPtr p = compile(g, {.target = Target::cuda(0)});
  Session cpu(compile(g, {.target = Target::cpu(1)}), {.seed = 3});
  each_order([&] {
    const cuda::Stream stream;
    std::size_t asked = 0;
    const auto allocate = [&](std::size_t bytes) -> std::shared_ptr<void> {
      asked += bytes;
      auto buffer = std::make_shared<cuda::DeviceBuffer>(bytes);
      return {buffer, buffer->data()};
    };
    Session s(p, {.seed = 3, .stream = stream.get(), .allocate = allocate, .feed = false});
    EXPECT_EQ(asked, p->report().total_bytes);
    const std::size_t streams = sim::calls("cudaStreamCreateWithPriority");
    for (int i = 0; i < 4; ++i) {
      fill_inputs(cpu, i);
      const Tensor x = cpu.input("x");
      // The caller's own work before and after, ordered by its stream alone.
      cuda::copy_to_device(s.device_address("x"), x.raw(), x.bytes(), stream);
      s.run();
      Tensor y(cpu.output("y").type());
      cuda::copy_to_host(y.raw(), s.device_address("y"), y.bytes(), stream);
      cpu.run();
      expect_close({{"y", y}}, {{"y", cpu.output("y").clone()}}, kTolerance);
    }
    EXPECT_EQ(sim::calls("cudaStreamCreateWithPriority"), streams);
    EXPECT_EQ(sim::calls("cudaStreamWaitEvent"), 0u);
  });
}

TEST_F(CudaBackendTest, MemoryOfTheCallersMustBeAligned) {
  const ProgramPtr p = compile(softmax_graph(), {.target = Target::cuda(0)});
  const auto crooked = [](std::size_t bytes) -> std::shared_ptr<void> {
    auto buffer = std::make_shared<cuda::DeviceBuffer>(bytes + 64);
    return {buffer, buffer->as<std::byte>() + 16};
  };
  EXPECT_THROW(Session(p, {.allocate = crooked}), UsageError);
  EXPECT_THROW(Session(p, {.allocate = [](std::size_t) { return std::shared_ptr<void>(); }}),
               OutOfMemoryError);
  EXPECT_THROW(Session(compile(softmax_graph()), {.stream = reinterpret_cast<void*>(1)}), UsageError)
      << "the CPU has no streams";
}

TEST_F(CudaBackendTest, AGraphWithoutAKernelIsRefusedWithTheReason) {
  Graph g;
  const Value x = input(g, "x", {DType::F64, {4, 5}});
  output("y", softmax(x));
  try {
    compile(g, {.target = Target::cuda(0)});
    FAIL() << "f64 was accepted";
  } catch (const UsageError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("none for softmax(f64[4, 5])"), std::string::npos) << text;
    EXPECT_NE(text.find("on the CPU"), std::string::npos) << text;
    EXPECT_NE(text.find("test_backend.cpp"), std::string::npos) << text;
  }
}

TEST_F(CudaBackendTest, AMachineWithoutAGpuSaysSo) {
  sim::reset({.devices = 0});
  try {
    Target::cuda(0);
    FAIL() << "a device was found";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("check nvidia-smi"), std::string::npos) << e.what();
  }
  bool said = false;
  for (const auto& [name, text] : backend("cuda").facts())
    said = said || text.find("nvidia-smi") != std::string::npos;
  EXPECT_TRUE(said);
}

TEST_F(CudaBackendTest, ADeviceThatIsNotThere) {
  sim::reset({.devices = 2});
  EXPECT_EQ(Target::cuda(1).device, 1);
  EXPECT_THROW(Target::cuda(2), UsageError);
  EXPECT_THROW(Target::cuda(-1), UsageError);
}

TEST_F(CudaBackendTest, TheCallersDeviceStaysCurrent) {
  sim::reset({.devices = 2});
  cuda::set_device(1);
  {
    Session s(compile(softmax_graph(), {.target = Target::cuda(1)}));
    EXPECT_EQ(cuda::current_device(), 1);
  }
  EXPECT_EQ(cuda::current_device(), 1);
  cuda::set_device(0);
  {
    Session s(compile(softmax_graph(), {.target = Target::cuda(1)}));
    s.run();
    s.output("y");
    EXPECT_EQ(cuda::current_device(), 0);
  }
}

}  // namespace
}  // namespace ingot
