// What a .cu file sees in place of a GPU: this header is force-included when g++ compiles one for the
// simulated device.
//
// It gives CUDA's device vocabulary (index variables, barriers, warp functions, atomics, the maths that
// cuda/base/kernel.h promises) as ordinary functions on top of the calls of `namespace ingot::sim`, which run
// on the simulator's fibers. The CUDA headers themselves define __global__ and its like as nothing for a host
// compiler.
//
//   g++ -std=c++20 -x c++ -include tests/support/cuda_sim/prelude.h -c kernels.cu
#pragma once

#define INGOT_CUDA_SIM 1

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>

#include "tests/support/cuda_sim/kernel_abi.h"

// Shared memory has a macro of its own; the keyword would silently be a local variable here.
#undef __shared__
#define __shared__ static_assert(false, "use GPU_SHARED or GPU_DYN_SHARED of cuda/base/kernel.h");

// A promise about registers, of which there are none here.
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

extern constinit uint3 threadIdx;
extern constinit uint3 blockIdx;
extern constinit dim3 blockDim;
extern constinit dim3 gridDim;
inline constexpr int warpSize = 32;

namespace ingot::sim {

// ---- Calls of cuda/base/kernel.h ----
void* shared_array(const void* site, const char* name, std::size_t bytes);
void* dynamic_shared();
void check_aligned(const void* pointer, std::size_t bytes);
enum class MmaKind { F16, BF16, TF32 };
void mma(MmaKind kind, float* d, const unsigned* a, const unsigned* b);
unsigned to_tf32(float value);
void ldmatrix(unsigned* r, int matrices, bool transposed, const void* row);
void copy_async(void* shared, const void* global, int bytes, int valid);
void copy_async_commit();
void copy_async_wait(int pending);

// ---- Calls of cuda/libs ----
// What a library's kernels are here: host code that runs as an operation of the stream, when the device's
// memory may be touched. An exception is a finding, and the launch has failed.
void run_on_device(cudaStream_t stream, const char* name, std::function<void()> work);

// ---- Calls of this header ----
enum class Shuffle { Index, Xor, Up, Down };
void barrier(const char* file, int line);
void warp_barrier(unsigned mask, const char* file, int line);
void warp_shuffle(Shuffle kind, unsigned mask, void* value, std::size_t bytes, int lane, int width,
                  const char* file, int line);
unsigned warp_ballot(unsigned mask, bool predicate, const char* file, int line);
unsigned active_lanes();
void fence();
void set_condition(unsigned long long handle, unsigned value);
// Announces an atomic access by the running thread.
void atomic_access(const void* address, std::size_t bytes);

template <class T, class F>
INGOT_SIM_NO_CALLBACKS T atomic_update(T* address, F next) {
  atomic_access(address, sizeof(T));
  T old;
  __builtin_memcpy(&old, static_cast<const void*>(address), sizeof(T));
  const T value = next(old);
  __builtin_memcpy(static_cast<void*>(address), &value, sizeof(T));
  return old;
}

}  // namespace ingot::sim

#include "tests/support/cuda_sim/intrinsics.h"
