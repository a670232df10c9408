// Device and pinned memory on the simulated device: limits, lifetimes, bounds, copies, leaks.
#include <cstring>
#include <numeric>

#include "cuda/base/check.h"
#include "cuda/base/device_info.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::CudaError;
using cuda::DeviceBuffer;
using cuda::PinnedBuffer;
using cuda::Stream;
using sim::Fault;

class SimMemory : public SimTest {};

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST_F(SimMemory, CopiesThereAndBack) {
  const Stream stream;
  std::vector<int> values(1000);
  std::iota(values.begin(), values.end(), 0);
  const DeviceBuffer a = to_device(values, stream), b(a.bytes());
  cuda::fill_bytes(b.data(), 0xAB, b.bytes(), stream);
  cuda::copy_on_device(b.as<int>() + 10, a.as<int>() + 10, 4 * 980, stream);
  auto result = to_host<int>(b, stream);
  EXPECT_EQ(result[9], static_cast<int>(0xABABABABu));
  EXPECT_EQ(result[10], 10);
  EXPECT_EQ(result[989], 989);
  EXPECT_EQ(result[990], static_cast<int>(0xABABABABu));
}

TEST_F(SimMemory, AddressesAreAlignedAndNewMemoryIsNaN) {
  const Stream stream;
  for (const std::size_t bytes : {4u, 100u, 256u, 5000u}) {
    const DeviceBuffer buffer(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 256, 0u);
    EXPECT_EQ(to_host<unsigned>(buffer, stream)[0], 0xffffffffu);
  }
}

TEST_F(SimMemory, OutOfMemorySaysHowMuchThereIs) {
  sim::reset({.memory = 1000});
  const DeviceBuffer first(600);
  const std::string text = message_of([] { DeviceBuffer second(500); });
  for (const char* part :
       {"cudaMalloc of 500 bytes", "400 of 1000 are free", "cudaErrorMemoryAllocation", "smaller batch"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  const DeviceBuffer fits(400);  // the error was no end of the device
  EXPECT_EQ(cuda::memory_info().free, 0u);
  const Stream stream;
  EXPECT_THROW(DeviceBuffer(1, stream), CudaError);
}

TEST_F(SimMemory, StreamOrderedMemory) {
  const Stream stream;
  {
    const DeviceBuffer x(64 * sizeof(float), stream), y(64 * sizeof(float), stream);
    cuda::fill_bytes(x.data(), 0, x.bytes(), stream);
    cuda::fill_bytes(y.data(), 0, y.bytes(), stream);
    samples::add(x.as<float>(), y.as<float>(), 64, stream);
  }
  EXPECT_EQ(sim::counters().bytes, 512u) << "freed before the stream came to it";
  stream.synchronize();
  EXPECT_EQ(sim::counters().bytes, 0u);
  EXPECT_EQ(sim::counters().frees, 2u);
}

TEST_F(SimMemory, ShortOverrunIsFound) {
  const Stream stream;
  const DeviceBuffer x(104), y(100);
  cuda::fill_bytes(x.data(), 0x3F, x.bytes(), stream);
  samples::add(x.as<float>(), y.as<float>(), 26, stream);
  if (kChecksAccesses)
    EXPECT_THROW(stream.synchronize(), CudaError);
  else
    stream.synchronize();
  EXPECT_NE(take(Fault::OutOfBounds).find("of 100 bytes"), std::string::npos);
}

TEST_F(SimMemory, CopyBeyondTheEnd) {
  const Stream stream;
  const DeviceBuffer x(100);
  std::byte host[200] = {};
  EXPECT_THROW(cuda::copy_to_device(x.data(), host, 101, stream), CudaError);
  EXPECT_NE(take(Fault::OutOfBounds).find("a copy into of 101 bytes at byte 0 of allocation"),
            std::string::npos);
  EXPECT_THROW(cuda::fill_bytes(x.as<std::byte>() + 1, 0, 100, stream), CudaError);
  take(Fault::OutOfBounds);
  EXPECT_THROW(cuda::copy_to_device(host, x.data(), 10, stream), CudaError) << "the wrong way round";
}

TEST_F(SimMemory, CopyOfFreedMemory) {
  const Stream stream;
  std::byte host[16];
  void* freed = nullptr;
  {
    const DeviceBuffer x(16);
    freed = x.data();
  }
  EXPECT_THROW(cuda::copy_to_host(host, freed, 16, stream), CudaError);
  EXPECT_NE(take(Fault::UseAfterFree).find("which was freed"), std::string::npos);
}

TEST_F(SimMemory, DoubleFree) {
  void* p = nullptr;
  INGOT_CUDA_CHECK(cudaMalloc(&p, 16));
  INGOT_CUDA_CHECK(cudaFree(p));
  EXPECT_EQ(cudaFree(p), cudaErrorInvalidValue);
  EXPECT_NE(take(Fault::BadHandle).find("which was freed before"), std::string::npos);
}

TEST_F(SimMemory, LeaksAreListed) {
  void *device = nullptr, *host = nullptr;
  cudaEvent_t event = nullptr;
  INGOT_CUDA_CHECK(cudaMalloc(&device, 48));
  INGOT_CUDA_CHECK(cudaHostAlloc(&host, 32, 0));
  INGOT_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDefault));
  EXPECT_EQ(sim::live_resources(), (std::vector<std::string>{"device allocation #1 of 48 bytes",
                                                             "pinned buffer of 32 bytes", "event #1"}));
  INGOT_CUDA_CHECK(cudaFree(device));
  INGOT_CUDA_CHECK(cudaFreeHost(host));
  INGOT_CUDA_CHECK(cudaEventDestroy(event));
  EXPECT_TRUE(sim::live_resources().empty());
}

