// Streams, events and graphs on the simulated device: what is ordered stays ordered, what is not shows.
#include <thread>

#include "cuda/base/check.h"
#include "cuda/base/event.h"
#include "cuda/base/graph.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::CudaError;
using cuda::DeviceBuffer;
using cuda::Event;
using cuda::Graph;
using cuda::GraphExec;
using cuda::PinnedBuffer;
using cuda::Stream;
using sim::Policy;

class Streams : public SimTest {
 protected:
  static constexpr int kSize = 64;
  static constexpr std::size_t kBytes = kSize * sizeof(float);

  // x = 3 on one stream, then y += x on another, with or without the event between; y[0] of it.
  static float two_streams(bool with_event) {
    const Stream copies, compute;
    const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), copies),
                       y = to_device(std::vector<float>(kSize, 0.0f), compute);
    copies.synchronize();
    const PinnedBuffer three(kBytes), result(kBytes);
    for (int i = 0; i < kSize; ++i) three.as<float>()[i] = 3;
    Event ready;
    cuda::copy_to_device(x.data(), three.data(), kBytes, copies);
    ready.record(copies);
    if (with_event) compute.wait(ready);
    samples::add(x.as<float>(), y.as<float>(), kSize, compute);
    cuda::copy_to_host(result.data(), y.data(), kBytes, compute);
    compute.synchronize();
    copies.synchronize();
    return result.as<float>()[0];
  }
  static int wrong_results(Policy policy, bool with_event) {
    int wrong = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      sim::reset({.seed = seed, .policy = policy});
      wrong += two_streams(with_event) == 3.0f ? 0 : 1;
    }
    return wrong;
  }
};

TEST_F(Streams, MissingEventShows) {
  EXPECT_EQ(wrong_results(Policy::Demand, false), 40);
  EXPECT_GT(wrong_results(Policy::Random, false), 5);
  EXPECT_EQ(wrong_results(Policy::Eager, false), 0) << "a device that runs work at once hides it";
}

TEST_F(Streams, AnEventOrdersTwoStreams) {
  EXPECT_EQ(wrong_results(Policy::Demand, true), 0);
  EXPECT_EQ(wrong_results(Policy::Random, true), 0);
  EXPECT_EQ(wrong_results(Policy::Eager, true), 0);
}

// What a test of a backend does for each of its waits.
TEST_F(Streams, AForgottenWaitIsCaught) {
  sim::skip_call("cudaStreamWaitEvent", 1);
  EXPECT_NE(two_streams(true), 3.0f);
  EXPECT_EQ(two_streams(true), 3.0f);
}

TEST_F(Streams, SeveralHostThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 20; ++i) EXPECT_EQ(two_streams(true), 3.0f);
    });
  for (auto& thread : threads) thread.join();
}

TEST_F(Streams, NothingRunsBeforeItIsNeeded) {
  const Stream stream;
  const DeviceBuffer x(kBytes), y(kBytes);
  samples::add(x.as<float>(), y.as<float>(), kSize, stream);
  EXPECT_EQ(sim::counters().launches, 1u);
  EXPECT_EQ(sim::counters().kernels_run, 0u);
  EXPECT_FALSE(stream.idle());  // asking lets the device do a little
  EXPECT_EQ(sim::counters().kernels_run, 1u);
  EXPECT_TRUE(stream.idle());
}

TEST_F(Streams, ArgumentsAreCopiedAtTheLaunch) {
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream), y(kBytes);
  cuda::fill_bytes(y.data(), 0, kBytes, stream);
  for (int n = 1; n <= kSize; n *= 2) samples::add(x.as<float>(), y.as<float>(), n, stream);
  EXPECT_EQ(to_host<float>(y, stream)[kSize / 2], 1.0f);
  EXPECT_EQ(to_host<float>(y, stream)[0], 7.0f);
}

TEST_F(Streams, EventsTellTimeAndCompletion) {
  const Stream stream;
  Event start(cuda::Timing::On), stop(cuda::Timing::On), plain;
  const DeviceBuffer x(kBytes);
  start.record(stream);
  cuda::fill_bytes(x.data(), 0, kBytes, stream);
  stop.record(stream);
  EXPECT_FALSE(stop.done());
  stop.synchronize();
  EXPECT_TRUE(stop.done());
  EXPECT_GT(stop.milliseconds_since(start), 0.0f);
  plain.record(stream);
  plain.synchronize();
  EXPECT_THROW(plain.milliseconds_since(start), CudaError) << "events carry no time unless asked";
  EXPECT_THROW(stream.wait(Event()), UsageError) << "an event that was never recorded";
}

