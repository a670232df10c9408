// Every mistake seeded into a kernel of bugs.cu is caught, and told so that one can find it.
#include <cmath>
#include <functional>

#include "cuda/base/check.h"
#include "tests/cuda_sim/bugs.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using bugs::Variant;
using cuda::DeviceBuffer;
using cuda::Stream;
using sim::Fault;

class KernelBugs : public SimTest {
 protected:
  using Kernel = void (*)(const float*, float*, Variant, const Stream&);

  // Runs the wrong variant; a fault of the device ends in the error the GPU would give.
  static std::vector<float> run_wrong(Kernel kernel, cudaError_t error = cudaSuccess) {
    const Stream stream;
    const DeviceBuffer x = to_device(sequence(bugs::kSize), stream), y(bugs::kSize * sizeof(float));
    kernel(x.as<float>(), y.as<float>(), Variant::Wrong, stream);
    try {
      auto result = to_host<float>(y, stream);
      EXPECT_EQ(error, cudaSuccess) << "no error came";
      return result;
    } catch (const cuda::CudaError& e) {
      EXPECT_EQ(e.code(), error) << e.what();
    }
    return {};
  }
  static void expect_text(const std::string& text, const std::vector<std::string>& parts) {
    for (const auto& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
  }
};

TEST_F(KernelBugs, MissingBarrier) {
  const auto y = run_wrong(bugs::missing_barrier);
  if (kChecksAccesses) {
    const auto findings = sim::take_findings();
    ASSERT_FALSE(findings.empty());
    for (const auto& f : findings)
      EXPECT_TRUE(f.fault == Fault::Race || f.fault == Fault::Uninitialised) << f.text;
    expect_text(findings.front().text,
                {"missing_barrier_kernel<false>", "block (0, 0, 0)", "thread (", "bugs.cu:", "'s'"});
  } else {
    bool wrong = false;  // some thread read before its partner wrote: NaN
    for (const float v : y) wrong = wrong || std::isnan(v);
    EXPECT_TRUE(wrong);
  }
}

TEST_F(KernelBugs, MissingWarpBarrier) {
  const auto y = run_wrong(bugs::missing_warp_barrier);
  if (kChecksAccesses) {
    EXPECT_FALSE(sim::take_findings().empty());
  } else {
    bool wrong = false;
    for (const float v : y) wrong = wrong || std::isnan(v);
    EXPECT_TRUE(wrong);
  }
}

TEST_F(KernelBugs, BarrierOfHalfAWarpOrdersThatHalfOnly) {
  if (!kChecksAccesses) GTEST_SKIP() << "seen with access callbacks only";
  run_wrong(bugs::half_warp_barrier);
  const auto findings = sim::take_findings();
  EXPECT_FALSE(findings.empty());
  for (const auto& f : findings)
    EXPECT_TRUE(f.fault == Fault::Race || f.fault == Fault::Uninitialised) << f.text;
}

TEST_F(KernelBugs, WriteBeforeAllHaveRead) {
  const auto y = run_wrong(bugs::early_overwrite);
  if (kChecksAccesses) {
    bool write_after_read = false;
    for (const auto& f : sim::take_findings()) {
      EXPECT_EQ(sim::name(f.fault), sim::name(Fault::Race)) << f.text;
      write_after_read = write_after_read || (f.text.find(" writes byte") != std::string::npos &&
                                              f.text.find(" read; put a barrier") != std::string::npos);
    }
    EXPECT_TRUE(write_after_read);
  } else {
    const auto x = sequence(bugs::kSize);
    EXPECT_NE(y, std::vector<float>(x.rbegin(), x.rend())) << "the order of threads hides it";
  }
}

TEST_F(KernelBugs, DivergentBarrier) {
  run_wrong(bugs::divergent_barrier, cudaErrorLaunchFailure);
  expect_text(take(Fault::Divergence),
              {"divergent_barrier_kernel<false>", "waits at the __syncthreads() of bugs.cu:", "has returned",
               "every thread of a block must reach"});
}

TEST_F(KernelBugs, BarriersAtTwoLines) {
  run_wrong(bugs::two_barriers, cudaErrorLaunchFailure);
  expect_text(take(Fault::Divergence), {"two_barriers_kernel<false>", "while thread ("});
}

TEST_F(KernelBugs, DivergentShuffle) {
  run_wrong(bugs::divergent_shuffle, cudaErrorLaunchFailure);
  expect_text(take(Fault::Divergence), {"divergent_shuffle_kernel<false>", "warp operation of bugs.cu:"});
}

TEST_F(KernelBugs, OutOfBounds) {
  run_wrong(bugs::out_of_bounds, cudaErrorIllegalAddress);
  const std::string text = take(Fault::OutOfBounds);
  if (kChecksAccesses)
    expect_text(text, {"out_of_bounds_kernel<false>", "bugs.cu:", "writes 4 bytes at byte", "of 256 bytes"});
  else  // 256 bytes end at the end of a page
    expect_text(text,
                {"out_of_bounds_kernel<false>", "bugs.cu:", "behind the end of allocation", "of 256 bytes"});
}

TEST_F(KernelBugs, OutOfBoundsOfSharedMemory) {
  run_wrong(bugs::shared_out_of_bounds, kChecksAccesses ? cudaErrorIllegalAddress : cudaSuccess);
  expect_text(take(Fault::OutOfBounds),
              {"shared_out_of_bounds_kernel<false>", "shared array 's'", "256 bytes"});
}

TEST_F(KernelBugs, UninitialisedSharedMemory) {
  const auto y = run_wrong(bugs::uninitialised);
  EXPECT_TRUE(std::isnan(y[0]));
  if (kChecksAccesses)
    expect_text(take(Fault::Uninitialised),
                {"uninitialised_kernel<false>", "'sum'", "no thread of the block has written"});
}

TEST_F(KernelBugs, MisalignedVectorAccess) {
  run_wrong(bugs::misaligned, cudaErrorMisalignedAddress);
  expect_text(take(Fault::Misaligned), {"misaligned_kernel<false>", "16"});
}

TEST_F(KernelBugs, MisalignedFloat4) {
  if (!kChecksAccesses) GTEST_SKIP() << "x86 loads it in halves; seen with access callbacks";
  run_wrong(bugs::misaligned_float4, cudaErrorMisalignedAddress);
  expect_text(take(Fault::Misaligned), {"misaligned_float4_kernel<false>", "16"});
}

TEST_F(KernelBugs, RaceOfThreads) {
  if (!kChecksAccesses) GTEST_SKIP() << "a race is seen with access callbacks only";
  const Stream stream;
  const DeviceBuffer x = to_device(sequence(bugs::kSize), stream),
                     counts = to_device(std::vector<int>(2, 0), stream);
  bugs::race(x.as<float>(), counts.as<int>(), Variant::Wrong, stream);
  stream.synchronize();
  expect_text(take(Fault::Race), {"race_kernel<false>", "block (0, 0, 0), thread (", "which thread (",
                                  "bugs.cu:", "put a barrier between"});
}

TEST_F(KernelBugs, RaceOfBlocks) {
  if (!kChecksAccesses) GTEST_SKIP() << "a race is seen with access callbacks only";
  const Stream stream;
  const DeviceBuffer y(sizeof(float));
  bugs::race_between_blocks(y.as<float>(), Variant::Wrong, stream);
  stream.synchronize();
  expect_text(take(Fault::Race),
              {"race_between_blocks_kernel<false>", "which block (", "blocks of one launch are not ordered"});
}

TEST_F(KernelBugs, MissingFence) {
  if (!kChecksAccesses) GTEST_SKIP() << "a race is seen with access callbacks only";
  const Stream stream;
  const DeviceBuffer partial(4 * sizeof(float)), count = to_device(std::vector<unsigned>{0}, stream),
                                                 total(sizeof(float));
  bugs::missing_fence(partial.as<float>(), count.as<unsigned>(), total.as<float>(), Variant::Wrong, stream);
  stream.synchronize();
  expect_text(take(Fault::Race), {"missing_fence_kernel<false>", "reads byte"});
}

TEST_F(KernelBugs, RaceCheckCanBeSwitchedOff) {
  sim::reset({.check_races = false});
  const Stream stream;
  const DeviceBuffer y(sizeof(float));
  bugs::race_between_blocks(y.as<float>(), Variant::Wrong, stream);
  stream.synchronize();
}

TEST_F(KernelBugs, AsynchronousCopyWithoutWait) {
  const auto y = run_wrong(bugs::missing_wait);
  int lost = 0;
  for (const float v : y) lost += std::isnan(v) ? 1 : 0;
  EXPECT_EQ(lost, bugs::kSize) << "the copy landed before the wait";
}

TEST_F(KernelBugs, StackOverflow) {
  run_wrong(bugs::deep_stack, cudaErrorLaunchFailure);
  expect_text(take(Fault::StackOverflow), {"deep_stack_kernel<false>", "local variables"});
}

TEST_F(KernelBugs, UseAfterFree) {
  const Stream stream, other;
  const DeviceBuffer y = to_device(std::vector<float>(64, 0.0f), stream);
  stream.synchronize();
  DeviceBuffer x(64 * sizeof(float),
                 other);  // freed in the order of a stream that the kernel's does not wait for
  cuda::fill_bytes(x.data(), 0, x.bytes(), other);
  other.synchronize();
  samples::add(x.as<float>(), y.as<float>(), 64, stream);
  x.reset();
  other.synchronize();
  EXPECT_THROW(stream.synchronize(), cuda::CudaError);
  expect_text(take(Fault::UseAfterFree), {"add_kernel", "of 256 bytes", "which was freed"});
}

TEST_F(KernelBugs, UseBeforeAllocation) {
  const Stream stream, other;
  const DeviceBuffer y = to_device(std::vector<float>(64, 0.0f), stream);
  const DeviceBuffer x(64 * sizeof(float), other);
  samples::add(x.as<float>(), y.as<float>(), 64, stream);
  EXPECT_THROW(stream.synchronize(), cuda::CudaError);
  expect_text(take(Fault::UseAfterFree), {"whose allocation this stream does not wait for"});
}

TEST_F(KernelBugs, HostPointerInAKernel) {
  if (!kChecksAccesses) GTEST_SKIP() << "host memory is readable here; seen with access callbacks";
  const Stream stream;
  const DeviceBuffer y = to_device(std::vector<float>(64, 0.0f), stream);
  const std::vector<float> host(64, 1.0f);
  samples::add(host.data(), y.as<float>(), 64, stream);
  EXPECT_THROW(stream.synchronize(), cuda::CudaError);
  expect_text(take(Fault::HostMemory), {"add_kernel", "is no memory of the device"});
}

TEST_F(KernelBugs, PinnedMemoryInAKernelIsLegal) {
  const Stream stream;
  const DeviceBuffer y = to_device(std::vector<float>(64, 1.0f), stream);
  const cuda::PinnedBuffer host(64 * sizeof(float));
  for (int i = 0; i < 64; ++i) host.as<float>()[i] = 2;
  samples::add(host.as<float>(), y.as<float>(), 64, stream);
  EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(64, 3.0f));
}

TEST_F(KernelBugs, NothingWorksOnALostDevice) {
  {
    const Stream stream;
    const DeviceBuffer x = to_device(sequence(bugs::kSize), stream), y(64 * sizeof(float));
    bugs::divergent_barrier(x.as<float>(), y.as<float>(), Variant::Wrong, stream);
    EXPECT_THROW(stream.synchronize(), cuda::CudaError);
    take(Fault::Divergence);
    try {
      DeviceBuffer more(16);
      ADD_FAILURE() << "the allocation worked";
    } catch (const cuda::CudaError& e) {
      EXPECT_TRUE(e.sticky());
      expect_text(e.what(), {"cudaMalloc of 16 bytes", "cudaErrorLaunchFailure", "context is lost"});
    }
  }
  EXPECT_TRUE(sim::live_resources().empty()) << "what is released on a lost device counts as released";
}

}  // namespace
}  // namespace ingot
