// A guarded session on the GPU: the device looks at the loss within the captured run, a bad step changes
// nothing that training needs, and the host hears of it where it waits anyway.
#include <limits>

#include "core/base/error.h"
#include "cuda/backend/queue.h"
#include "cuda/base/check.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const SessionOptions kGuarded{.seed = 3, .guard = "loss"};

Graph training() {
  const auto net = make_model("mlp");
  return training_graph(*net, {DType::F32, model_input("mlp", 3)}, *adam({.lr = 0.01}));
}

class CudaGuard : public CudaBackendTest {
 protected:
  void SetUp() override {
    CudaBackendTest::SetUp();
    if (sim_runs_ptx()) GTEST_SKIP() << "the interpreter of PTX knows no conditional nodes";
  }

  static void good_run(Session& s, int run) {
    fill_inputs(s, run);
    s.run();
  }
  static void bad_run(Session& s) {
    fill_inputs(s, 77);
    s.input("x").set(5, kNan);
    s.run();
  }
  template <class E = NumericError, class Body>
  static std::string error_of(const Body& body) {
    try {
      body();
    } catch (const E& e) {
      return e.what();
    }
    return "no error";
  }
  static bool says(const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
  }
  static void expect_same(const std::map<std::string, Tensor>& got,
                          const std::map<std::string, Tensor>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [name, t] : want) EXPECT_TRUE(bitwise_equal(got.at(name), t)) << name;
  }
};

// Runs that are issued step by step (0), recorded (1) and replayed (2 and 4).
TEST_F(CudaGuard, ABadBatchIsNamedAndLeavesNoTrace) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  std::map<int, std::map<std::string, Tensor>> after;  // so many good runs
  {
    Session clean(p, {.seed = 3});
    for (int run = 0; run <= 6; ++run) {
      after[run] = clean.states();
      good_run(clean, run);
    }
  }
  for (const int bad : {0, 1, 2, 4})
    each_order(
        [&] {
          SCOPED_TRACE(cat("bad run ", bad));
          Session s(p, kGuarded);
          for (int run = 0; run < bad; ++run) good_run(s, run);
          const std::string text = error_of([&] {
            bad_run(s);
            s.output("loss");
          });
          EXPECT_TRUE(says(text, "the input x f32[3, 1, 28, 28]")) << text;
          EXPECT_TRUE(says(text, "1 NaN and 0 infinite of 2352; check the data")) << text;
          EXPECT_TRUE(says(text, "step_graph.cpp")) << text;
          expect_same(s.states(), after[bad]);
          for (int run = bad; run < 6; ++run) good_run(s, run);
          expect_same(s.states(), after[6]);
        },
        1);
}

// Nobody looks for three runs: they do nothing, and what led to the error is still there.
TEST_F(CudaGuard, RunsAfterABadOneWaitForTheHostToLook) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  for (const int before : {1, 2, 3})
    each_order(
        [&] {
          SCOPED_TRACE(cat("bad run ", before));
          Session s(p, kGuarded);
          for (int run = 0; run < before; ++run) good_run(s, run);
          const auto states = s.states();
          const std::string text = error_of([&] {
            bad_run(s);
            for (int run = 0; run < 3; ++run) good_run(s, run);
            s.wait();
          });
          EXPECT_TRUE(says(text, "the input x")) << text;
          expect_same(s.states(), states);
          s.wait();  // said once
          EXPECT_TRUE(says(error_of([&] {
                             bad_run(s);
                             s.state("fc1.weight");
                           }),
                           "the input x"))
              << "and again";
        },
        2);
}

TEST_F(CudaGuard, ARunHearsOfTheOneBeforeIfThatIsDone) {
  Session s(compile(training(), {.target = Target::cuda(0)}), kGuarded);
  for (int run = 0; run < 3; ++run) good_run(s, run);
  bad_run(s);
  const std::size_t synchronisations = sim::counters().synchronisations;
  INGOT_CUDA_CHECK(cudaDeviceSynchronize());  // not the session's
  EXPECT_EQ(sim::counters().synchronisations, synchronisations + 1);
  EXPECT_TRUE(says(error_of([&] { s.run(); }), "the input x"));
}

// Numbers too large in the middle of the net: the node and the line that wrote it.
TEST_F(CudaGuard, NanBornInTheMiddleNamesTheNode) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  for (const int before : {0, 1, 2, 3})
    each_order(
        [&] {
          SCOPED_TRACE(cat("bad run ", before));
          Session s(p, kGuarded);
          for (int run = 0; run < before; ++run) good_run(s, run);
          s.set_state("fc2.bias", Tensor::full({DType::F32, {128}}, 3e38));
          s.set_state("fc3.weight", Tensor::full({DType::F32, {10, 128}}, 3e38));
          const auto states = s.states();
          const std::string text = error_of([&] {
            good_run(s, before);
            s.wait();
          });
          EXPECT_TRUE(says(text, "with 0 NaN and 30 infinite of 30 from")) << text;
          EXPECT_TRUE(says(text, "[node 'fc3.matmul', small.cpp:")) << text;
          expect_same(s.states(), states);
        },
        1);
}

