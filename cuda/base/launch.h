// launch(): the one way to start a kernel, for .cu files. It converts the arguments to the kernel's parameter
// types and copies them at the call, asks for more than 48 KiB of dynamic shared memory where needed, and
// throws a CudaError that names the kernel, grid, block and shared memory.
//
// nvcc compiles a call to the CUDA runtime's launch. Compiled for the simulated device
// (tests/support/cuda_sim), whose compiler knows no kernels, the same call also tells the simulator how to
// call the function.
//
//   __global__ void scale(float* x, float factor, int n);
//   launch(scale, dim3(blocks), dim3(256), 0, stream, x, 0.5f, n);
//
// A kernel of a module (cuda/base/module.h) has no parameter types here; its arguments come as a list of
// addresses, one for each parameter, each of a value of the parameter's own type.
//
//   float* x; int n;
//   launch(module.kernel("scale"), dim3(blocks), dim3(256), 0, stream, std::array<void*, 2>{&x, &n});
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <tuple>
#include <utility>

#include "core/base/error.h"
#include "cuda/base/module.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

namespace detail {
// True when a LaunchCount took the call's place.
bool only_counted();
// `name` is for messages; null: CUDA knows it.
void launch_kernel(const void* kernel, const char* name, dim3 grid, dim3 block, std::size_t dynamic_shared,
                   cudaStream_t stream, void** arguments);
}  // namespace detail

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared,
            const Stream& stream, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments),
                "launch: one argument for each parameter of the kernel");
#if defined(INGOT_CUDA_SIM)
  ::ingot::sim::know_kernel(kernel);
#endif
  std::tuple<Parameters...> values{static_cast<Parameters>(std::forward<Arguments>(arguments))...};
  std::apply(
      [&](auto&... value) {
        void* pointers[sizeof...(Parameters) + 1] = {
            const_cast<void*>(static_cast<const volatile void*>(&value))..., nullptr};
        detail::launch_kernel(reinterpret_cast<const void*>(kernel), nullptr, grid, block, dynamic_shared,
                              stream.get(), pointers);
      },
      values);
}

// The values are copied at the call.
inline void launch(const ModuleKernel& kernel, dim3 grid, dim3 block, std::size_t dynamic_shared,
                   const Stream& stream, std::span<void* const> arguments) {
  detail::launch_kernel(kernel.handle, kernel.name.c_str(), grid, block, dynamic_shared, stream.get(),
                        const_cast<void**>(arguments.data()));
}

// While one lives, launches, fills and copies of this thread are counted instead of issued: so a step says
// what a run of it will issue without a device, and it is the very code of the run that says it.
//
//   const LaunchCount count;
//   softmax(..., Stream::borrow(nullptr));
//   return count.issued();
class LaunchCount {
 public:
  LaunchCount();
  ~LaunchCount();
  LaunchCount(const LaunchCount&) = delete;
  LaunchCount& operator=(const LaunchCount&) = delete;
  int issued() const;

 private:
  int before_;
};

// How many blocks of `block` cover `count` elements.
constexpr unsigned blocks_for(std::size_t count, unsigned block) {
  return static_cast<unsigned>((count + block - 1) / block);
}

}  // namespace ingot::cuda