TEST_F(Streams, AWaitIsPartOfTheStream) {
  const Stream first, second;
  const DeviceBuffer x(kBytes);
  Event event;
  cuda::fill_bytes(x.data(), 0, kBytes, first);
  event.record(first);
  second.wait(event);
  second.synchronize();
  EXPECT_TRUE(first.idle());
}

TEST_F(Streams, AStreamWaitsForItsWorkAtItsEnd) {
  const DeviceBuffer x(kBytes);
  const PinnedBuffer host(kBytes);  // declared before the stream, so freed after its work
  {
    const Stream stream;
    cuda::fill_bytes(x.data(), 0, kBytes, stream);
    cuda::copy_to_host(host.data(), x.data(), kBytes, stream);
  }
  EXPECT_EQ(host.as<float>()[kSize - 1], 0.0f);
}

// CUDA's own call does not wait: the work runs when something else waits for the device.
TEST_F(Streams, WorkOfADestroyedStreamStillRuns) {
  cudaStream_t handle = nullptr;
  INGOT_CUDA_CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
  const DeviceBuffer x(kBytes), y(kBytes);
  samples::add(x.as<float>(), y.as<float>(), kSize, Stream::borrow(handle));
  INGOT_CUDA_CHECK(cudaStreamDestroy(handle));
  EXPECT_EQ(sim::counters().kernels_run, 0u);
  INGOT_CUDA_CHECK(cudaDeviceSynchronize());
  EXPECT_EQ(sim::counters().kernels_run, 1u);
}

TEST_F(Streams, BorrowedStreamsAreNotDestroyed) {
  cudaStream_t handle = nullptr;
  INGOT_CUDA_CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
  {
    const Stream mine = Stream::borrow(handle);
    mine.synchronize();
  }
  EXPECT_EQ(sim::live_resources().size(), 1u);
  INGOT_CUDA_CHECK(cudaStreamDestroy(handle));
  EXPECT_EQ(cudaStreamSynchronize(handle), cudaErrorInvalidResourceHandle);
  EXPECT_NE(take(sim::Fault::BadHandle).find("stream"), std::string::npos);
}

TEST_F(Streams, DefaultStreamWaitsForBlockingStreamsOnly) {
  cudaStream_t handle = nullptr;
  INGOT_CUDA_CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamDefault));
  const Stream blocking = Stream::borrow(handle), apart;
  const DeviceBuffer x(kBytes), y(kBytes);
  cuda::fill_bytes(x.data(), 0, kBytes, blocking);
  cuda::fill_bytes(y.data(), 0, kBytes, apart);
  float value = 0;
  INGOT_CUDA_CHECK(cudaMemcpy(&value, x.data(), sizeof value, cudaMemcpyDeviceToHost));
  EXPECT_TRUE(blocking.idle());
  EXPECT_FALSE(apart.idle());
  INGOT_CUDA_CHECK(cudaDeviceSynchronize());
  EXPECT_TRUE(apart.idle());
  INGOT_CUDA_CHECK(cudaStreamDestroy(handle));
}

// ---- Graphs
// ---------------------------------------------------------------------------------------------------------

TEST_F(Streams, CaptureAndReplay) {
  for (const Policy policy : {Policy::Demand, Policy::Random, Policy::Eager}) {
    sim::reset({.policy = policy});
    const Stream stream;
    const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream),
                       y = to_device(std::vector<float>(kSize, 0.0f), stream);
    const Graph graph = cuda::capture(stream, [&] {
      EXPECT_TRUE(stream.capturing());
      samples::add(x.as<float>(), y.as<float>(), kSize, stream);
      samples::add(y.as<float>(), x.as<float>(), kSize, stream);
    });
    EXPECT_FALSE(stream.capturing());
    EXPECT_EQ(graph.node_count(), 2u);
    EXPECT_EQ(to_host<float>(y, stream)[0], 0.0f) << "a capture runs nothing";
    const GraphExec exec(graph);
    const sim::Counters before = sim::counters();
    for (int i = 0; i < 3; ++i) exec.launch(stream);
    EXPECT_EQ(to_host<float>(y, stream)[0], 8.0f);  // y, x: 1, 2, then 3, 5, then 8, 13
    EXPECT_EQ(sim::counters().graph_launches - before.graph_launches, 3u);
    EXPECT_EQ(sim::counters().launches, before.launches);
    EXPECT_EQ(sim::counters().allocations, before.allocations);
    EXPECT_EQ(sim::counters().kernels_run - before.kernels_run, 6u);
  }
}