TEST_F(CudaGuard, OneLaunchAStepAndNoWaitMore) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  constexpr std::size_t kRuns = 4;
  std::map<bool, sim::Counters> first, last;
  for (const bool guarded : {false, true}) {
    sim::reset();
    Session s(p, guarded ? kGuarded : SessionOptions{.seed = 3});
    EXPECT_EQ(s.allocated_bytes(), sim::counters().bytes);
    for (int run = 0; run < 2; ++run) good_run(s, run);
    first[guarded] = sim::counters();
    for (std::size_t run = 0; run < kRuns; ++run) s.run();
    last[guarded] = sim::counters();
    s.wait();
  }
  const auto grew = [&](std::size_t sim::Counters::*counter, bool guarded) {
    return last[guarded].*counter - first[guarded].*counter;
  };
  EXPECT_EQ(grew(&sim::Counters::graph_launches, true), kRuns);
  EXPECT_EQ(grew(&sim::Counters::allocations, true), 0u);
  EXPECT_EQ(grew(&sim::Counters::pinned_allocations, true), 0u);
  EXPECT_EQ(grew(&sim::Counters::synchronisations, true), grew(&sim::Counters::synchronisations, false));
  EXPECT_EQ(grew(&sim::Counters::synchronisations, true), kRuns) << "for the inputs to be read";
  EXPECT_EQ(grew(&sim::Counters::launches, true), kRuns) << "moves the inputs, instead of a copy";
  EXPECT_EQ(grew(&sim::Counters::copies, true), grew(&sim::Counters::copies, false) - kRuns);
}

// A kernel cannot throw; the user reads what the CPU says all the same.
TEST_F(CudaGuard, ALabelThatIsNoClassIsReportedAsOnTheCpu) {
  const Graph g = training();
  const auto bad_label = [](Session& s) {
    fill_inputs(s, 5);
    s.input("labels").set(1, 10);
    s.input("labels").set(2, -3);
    s.run();
    s.wait();
  };
  Session cpu(compile(g, {.target = Target::cpu(2)}), kGuarded);
  const std::string want = error_of<UsageError>([&] { bad_label(cpu); });
  ASSERT_TRUE(says(want, "label 10 of row 1 is outside of [0, 10)")) << want;
  ASSERT_TRUE(says(want, "[node '")) << want;
  const ProgramPtr p = compile(g, {.target = Target::cuda(0)});
  for (const int before : {0, 1, 2})
    each_order(
        [&] {
          Session s(p, kGuarded);
          for (int run = 0; run < before; ++run) good_run(s, run);
          const auto states = s.states();
          EXPECT_EQ(error_of<UsageError>([&] { bad_label(s); }), want);
          expect_same(s.states(), states);
        },
        1);
  Session checked(p, {.seed = 3, .check_numerics = true});
  EXPECT_EQ(error_of<UsageError>([&] { bad_label(checked); }), want);
}

// Nothing to leave out: no updates, the guarded output is the last.
TEST_F(CudaGuard, InferenceIsGuardedToo) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4, 5}});
  output("y", apply1("log", {x}));
  const ProgramPtr p = compile(g, {.target = Target::cuda(0)});
  each_order([&] {
    Session s(p, {.guard = "y"});
    for (int run = 0; run < 4; ++run) {
      s.input("x").copy_from(Tensor::full({DType::F32, {4, 5}}, 2.0));
      s.run();
      EXPECT_NEAR(s.output("y").get(3), 0.6931472, 1e-6);
      s.input("x").set(3, -1.0);
      s.run();
      const std::string text = error_of([&] { s.output("y"); });
      EXPECT_TRUE(says(text, "log made %1 f32[4, 5]")) << text;
      EXPECT_TRUE(says(text, "1 NaN and 0 infinite of 20")) << text;
      EXPECT_TRUE(says(text, "test_guard.cpp:")) << text;
    }
  });
}

// What has to be finite is said of inputs, too: NaN may get lost on its way.
TEST_F(CudaGuard, AnInputThatTheOutputDoesNotShow) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4, 5}}), hidden = input(g, "hidden", {DType::F16, {7}});
  output("y", apply1("exp", {x}));
  output("z", apply1("exp", {hidden}));
  Session s(compile(g, {.target = Target::cuda(0)}), {.guard = "y"});
  for (int run = 0; run < 4; ++run) {
    good_run(s, run);
    s.wait();
    s.input("hidden").set(6, -std::numeric_limits<double>::infinity());
    s.run();
    EXPECT_TRUE(says(error_of([&] { s.wait(); }), "the input hidden f16[7]"));
  }
}

// The inputs are the caller's: a run that went bad is explained while they are there.
TEST_F(CudaGuard, InputsOfTheCallersAreLookedAtWhereTheyLie) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  const cuda::Stream stream;
  Session s(p, {.seed = 3, .guard = "loss", .stream = stream.get(), .feed = false});
  Session other(p);
  const auto write = [&] {
    for (const ValueId v : p->graph().inputs()) {
      const std::string& name = p->graph().value(v).name;
      cuda::copy_to_device(s.device_address(name), other.input(name).raw(), other.input(name).bytes(),
                           stream);
    }
  };
  fill_inputs(other, 0);
  for (int run = 0; run < 3; ++run) {
    write();
    s.run();
  }
  const auto states = s.states();
  other.input("x").set(7, kNan);
  write();
  s.run();
  EXPECT_TRUE(says(error_of([&] { s.wait(); }), "the input x"));
  expect_same(s.states(), states);
}

