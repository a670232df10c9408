// What goes wrong on a device ends in an error that says what and where, and leaks nothing.
#include "core/base/error.h"
#include "cuda/backend/queue.h"
#include "cuda/base/check.h"
#include "tests/cuda_sim/backend/backend_test.h"

namespace ingot {
namespace {

using cuda::CudaError;

class CudaBackendFailures : public CudaBackendTest {};

// Every call that a session makes, failing once each: an error that names the call or the kernel, nothing
// left alive, and the next session works.
void each_call_fails(const Target& target, int streams) {
  const Graph g = softmax_graph();
  const auto want = run(g, Target::cpu(1));
  const ProgramPtr p = compile(g, {.target = target});
  const auto session = [&] {
    Session s(p, {.seed = 3});
    for (int i = 0; i < 4; ++i) {
      fill_inputs(s, i);
      s.run();
      s.output("y");
    }
  };
  for (const char* function :
       {"cudaGetDevice", "cudaDeviceGetStreamPriorityRange", "cudaStreamCreateWithPriority", "cudaMalloc",
        "cudaHostAlloc", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaEventCreateWithFlags", "cudaEventRecord",
        "cudaStreamWaitEvent", "cudaEventSynchronize", "cudaLaunchKernelExC", "cudaStreamBeginCapture",
        "cudaStreamEndCapture", "cudaGraphGetNodes", "cudaGraphInstantiate", "cudaGraphLaunch",
        "cudaStreamSynchronize"}) {
    sim::reset();
    session();
    auto total = static_cast<int>(sim::calls(function));
    if (std::string(function) == "cudaStreamSynchronize")
      total -= 2 + streams;  // of finish() and of destructors, which do not throw
    if (std::string(function) == "cudaGetDevice") total -= 1;
    EXPECT_GT(total, 0) << function << " is not called";
    for (int nth = 1; nth <= total; ++nth) {
      sim::reset();
      sim::fail_call(function, nth, cudaErrorInvalidValue);
      try {
        session();
        ADD_FAILURE() << function << ", call " << nth << ": no error";
      } catch (const CudaError& e) {
        EXPECT_EQ(e.code(), cudaErrorInvalidValue);
        const std::string text = e.what();
        const bool launch = std::string(function) == "cudaLaunchKernelExC";
        EXPECT_NE(text.find(launch ? "launch of ingot::cuda::" : function), std::string::npos) << text;
        if (launch) {
          EXPECT_NE(e.node(), "") << text;
        }
      }
      for (const auto& resource : sim::live_resources())
        ADD_FAILURE() << function << ", call " << nth << ": left alive: " << resource;
      expect_close(run(p), want, 1e-5);
    }
  }
}

TEST_F(CudaBackendFailures, EveryCallThatFailsIsNamedAndLeaksNothing) {
  each_call_fails(Target::cuda(0), 2);
}

TEST_F(CudaBackendFailures, EveryCallThatFailsIsNamedInTwoLanesToo) {
  each_call_fails(
      lanes_target([](const Node& n) { return n.op == "log_softmax" ? Lane::Communication : Lane::Compute; }),
      3);
}

TEST_F(CudaBackendFailures, OutOfMemoryNamesABatchThatFits) {
  const auto graph = [](std::int64_t batch) {
    Graph g;
    const Value x = input(g, "x", {DType::F32, {batch, 64, 64}});
    const Value w = state(g, StateRole::Parameter, "w", {DType::F32, {64, 64}}, Init::constant(1.0));
    output("p", apply1("softmax", {w}));
    output("y", apply1("log_softmax", {apply1("softmax", {x})}));
    return g;
  };
  sim::reset({.memory = 1 << 20});
  const ProgramPtr p = compile(graph(64), {.target = Target::cuda(0)});
  ASSERT_GT(p->report().total_bytes, std::size_t{1} << 20);
  std::string text;
  try {
    Session s(p);
    FAIL() << "there is not so much memory";
  } catch (const OutOfMemoryError& e) {
    text = e.what();
  }
  EXPECT_TRUE(sim::live_resources().empty());
  const auto at = text.find("of its batch of 64, about ");
  ASSERT_NE(at, std::string::npos) << text;
  const long fits = std::stol(text.substr(at + std::string("of its batch of 64, about ").size()));
  Session s(compile(graph(fits), {.target = Target::cuda(0)}));  // does fit
  EXPECT_GT(compile(graph(fits + 2), {.target = Target::cuda(0)})->report().total_bytes,
            std::size_t{1} << 20);
}

// A kernel that loses the device: every later call says so, nothing is left when the session is gone.
TEST_F(CudaBackendFailures, AStickyErrorEndsTheSession) {
  {
    Session s(compile(softmax_graph(), {.target = Target::cuda(0)}));
    for (int i = 0; i < 3; ++i) s.run();
    sim::fail_call("cudaGraphLaunch", 1, cudaErrorIllegalAddress);
    for (int i = 0; i < 3; ++i) {
      try {
        s.run();
        FAIL() << "the device is lost";
      } catch (const CudaError& e) {
        EXPECT_TRUE(e.sticky());
        EXPECT_NE(std::string(e.what()).find("--debug"), std::string::npos) << e.what();
      }
    }
    EXPECT_THROW(s.output("y"), CudaError);
    EXPECT_THROW(s.state("w"), CudaError);
  }
  EXPECT_TRUE(sim::live_resources().empty());
  sim::reset();
}

// The step that fails on the device is named where the run waits for each step.
TEST_F(CudaBackendFailures, DebugNamesTheNodeThatFails) {
  const Graph g = softmax_graph();
  for (const bool debug : {false, true}) {
    sim::reset();
    Session s(compile(g, {.target = Target::cuda(0)}), {.debug = debug});
    fill_inputs(s, 0);
    // A working debug session gives the same numbers as another.
    s.run();
    Session cpu(compile(g, {.target = Target::cpu(1)}));
    fill_inputs(cpu, 0);
    cpu.run();
    expect_close({{"y", s.output("y").clone()}}, {{"y", cpu.output("y").clone()}}, 1e-5);
    // What waits for the first step of the next run finds the device lost.
    const std::size_t syncs = debug ? 1 : 0;
    sim::fail_call("cudaStreamSynchronize", 1, cudaErrorIllegalAddress);
    std::string node;
    try {
      s.run();
      s.output("y");
      FAIL() << "the device is lost";
    } catch (const CudaError& e) {
      node = e.node();
    }
    EXPECT_EQ(node.empty(), syncs == 0) << node;
  }
  sim::reset();
}

// ---- The queue alone ------------------------------------------------------------------------------------

TEST_F(CudaBackendFailures, AStepThatCannotBeRecordedSplitsTheGraphAndIsNamed) {
  const auto queue = cuda::CudaQueue::make(0, nullptr);
  constexpr std::size_t kBytes = 64;
  const cuda::DeviceBuffer a(kBytes), b(kBytes), c(kBytes), d(kBytes);
  const cuda::PinnedBuffer host(kBytes);
  // b = a, then the host looks at b and writes c = b + 1, then d = c.
  int looked = 0;
  const QueuePart parts[] = {
      {[&] { queue->copy(b.data(), a.data(), kBytes); }},
      {[&] {
         ++looked;
         queue->copy_out(host.data(), b.data(), kBytes);
         for (std::size_t i = 0; i < kBytes; ++i) ++host.as<unsigned char>()[i];
         queue->copy_in(c.data(), host.data(), kBytes);
       },
       false, "look (test)"},
      {[&] { queue->copy(d.data(), c.data(), kBytes); }},
  };
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 5; ++i) {
    queue->fill(a.data(), static_cast<std::byte>(10 * i), kBytes);
    queue->replay(parts);
    unsigned char result[kBytes];
    queue->copy_out(result, d.data(), kBytes);
    EXPECT_EQ(result[7], 10 * i + 1);
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(looked, 5);
  EXPECT_EQ(sim::counters().graph_launches, 8u) << "two in each of four runs";
  EXPECT_EQ(log, "ingot: look (test) cannot be part of a CUDA graph; it is issued by itself at each run\n");
}

// A step that says it can be recorded and cannot: the error says what happened, and the stream works again.
TEST_F(CudaBackendFailures, AStepThatLiesAboutBeingRecordable) {
  const auto queue = cuda::CudaQueue::make(0, nullptr);
  const cuda::DeviceBuffer a(64);
  const QueuePart parts[] = {{[&] {
    queue->fill(a.data(), std::byte{1}, 64);
    queue->wait();
  }}};
  queue->replay(parts);
  for (int i = 0; i < 2; ++i) {
    try {
      queue->replay(parts);
      FAIL() << "a wait was recorded";
    } catch (const CudaError& e) {
      EXPECT_EQ(e.code(), cudaErrorStreamCaptureUnsupported);
    }
  }
  queue->fill(a.data(), std::byte{2}, 64);
  queue->wait();
}

TEST_F(CudaBackendFailures, FeedsNeedTheirSlots) {
  const auto queue = cuda::CudaQueue::make(0, nullptr);
  const cuda::DeviceBuffer a(64);
  const cuda::PinnedBuffer host(64);
  EXPECT_THROW(queue->feed(a.data(), host.data(), 64), UsageError);
  queue->feed(a.data(), nullptr, 0);  // nothing to do
}

}  // namespace
}  // namespace ingot
