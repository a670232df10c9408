// Softmax along an axis of [outer, length, inner], and its gradient.
//
//   y = exp(x - m) / s,  log: y = x - m - log s,   m = max x,  s = sum exp(x - m)
//   dx = y (dy - sum dy y),  log: dx = dy - exp(y) sum dy
//
// Bytes that must move: x and y once each; dy, y and dx once each. Three shapes of problem:
//   rows of up to 1024 elements in one piece: a warp holds a row in registers, so each byte moves once
//   longer rows in one piece: a block a row, read twice (the second time mostly from the cache)
//   rows that lie across memory: a thread a row, neighbours side by side, read twice
// Sums run in a fixed order: the same bits each time.
//
// Occupancy: warp_rows_kernel from 25%: a row stays in registers, so that x moves once; below 50% are
//   single elements, 32 a thread.
// Occupancy: warp_rows_grad_kernel from 12%: a row of dy and one of y stay in registers, so that both move
//   once; 12% is of single elements.
#include "cuda/kernels/softmax.h"

#include "core/base/error.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/block_reduce.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/running_softmax.h"

// Not an unnamed namespace: its kernels would have no names in what the simulator and profilers report.
namespace ingot::cuda::softmax_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kMaxInRegisters = 1024;

// How a row's elements follow from its maximum and sum.
struct Apply {
  float most, scale;  // scale: 1 / sum, or log(sum)
  bool log;
  // Two subtractions: one of most + log(sum) would round away small logarithms.
  __device__ float operator()(float x) const { return log ? x - most - scale : expf(x - most) * scale; }
};
__device__ inline Apply apply_of(Running r, bool log) {
  return {r.most, log ? logf(r.sum) : 1.0f / r.sum, log};
}

__device__ inline float grad_term(float dy, float y, bool log) {
  return log ? dy : dy * y;
}
__device__ inline float grad_of(float dy, float y, float sum, bool log) {
  return log ? dy - expf(y) * sum : y * (dy - sum);
}

// ---- A warp a row ---------------------------------------------------------------------------------------

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, int Chunks>
__global__ void warp_rows_kernel(const T* x, T* y, long long rows, int length, bool log) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long row =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (row >= rows) return;  // the whole warp
  const T* const from = x + row * length;
  float v[Chunks][V];
  float most = -INFINITY;
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * kWarpSize + lane) * V;
    if (at < length) {
      load_some<V>(from + at, v[i]);
#pragma unroll
      for (int k = 0; k < V; ++k) most = v[i][k] > most ? v[i][k] : most;
    }
  }
  most = warp_max(most);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < Chunks; ++i)
    if ((i * kWarpSize + lane) * V < length) {
#pragma unroll
      for (int k = 0; k < V; ++k) sum += expf(v[i][k] - most);
    }
  const Apply apply = apply_of({most, warp_sum(sum)}, log);
  T* const to = y + row * length;
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * kWarpSize + lane) * V;
    if (at < length) {
#pragma unroll
      for (int k = 0; k < V; ++k) v[i][k] = apply(v[i][k]);
      store_some<V>(to + at, v[i]);
    }
  }
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, int Chunks>
__global__ void warp_rows_grad_kernel(const T* dy, const T* y, T* dx, long long rows, int length, bool log) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long row =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (row >= rows) return;  // the whole warp
  float g[Chunks][V], v[Chunks][V];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * kWarpSize + lane) * V;
    if (at < length) {
      load_some<V>(dy + row * length + at, g[i]);
      load_some<V>(y + row * length + at, v[i]);
#pragma unroll
      for (int k = 0; k < V; ++k) sum += grad_term(g[i][k], v[i][k], log);
    }
  }
  sum = warp_sum(sum);
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * kWarpSize + lane) * V;
    if (at < length) {
#pragma unroll
      for (int k = 0; k < V; ++k) g[i][k] = grad_of(g[i][k], v[i][k], sum, log);
      store_some<V>(dx + row * length + at, g[i]);
    }
  }
}

