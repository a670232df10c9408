// What a generated kernel sees in place of a GPU: force-included when g++ compiles its text for the simulated
// device.
//
// It is short because it is compiled once per kernel: no CUDA header, and of the C++ library only the few
// names that the embedded headers use (jit/include). Generated kernels know index variables, plain memory and
// arithmetic; a kernel with barriers or shared memory is a .cu file, with prelude.h.
//
//   g++ -std=c++20 -nostdinc++ -isystem tests/support/cuda_sim/jit/include
//     -include tests/support/cuda_sim/jit/prelude.h -shared -fPIC -nostdlib ew_add.cu -o ew_add.so
#pragma once

#define INGOT_CUDA_SIM 1
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

#include "tests/support/cuda_sim/kernel_abi.h"

// As CUDA's headers define them.
struct uint3 {
  unsigned int x, y, z;
};
struct dim3 {
  unsigned int x = 1, y = 1, z = 1;
};
extern constinit uint3 threadIdx;
extern constinit uint3 blockIdx;
extern constinit dim3 blockDim;
extern constinit dim3 gridDim;

namespace ingot::sim {
void check_aligned(const void* pointer, size_t bytes);
}

// Behind the kernel's text: the simulator learns of it when the image is loaded.
#define INGOT_SIM_KERNEL(name) static const int name##_known = (::ingot::sim::know_kernel(name), 0);
