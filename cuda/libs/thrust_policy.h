// How Thrust's algorithms run as work of a stream: for the .cu files of this folder that use them.
//
// On a GPU: on the stream, without waiting for it, with temporary memory cut from the step's workspace, so
// that nothing is allocated, a capture into a graph records it, and the bytes are part of the plan. That
// leaves out algorithms that return a value of the device (copy_if, reduce): they wait.
//
// On the simulated device (tests/support/cuda_sim), whose compiler has no CUDA: by Thrust's own host backend,
// as an operation of the stream, because the device's memory cannot be touched at any other time. It takes
// its temporary memory from the same workspace.
//
//   on_stream("thrust::sort", stream, [=](const Stream& s) {
//     Scratch scratch(workspace, bytes);
//     thrust::sort(gpu_policy(scratch, s), keys, keys + n);
//   });
#pragma once

// The ranges that come with CUDA's tools are ours to set (cuda/base/nvtx.h).
#define CCCL_DISABLE_NVTX
// Problems of 2^31 elements and more are not handed over: half of the kernels are not compiled.
#define THRUST_FORCE_32_BIT_OFFSET_TYPE
#if defined(INGOT_CUDA_SIM)
#define THRUST_DEVICE_SYSTEM THRUST_DEVICE_SYSTEM_CPP
#endif

#include <thrust/execution_policy.h>

#include <cstddef>
#include <cstdint>

#include "core/base/error.h"
#include "cuda/base/stream.h"

#if defined(INGOT_CUDA_SIM)
#include <thrust/system/cpp/execution_policy.h>
#else
#include <thrust/system/cuda/execution_policy.h>
#endif

namespace ingot::cuda {

// Temporary memory of one call: cut from the front, given back with the call. A measuring one has none and
// throws what it is asked for first.
class Scratch {
 public:
  using value_type = char;
  static constexpr std::size_t kAlign = 256;

  Scratch(void* memory, std::size_t bytes)
      : next_((reinterpret_cast<std::uintptr_t>(memory) + kAlign - 1) / kAlign * kAlign),
        end_(reinterpret_cast<std::uintptr_t>(memory) + bytes),
        bytes_(bytes) {}

  struct Asked {
    std::size_t bytes;
  };
  static Scratch measuring() {
    Scratch s(nullptr, 0);
    s.measures_ = true;
    return s;
  }

  char* allocate(std::ptrdiff_t n) {
    if (measures_) throw Asked{static_cast<std::size_t>(n)};
    const std::size_t size = (static_cast<std::size_t>(n) + kAlign - 1) / kAlign * kAlign;
    if (next_ > end_ || size > end_ - next_)
      throw DeviceError(cat("Thrust asks for ", n, " bytes more than the step's workspace of ", bytes_,
                            " bytes has; its need is larger than cuda/libs/thrust.h assumes: report the "
                            "version of the CUDA toolkit that this library was built with"));
    char* const at = reinterpret_cast<char*>(next_);
    next_ += size;
    return at;
  }
  void deallocate(char*, std::size_t) {}

 private:
  std::uintptr_t next_, end_;
  std::size_t bytes_;
  bool measures_ = false;
};

#if defined(INGOT_CUDA_SIM)
inline auto gpu_policy(Scratch& scratch, const Stream&) {
  return thrust::cpp::par(scratch);
}
template <class Work>
void on_stream(const char* name, const Stream& stream, Work work) {
  // By handle: the work may run when the Stream is gone.
  ::ingot::sim::run_on_device(stream.get(), name,
                              [work, handle = stream.get()] { work(Stream::borrow(handle)); });
}
#else
inline auto gpu_policy(Scratch& scratch, const Stream& stream) {
  return thrust::cuda::par_nosync(scratch).on(stream.get());
}
template <class Work>
void on_stream(const char*, const Stream& stream, Work work) {
  work(stream);
}
#endif

}  // namespace ingot::cuda
