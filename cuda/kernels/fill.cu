// Constants and counters.
//
//   fill: y[i] = value        iota: y[i] = i
//
// Bytes that must move: the result once. A thread writes 16 bytes; the last elements, or all where the
// pointer is not a multiple of 16, one by one.
#include "cuda/kernels/fill.h"

#include <cstring>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::fill_kernels {

using namespace gpu;

constexpr int kThreads = 256;

// The value at position i; `f(i)` gives it.
template <class T, int V, class F>
__device__ inline void write(T* y, long long n, F f) {
  const long long at = (static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * V;
  if (V > 1 && at + V <= n) {
    Vec16<T> piece;
#pragma unroll
    for (int k = 0; k < Vec16<T>::kSize; ++k) piece.at[k] = f(at + k);
    store16(y + at, piece);
  } else {
    for (int k = 0; k < V; ++k)
      if (at + k < n) y[at + k] = f(at + k);
  }
}

// Bound by: bandwidth (stores); narrow where V = 1.
template <class T, int V>
__global__ void fill_kernel(T* y, long long n, T value) {
  write<T, V>(y, n, [value](long long) { return value; });
}

template <class T>
__device__ inline T counter(long long i) {
  if constexpr (std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>)
    return narrow<T>(static_cast<float>(i));
  else
    return static_cast<T>(i);
}

// Bound by: bandwidth (stores); narrow where V = 1.
template <class T, int V>
__global__ void iota_kernel(T* y, long long n) {
  write<T, V>(y, n, [](long long i) { return counter<T>(i); });
}

unsigned blocks_of(std::int64_t n, int vector) {
  return blocks_for(static_cast<std::size_t>(n), static_cast<unsigned>(kThreads * vector));
}

template <class T>
void launch_iota(void* y, std::int64_t n, const Stream& stream) {
  constexpr int kVector = Vec16<T>::kSize;
  const long long count = n;
  if (address_of(y) % 16 == 0)
    launch(iota_kernel<T, kVector>, dim3(blocks_of(n, kVector)), dim3(kThreads), 0, stream,
           static_cast<T*>(y), count);
  else
    launch(iota_kernel<T, 1>, dim3(blocks_of(n, 1)), dim3(kThreads), 0, stream, static_cast<T*>(y), count);
}

}  // namespace ingot::cuda::fill_kernels

namespace ingot::cuda {

std::uint64_t element_bits(DType dtype, double value) {
  std::uint64_t bits = 0;
  visit_dtype(dtype, [&]<class T>() {
    const T element = from_double<T>(value);
    std::memcpy(&bits, &element, sizeof(T));
  });
  return bits;
}

void fill(std::uint64_t bits, std::size_t element, void* y, std::int64_t n, const Stream& stream) {
  using namespace fill_kernels;
  if (n == 0) return;
  const long long count = n;
  with_element(element, [&]<class T>(T*) {
    constexpr int kVector = Vec16<T>::kSize;
    const auto value = static_cast<T>(bits);
    if (address_of(y) % 16 == 0)
      launch(fill_kernel<T, kVector>, dim3(blocks_of(n, kVector)), dim3(kThreads), 0, stream,
             static_cast<T*>(y), count, value);
    else
      launch(fill_kernel<T, 1>, dim3(blocks_of(n, 1)), dim3(kThreads), 0, stream, static_cast<T*>(y), count,
             value);
  });
}

void iota(DType dtype, void* y, std::int64_t n, const Stream& stream) {
  using namespace fill_kernels;
  if (dtype == DType::Bool) throw UsageError("iota counts in a numeric dtype, got bool");
  if (n == 0) return;
  switch (dtype) {
    case DType::F32:
      return launch_iota<float>(y, n, stream);
    case DType::F64:
      return launch_iota<double>(y, n, stream);
    case DType::F16:
      return launch_iota<__half>(y, n, stream);
    case DType::BF16:
      return launch_iota<__nv_bfloat16>(y, n, stream);
    case DType::I32:
      return launch_iota<int>(y, n, stream);
    case DType::I64:
      return launch_iota<long long>(y, n, stream);
    case DType::U8:
    case DType::Bool:
      return launch_iota<unsigned char>(y, n, stream);
  }
}

}  // namespace ingot::cuda
