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
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include "core/base/error.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

namespace detail {
void launch_kernel(const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared, cudaStream_t stream,
                   void** arguments);
}

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
        detail::launch_kernel(reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared,
                              stream.get(), pointers);
      },
      values);
}

// How many blocks of `block` cover `count` elements.
constexpr unsigned blocks_for(std::size_t count, unsigned block) {
  return static_cast<unsigned>((count + block - 1) / block);
}

}  // namespace ingot::cuda