// y = (x + x), z = (x + x) on a second stream that joins by events; then y += z.
TEST_F(Streams, AForkJoinsByEvents) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    sim::reset({.seed = seed});
    const Stream stream, side;
    const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream),
                       y = to_device(std::vector<float>(kSize, 0.0f), stream),
                       z = to_device(std::vector<float>(kSize, 0.0f), stream);
    stream.synchronize();
    Event fork, join;
    const Graph graph = cuda::capture(stream, [&] {
      fork.record(stream);
      side.wait(fork);
      samples::add(x.as<float>(), y.as<float>(), kSize, stream);
      samples::add(x.as<float>(), z.as<float>(), kSize, side);
      join.record(side);
      stream.wait(join);
      samples::add(z.as<float>(), y.as<float>(), kSize, stream);
    });
    EXPECT_EQ(graph.node_count(), 3u);
    GraphExec(graph).launch(stream);
    EXPECT_EQ(to_host<float>(y, stream)[0], 2.0f);
  }
}

// Two streams fork from one capture without an order between producer and consumer: some seed shows it.
TEST_F(Streams, AMissingEventInAGraphShows) {
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    sim::reset({.seed = seed});
    const Stream stream, side;
    const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream),
                       y = to_device(std::vector<float>(kSize, 0.0f), stream);
    stream.synchronize();
    Event fork, join;
    const Graph graph = cuda::capture(stream, [&] {
      fork.record(stream);
      side.wait(fork);
      cuda::fill_bytes(x.data(), 0, kBytes, side);
      samples::add(x.as<float>(), y.as<float>(), kSize, stream);  // should wait for the fill
      join.record(side);
      stream.wait(join);
    });
    GraphExec(graph).launch(stream);
    wrong += to_host<float>(y, stream)[0] == 0.0f ? 0 : 1;
  }
  EXPECT_GT(wrong, 3);
  EXPECT_LT(wrong, 20);
}

cudaError_t error_of_capture(const Stream& stream, const std::function<void()>& issue) {
  try {
    (void)cuda::capture(stream, issue);
  } catch (const CudaError& e) {
    return e.code();
  }
  return cudaSuccess;
}

TEST_F(Streams, CaptureForbidsWhatCudaForbids) {
  const Stream stream, other;
  const DeviceBuffer x(kBytes);
  const PinnedBuffer pinned(kBytes);
  Event outside, inside;
  outside.record(other);
  std::vector<float> pageable(kSize);
  const std::vector<std::pair<cudaError_t, std::function<void()>>> cases = {
      {cudaErrorStreamCaptureUnsupported, [&] { stream.synchronize(); }},
      {cudaErrorStreamCaptureUnsupported, [&] { (void)stream.idle(); }},
      {cudaErrorStreamCaptureUnsupported, [&] { DeviceBuffer(16); }},
      {cudaErrorStreamCaptureUnsupported, [&] { DeviceBuffer(16, stream); }},
      {cudaErrorStreamCaptureUnsupported, [&] { PinnedBuffer(16); }},
      {cudaErrorStreamCaptureUnsupported, [&] { INGOT_CUDA_CHECK(cudaDeviceSynchronize()); }},
      {cudaErrorStreamCaptureUnsupported,
       [&] { cuda::copy_to_device(x.data(), pageable.data(), kBytes, stream); }},
      {cudaErrorStreamCaptureIsolation, [&] { stream.wait(outside); }},
      {cudaErrorCapturedEvent,
       [&] {
         inside.record(stream);
         inside.synchronize();
       }},
      {cudaErrorStreamCaptureUnjoined,
       [&] {
         inside.record(stream);
         other.wait(inside);
         cuda::fill_bytes(x.data(), 0, kBytes, other);
       }},
      {cudaSuccess, [&] { cuda::copy_to_device(x.data(), pinned.data(), kBytes, stream); }},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(error_of_capture(stream, cases[i].second), cases[i].first) << "case " << i;
    EXPECT_FALSE(stream.capturing());
    stream.synchronize();  // the stream works again
  }
}

TEST_F(Streams, AnExceptionEndsTheCapture) {
  const Stream stream;
  const DeviceBuffer x(kBytes);
  EXPECT_THROW((void)cuda::capture(stream,
                                   [&] {
                                     cuda::fill_bytes(x.data(), 0, kBytes, stream);
                                     throw UsageError("mine");
                                   }),
               UsageError);
  EXPECT_FALSE(stream.capturing());
}

}  // namespace
}  // namespace ingot
