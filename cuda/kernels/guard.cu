// Deciding on the device whether a run goes on.
//
//   set_if_finite:   condition = (first is kAllFinite)
//   copy_if_finite:  y = x, if first is kAllFinite
//
// Bytes that must move: what is copied, read and written once, 16 bytes a thread.
#include "cuda/kernels/guard.h"

#include "core/base/error.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/check.h"

namespace ingot::cuda::guard_kernels {

using namespace gpu;

constexpr int kThreads = 256;

// Bound by: latency: one thread reads one number.
__global__ void condition_kernel(Condition condition, const unsigned long long* first) {
  cudaGraphSetConditional(condition, *first == kAllFinite ? 1u : 0u);
}

// Bound by: bandwidth (loads, stores).
__global__ void __launch_bounds__(kThreads)
    copy_kernel(unsigned char* y, const unsigned char* x, long long n, const unsigned long long* first) {
  const long long at = (static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * 16;
  if (at >= n || *first != kAllFinite) return;
  if (at + 16 <= n) {
    store16(y + at, load16(x + at));
  } else {
    for (long long i = at; i < n; ++i) y[i] = x[i];
  }
}

}  // namespace ingot::cuda::guard_kernels

namespace ingot::cuda {

using namespace guard_kernels;

void set_if_finite(Condition condition, const std::uint64_t* first, const Stream& stream) {
  launch(condition_kernel, dim3(1), dim3(1), 0, stream, condition,
         reinterpret_cast<const unsigned long long*>(first));
}

void copy_if_finite(void* to, const void* from, std::size_t bytes, const std::uint64_t* first,
                    const Stream& stream) {
  if (bytes == 0) return;
  for (const void* p : {static_cast<const void*>(to), from})
    if (reinterpret_cast<std::uintptr_t>(p) % 16 != 0)
      throw UsageError(cat("copy_if_finite expects memory aligned to 16 bytes, got ", p));
  launch(copy_kernel, dim3(blocks_for(bytes, kThreads * 16)), dim3(kThreads), 0, stream,
         static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from),
         static_cast<long long>(bytes), reinterpret_cast<const unsigned long long*>(first));
}

}  // namespace ingot::cuda