TEST_F(SimMemory, KindsOfMemory) {
  const DeviceBuffer device(16);
  const PinnedBuffer pinned(16);
  int pageable = 0;
  EXPECT_EQ(cuda::memory_kind(device.as<std::byte>() + 5), cuda::MemoryKind::Device);
  EXPECT_EQ(cuda::memory_kind(pinned.as<std::byte>() + 5), cuda::MemoryKind::Pinned);
  EXPECT_EQ(cuda::memory_kind(&pageable), cuda::MemoryKind::Pageable);
}

// Pageable memory is read at the call, pinned memory when the stream comes to it.
TEST_F(SimMemory, PageableAndPinnedSourcesDiffer) {
  const Stream stream;
  int pageable = 1;
  const PinnedBuffer pinned(sizeof(int));
  *pinned.as<int>() = 1;
  const DeviceBuffer a(sizeof(int)), b(sizeof(int));
  cuda::copy_to_device(a.data(), &pageable, sizeof(int), stream);
  cuda::copy_to_device(b.data(), pinned.data(), sizeof(int), stream);
  pageable = *pinned.as<int>() = 2;
  EXPECT_EQ(to_host<int>(a, stream)[0], 1);
  EXPECT_EQ(to_host<int>(b, stream)[0], 2) << "the host wrote into a copy that was under way";
}

TEST_F(SimMemory, PinnedTargetIsFilledOnlyWhenTheStreamIsDone) {
  const Stream stream;
  const DeviceBuffer a = to_device(std::vector<int>{5}, stream);
  const PinnedBuffer pinned(sizeof(int));
  *pinned.as<int>() = 1;
  cuda::copy_to_host(pinned.data(), a.data(), sizeof(int), stream);
  EXPECT_EQ(*pinned.as<int>(), 1) << "the copy ran before anything waited for it";
  stream.synchronize();
  EXPECT_EQ(*pinned.as<int>(), 5);
}

TEST_F(SimMemory, PinnedBufferFreedUnderACopy) {
  const Stream stream;
  const DeviceBuffer a(sizeof(int));
  {
    const PinnedBuffer pinned(sizeof(int));
    cuda::copy_to_device(a.data(), pinned.data(), sizeof(int), stream);
  }
  EXPECT_THROW(stream.synchronize(), CudaError);
  EXPECT_NE(take(Fault::UseAfterFree).find("a pinned buffer that was freed"), std::string::npos);
}

TEST_F(SimMemory, NothingLeftAliveAfterMoves) {
  DeviceBuffer a(16), b(32);
  a = std::move(b);
  EXPECT_EQ(a.bytes(), 32u);
  EXPECT_EQ(sim::counters().bytes, 32u);
  PinnedBuffer p(16), q(32);
  p = std::move(q);
  Stream s, t;
  s = std::move(t);
}

TEST_F(SimMemory, DeviceInfo) {
  const cuda::DeviceList list = cuda::devices();
  EXPECT_EQ(list.count, 1);
  EXPECT_EQ(list.reason, "");
  const cuda::DeviceInfo info = cuda::device_info(0);
  EXPECT_EQ(info.sm, 90);
  EXPECT_EQ(info.memory_bytes, std::size_t{256} << 20);
  EXPECT_NE(info.name.find("simulated"), std::string::npos);
  const std::string text = message_of([] { cuda::device_info(3); });
  EXPECT_NE(text.find("cuda:3 was asked for; this machine has 1 GPU: use cuda:0"), std::string::npos) << text;
}

TEST_F(SimMemory, MachineWithoutAGpu) {
  sim::reset({.devices = 0});
  const cuda::DeviceList list = cuda::devices();
  EXPECT_EQ(list.count, 0);
  EXPECT_NE(list.reason.find("cudaErrorNoDevice"), std::string::npos) << list.reason;
  EXPECT_THROW(cuda::set_device(0), UsageError);
  EXPECT_THROW(DeviceBuffer(16), CudaError);
  sim::reset();
}

using SimMemoryDeathTest = SimMemory;

TEST_F(SimMemoryDeathTest, HostReadOfDeviceMemory) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const DeviceBuffer x(16);
  EXPECT_DEATH(
      {
        volatile int value = *x.as<volatile int>();
        (void)value;
      },
      "host code touched device memory at .* \\(allocation #1 of 16 bytes\\) at test_memory.cpp:.*copy it to "
      "the host");
}

}  // namespace
}  // namespace ingot