// ---- A block a row --------------------------------------------------------------------------------------

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void block_rows_kernel(const T* x, T* y, int length, bool log) {
  GPU_SHARED(slots, Running, [kWarps + 1]);
  const T* const from = x + static_cast<long long>(blockIdx.x) * length;
  T* const to = y + static_cast<long long>(blockIdx.x) * length;
  Running own = nothing();
  for (int at = static_cast<int>(threadIdx.x) * V; at < length; at += kThreads * V) {
    float v[V];
    load_some<V>(from + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) own = add(own, v[k]);
  }
  const Running all = block_reduce<kThreads>(
      own, &slots[0], [](Running a, Running b) { return join(a, b); },
      [](Running r, int step) { return shuffled(r, step); });
  const Apply apply = apply_of(all, log);
  for (int at = static_cast<int>(threadIdx.x) * V; at < length; at += kThreads * V) {
    float v[V];
    load_some<V>(from + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] = apply(v[k]);
    store_some<V>(to + at, v);
  }
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void block_rows_grad_kernel(const T* dy, const T* y, T* dx, int length, bool log) {
  GPU_SHARED(slots, float, [kWarps + 1]);
  const long long start = static_cast<long long>(blockIdx.x) * length;
  float own = 0.0f;
  for (int at = static_cast<int>(threadIdx.x) * V; at < length; at += kThreads * V) {
    float g[V], v[V];
    load_some<V>(dy + start + at, g);
    load_some<V>(y + start + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) own += grad_term(g[k], v[k], log);
  }
  const float sum = block_sum<kThreads>(own, &slots[0]);
  for (int at = static_cast<int>(threadIdx.x) * V; at < length; at += kThreads * V) {
    float g[V], v[V];
    load_some<V>(dy + start + at, g);
    load_some<V>(y + start + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) g[k] = grad_of(g[k], v[k], sum, log);
    store_some<V>(dx + start + at, g);
  }
}

// ---- A thread a row -------------------------------------------------------------------------------------

// Bound by: bandwidth, narrow: rows lie across memory; the lanes of a warp read 32 neighbours.
template <class T>
__global__ void thread_rows_kernel(const T* x, T* y, long long rows, int length, long long inner, bool log) {
  const long long row = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (row >= rows) return;
  const long long start = row / inner * length * inner + row % inner;
  Running r = nothing();
  for (int i = 0; i < length; ++i) r = add(r, widen(x[start + i * inner]));
  const Apply apply = apply_of(r, log);
  for (int i = 0; i < length; ++i) y[start + i * inner] = narrow<T>(apply(widen(x[start + i * inner])));
}

// Bound by: bandwidth, narrow: as in thread_rows_kernel.
template <class T>
__global__ void thread_rows_grad_kernel(const T* dy, const T* y, T* dx, long long rows, int length,
                                        long long inner, bool log) {
  const long long row = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (row >= rows) return;
  const long long start = row / inner * length * inner + row % inner;
  float sum = 0.0f;
  for (int i = 0; i < length; ++i)
    sum += grad_term(widen(dy[start + i * inner]), widen(y[start + i * inner]), log);
  for (int i = 0; i < length; ++i) {
    const long long at = start + i * inner;
    dx[at] = narrow<T>(grad_of(widen(dy[at]), widen(y[at]), sum, log));
  }
}

// ---- Launches -------------------------------------------------------------------------------------------

// One of the two directions, so that both choose alike. For the forward direction `second` is null.
template <class T>
struct Operands {
  const T *first, *second;
  T* result;
};

template <class T, int V, int Chunks>
void launch_warps(const Operands<T>& o, const SoftmaxShape& s, bool log, const Stream& stream) {
  const dim3 grid(blocks_for(static_cast<std::size_t>(s.outer), kWarps)), block(kThreads);
  const auto rows = static_cast<long long>(s.outer);
  if (o.second == nullptr)
    launch(warp_rows_kernel<T, V, Chunks>, grid, block, 0, stream, o.first, o.result, rows, s.length, log);
  else
    launch(warp_rows_grad_kernel<T, V, Chunks>, grid, block, 0, stream, o.first, o.second, o.result, rows,
           s.length, log);
}

template <class T, int V>
void launch_rows(const Operands<T>& o, const SoftmaxShape& s, bool log, const Stream& stream) {
  if (s.length > kMaxInRegisters) {
    const dim3 grid(static_cast<unsigned>(s.outer)), block(kThreads);
    if (o.second == nullptr)
      launch(block_rows_kernel<T, V>, grid, block, 0, stream, o.first, o.result, s.length, log);
    else
      launch(block_rows_grad_kernel<T, V>, grid, block, 0, stream, o.first, o.second, o.result, s.length,
             log);
    return;
  }
  constexpr int kMost = kMaxInRegisters / (kWarpSize * V);  // 4, 8 or 32
  const int chunks = (s.length + kWarpSize * V - 1) / (kWarpSize * V);
  if (chunks <= 1)
    launch_warps<T, V, 1>(o, s, log, stream);
  else if (chunks <= 4)
    launch_warps<T, V, 4>(o, s, log, stream);
  else
    launch_warps<T, V, kMost>(o, s, log, stream);
}

template <class T>
void launch_typed(const Operands<T>& o, const SoftmaxShape& s, bool log, const Stream& stream) {
  if (s.outer == 0 || s.length == 0 || s.inner == 0) return;
  if (s.inner != 1) {
    const long long rows = s.outer * s.inner, inner = s.inner;
    const dim3 grid(blocks_for(static_cast<std::size_t>(rows), kThreads)), block(kThreads);
    if (o.second == nullptr)
      launch(thread_rows_kernel<T>, grid, block, 0, stream, o.first, o.result, rows, s.length, inner, log);
    else
      launch(thread_rows_grad_kernel<T>, grid, block, 0, stream, o.first, o.second, o.result, rows, s.length,
             inner, log);
    return;
  }
  constexpr int kVector = Vec16<T>::kSize;
  const auto address = reinterpret_cast<std::uintptr_t>(o.first) |
                       reinterpret_cast<std::uintptr_t>(o.second) |
                       reinterpret_cast<std::uintptr_t>(o.result);
  if (s.length % kVector == 0 && address % 16 == 0)
    launch_rows<T, kVector>(o, s, log, stream);
  else
    launch_rows<T, 1>(o, s, log, stream);
}

void launch_any(DType dtype, const void* first, const void* second, void* result, const SoftmaxShape& s,
                bool log, const Stream& stream) {
  const auto typed = [&]<class T>(T*) {
    launch_typed<T>({static_cast<const T*>(first), static_cast<const T*>(second), static_cast<T*>(result)}, s,
                    log, stream);
  };
  if (dtype == DType::F32)
    typed(static_cast<float*>(nullptr));
  else if (dtype == DType::F16)
    typed(static_cast<__half*>(nullptr));
  else if (dtype == DType::BF16)
    typed(static_cast<__nv_bfloat16*>(nullptr));
  else
    throw UsageError(cat("softmax on a GPU computes f32, f16 or bf16, got ", name(dtype)));
}

}  // namespace ingot::cuda::softmax_kernels

namespace ingot::cuda {

void softmax(SoftmaxKind kind, DType dtype, const void* x, void* y, const SoftmaxShape& shape,
             const Stream& stream) {
  softmax_kernels::launch_any(dtype, x, nullptr, y, shape, kind == SoftmaxKind::Log, stream);
}

void softmax_grad(SoftmaxKind kind, DType dtype, const void* dy, const void* y, void* dx,
                  const SoftmaxShape& shape, const Stream& stream) {
  softmax_kernels::launch_any(dtype, dy, y, dx, shape, kind == SoftmaxKind::Log, stream);
}

}  // namespace ingot::cuda