// Replacing a state waits for the runs before, which must not be judged by the new one.
TEST_F(CudaGuard, AStateIsReplacedAfterTheRunsBefore) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  each_order(
      [&] {
        Session s(p, kGuarded);
        for (int run = 0; run < 3; ++run) good_run(s, run);
        bad_run(s);
        const Tensor bias = Tensor::full({DType::F32, {10}}, 0.5);
        EXPECT_TRUE(says(error_of([&] { s.set_state("fc3.bias", bias); }), "the input x"));
        EXPECT_FALSE(bitwise_equal(s.state("fc3.bias"), bias));
        s.set_state("fc3.bias", bias);
        EXPECT_TRUE(bitwise_equal(s.state("fc3.bias"), bias));
      },
      2);
}

TEST_F(CudaGuard, EveryCallThatFailsIsNamedAndLeaksNothing) {
  const ProgramPtr p = compile(training(), {.target = Target::cuda(0)});
  const auto session = [&] {
    Session s(p, kGuarded);
    for (int run = 0; run < 3; ++run) good_run(s, run);
    s.output("loss");
  };
  session();
  std::vector<std::string> functions = {
      "cudaGraphConditionalHandleCreate", "cudaGraphAddNode",     "cudaStreamUpdateCaptureDependencies",
      "cudaStreamBeginCaptureToGraph",    "cudaStreamEndCapture", "cudaEventQuery"};
  functions.push_back(CUDART_VERSION >= 13000 ? "cudaStreamGetCaptureInfo" : "cudaStreamGetCaptureInfo_v2");
  for (const std::string& function : functions) {
    sim::reset();
    session();
    const auto total = static_cast<int>(sim::calls(function));
    EXPECT_GT(total, 0) << function << " is not called";
    for (int nth = 1; nth <= total; ++nth) {
      sim::reset();
      sim::fail_call(function, nth, cudaErrorInvalidValue);
      const std::string text = error_of<cuda::CudaError>(session);
      EXPECT_TRUE(says(text, function)) << "call " << nth << ": " << text;
      for (const auto& resource : sim::live_resources())
        ADD_FAILURE() << function << ", call " << nth << ": left alive: " << resource;
      session();
    }
  }
}

// ---- The queue alone ------------------------------------------------------------------------------------

// a -> guard looks at a -> b = a -> the host does something -> c = b: the parts behind a bad look are left
// out, whoever issues them.
TEST_F(CudaGuard, PartsBehindTheGuardAreLeftOut) {
  each_order([&] {
    constexpr std::size_t kBytes = 64;
    const auto queue = cuda::CudaQueue::make(0, nullptr);
    const cuda::DeviceBuffer a(kBytes), b(kBytes), c(kBytes), word(Queue::kGuardBytes);
    const GuardedTensor looked[] = {{a.data(), kBytes / 4}};
    queue->guard(looked, word.data());
    int issued = 0;
    const QueuePart parts[] = {
        {.work = [] {}, .guarded = true, .rest = [&] { queue->copy(b.data(), a.data(), kBytes); }},
        {.work = [&] { ++issued; }, .capturable = false, .name = "host (test)"},
        {.work = [&] { queue->copy(c.data(), b.data(), kBytes); }},
    };
    const auto last = [&] {
      unsigned char bytes[kBytes];
      queue->copy_out(bytes, c.data(), kBytes);
      return static_cast<int>(bytes[9]);
    };
    ::testing::internal::CaptureStderr();
    queue->fill(c.data(), std::byte{1}, kBytes);
    for (int run = 0; run < 4; ++run) {
      const int before = last(), count = issued;
      queue->fill(a.data(), std::byte{0xff}, kBytes);
      queue->replay(parts);
      EXPECT_EQ(last(), before);
      EXPECT_EQ(issued, count);
      EXPECT_TRUE(queue->guard_tripped());
      queue->fill(a.data(), std::byte{7}, kBytes);
      queue->replay(parts);
      EXPECT_EQ(last(), before) << "until somebody says that he knows";
      queue->reset_guard();
      EXPECT_FALSE(queue->guard_tripped());
      queue->fill(a.data(), static_cast<std::byte>(10 + run), kBytes);
      queue->replay(parts);
      EXPECT_EQ(last(), 10 + run);
      EXPECT_EQ(issued, count + 1);
      EXPECT_FALSE(queue->guard_tripped());
    }
    ::testing::internal::GetCapturedStderr();
  });
}

TEST_F(CudaGuard, AGuardedPartNeedsAGuard) {
  const auto queue = cuda::CudaQueue::make(0, nullptr);
  const QueuePart parts[] = {{.work = [] {}, .guarded = true}};
  EXPECT_THROW(queue->replay(parts), UsageError);
}

}  // namespace
}  // namespace ingot
