// Injected failures: each call of cuda/base that fails gives an error that names it, leaks nothing, and
// leaves the device usable.
#include <functional>

#include "cuda/base/check.h"
#include "cuda/base/device_info.h"
#include "cuda/base/event.h"
#include "cuda/base/graph.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::CudaError;
using cuda::DeviceBuffer;
using cuda::Event;
using cuda::Stream;

class Faults : public SimTest {};

// All that cuda/base can do, once.
float everything() {
  const DeviceBuffer x(64 * sizeof(float));
  const cuda::PinnedBuffer host(64 * sizeof(float));
  const Stream stream(cuda::Priority::High), side;
  const DeviceBuffer y(64 * sizeof(float), stream);
  for (int i = 0; i < 64; ++i) host.as<float>()[i] = 1;
  cuda::copy_to_device(x.data(), host.data(), x.bytes(), stream);
  cuda::fill_bytes(y.data(), 0, y.bytes(), stream);
  Event event(cuda::Timing::On), end(cuda::Timing::On);
  event.record(stream);
  side.wait(event);
  samples::add(x.as<float>(), y.as<float>(), 64, stream);
  end.record(stream);
  side.wait(end);
  const cuda::Graph graph =
      cuda::capture(stream, [&] { samples::add(x.as<float>(), y.as<float>(), 64, stream); });
  EXPECT_EQ(graph.node_count(), 1u);
  EXPECT_FALSE(stream.capturing());
  const cuda::GraphExec exec(graph);
  exec.launch(stream);
  cuda::copy_to_host(host.data(), y.data(), y.bytes(), stream);
  while (!stream.idle()) {
  }
  while (!end.done()) {
  }
  event.synchronize();
  EXPECT_GE(end.milliseconds_since(event), 0.0f);
  side.synchronize();
  EXPECT_EQ(cuda::memory_kind(x.data()), cuda::MemoryKind::Device);
  EXPECT_GT(cuda::memory_info().free, 0u);
  EXPECT_EQ(cuda::device_info(cuda::current_device()).sm, 90);
  cuda::set_device(0);
  return host.as<float>()[0];
}

TEST_F(Faults, EveryCallThatFailsIsNamedAndLeaksNothing) {
  EXPECT_EQ(everything(), 2.0f);
  for (const char* function : {"cudaDeviceGetStreamPriorityRange",
                               "cudaStreamCreateWithPriority",
                               "cudaMalloc",
                               "cudaMallocAsync",
                               "cudaHostAlloc",
                               "cudaMemcpyAsync",
                               "cudaMemsetAsync",
                               "cudaEventCreateWithFlags",
                               "cudaEventRecord",
                               "cudaStreamWaitEvent",
                               "cudaLaunchKernelExC",
                               "cudaStreamBeginCapture",
                               "cudaStreamEndCapture",
                               "cudaGraphGetNodes",
                               "cudaStreamIsCapturing",
                               "cudaGraphInstantiate",
                               "cudaGraphLaunch",
                               "cudaStreamQuery",
                               "cudaEventQuery",
                               "cudaEventSynchronize",
                               "cudaEventElapsedTime",
                               "cudaStreamSynchronize",
                               "cudaPointerGetAttributes",
                               "cudaMemGetInfo",
                               "cudaGetDevice",
                               "cudaGetDeviceProperties",
                               "cudaDeviceGetAttribute",
                               "cudaSetDevice"}) {
    sim::reset();
    everything();
    auto total = static_cast<int>(sim::calls(function));
    if (std::string(function) == "cudaStreamSynchronize")
      total -= 2;  // those of the destructors do not throw
    EXPECT_GT(total, 0) << function << " is not called";
    for (int nth = 1; nth <= total; ++nth) {
      sim::reset();
      sim::fail_call(function, nth, cudaErrorInvalidValue);
      try {
        everything();
        ADD_FAILURE() << function << ", call " << nth << ": no error";
      } catch (const CudaError& e) {
        EXPECT_EQ(e.code(), cudaErrorInvalidValue);
        const std::string text = e.what();
        // A launch is named after its kernel.
        const std::string named = std::string(function) == "cudaLaunchKernelExC"
                                      ? "launch of ingot::samples::add_kernel"
                                      : function;
        EXPECT_NE(text.find(named), std::string::npos) << function << ": " << text;
        EXPECT_FALSE(e.sticky());
      }
      // An ended capture that failed may leave its graph with CUDA, not with us.
      for (const auto& resource : sim::live_resources())
        ADD_FAILURE() << function << ", call " << nth << ": left alive: " << resource;
      EXPECT_EQ(everything(), 2.0f) << "the device is not usable after " << function;
    }
  }
}

TEST_F(Faults, FailedReleasesAreLoggedNotThrown) {
  for (const char* function : {"cudaFree", "cudaFreeAsync", "cudaFreeHost", "cudaEventDestroy",
                               "cudaStreamDestroy", "cudaGraphDestroy", "cudaGraphExecDestroy"}) {
    sim::reset();
    sim::fail_call(function, 1, cudaErrorInvalidValue);
    ::testing::internal::CaptureStderr();
    everything();
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find(function), std::string::npos) << log;
  }
  sim::reset();  // what those calls did not release
}

TEST_F(Faults, AnErrorCarriesNodeAndLine) {
  try {
    try {
      sim::fail_call("cudaMalloc", 1, cudaErrorMemoryAllocation);
      DeviceBuffer x(16);
    } catch (Error& e) {
      e.add_context("conv1", SourceLoc("train.cpp", 12));
      throw;
    }
  } catch (const CudaError& e) {
    EXPECT_TRUE(e.out_of_memory());
    EXPECT_NE(std::string(e.what()).find("[node 'conv1', train.cpp:12]"), std::string::npos) << e.what();
  }
}

TEST_F(Faults, LaunchesBeyondTheLimits) {
  const Stream stream;
  const DeviceBuffer x(64);
  try {
    samples::atomics(x.as<int>(), x.as<float>(), 1, 1025, stream);
    ADD_FAILURE() << "1025 threads were accepted";
  } catch (const CudaError& e) {
    EXPECT_EQ(e.code(), cudaErrorInvalidConfiguration);
    EXPECT_NE(std::string(e.what()).find(
                  "launch of ingot::samples::atomics_kernel with grid (1, 1, 1), block (1025, 1, 1)"),
              std::string::npos)
        << e.what();
  }
  EXPECT_THROW(samples::atomics(x.as<int>(), x.as<float>(), 0, 32, stream), CudaError);
}

TEST_F(Faults, EveryErrorHasAdvice) {
  for (const cudaError_t code :
       {cudaErrorMemoryAllocation, cudaErrorNoDevice, cudaErrorInsufficientDriver, cudaErrorIllegalAddress,
        cudaErrorStreamCaptureUnjoined, cudaErrorInvalidValue})
    EXPECT_GT(cuda::advice(code).size(), 20u);
}

}  // namespace
}  // namespace ingot
