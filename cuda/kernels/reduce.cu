// Reduction along the middle axis of [outer, length, inner].
//
//   y[o, i] = x[o, 0, i] + ... + x[o, length - 1, i]   (or the mean, the maximum, the minimum)
//
// Bytes that must move: x once, y once. Rows in one piece (inner 1) take a warp each, or a block when they
// are long. Rows across memory (inner > 1) are columns: a block has 32 neighbouring ones and 8 threads along
// each, so that accesses lie side by side. Where that gives too few blocks to fill a GPU, as in a bias
// gradient with a few channels and a long axis, the axis is cut into parts whose results go to the workspace,
// and are reduced in turn. No atomics: the same bits each time. Integers and f64 are reduce_exact.cu's.
#include "cuda/kernels/reduce.h"

#include <algorithm>

#include "core/base/error.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/reduce_exact.h"
#include "cuda/kernels/reduce_parts.h"

namespace ingot::cuda::reduce_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kWarpRow = 1024;       // rows up to here take a warp
constexpr int kColumns = kWarpSize;  // of a block
constexpr int kStrips = kWarps;      // threads along a column

struct Sum {
  static constexpr float kStart = 0.0f;
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  static constexpr float kStart = -INFINITY;
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};
struct Min {
  static constexpr float kStart = INFINITY;
  __device__ float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

// ---- Rows in one piece ----------------------------------------------------------------------------------

template <class T, class Op, int V, int Step>
__device__ inline float strided(const T* from, long long length, int first, Op op) {
  float value = Op::kStart;
  for (long long at = static_cast<long long>(first) * V; at < length; at += Step * V) {
    float v[V];
    load_some<V>(from + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) value = op(value, v[k]);
  }
  return value;
}

// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, class Out, class Op, int V>
__global__ void warp_rows_kernel(const T* x, Out* y, long long rows, long long length, float scale) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long row =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (row >= rows) return;  // the whole warp
  const float value = warp_reduce(strided<T, Op, V, kWarpSize>(x + row * length, length, lane, Op{}), Op{});
  if (lane == 0) y[row] = narrow<Out>(value * scale);
}

// Block part + parts * row: elements [part * share, (part + 1) * share) of the row.
// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, class Out, class Op, int V>
__global__ void block_rows_kernel(const T* x, Out* y, long long length, long long share, unsigned parts,
                                  float scale) {
  GPU_SHARED(partial, float, [kWarps]);
  const int thread = static_cast<int>(threadIdx.x);
  const long long begin = blockIdx.x % parts * share, left = length - begin;
  const T* const from = x + blockIdx.x / parts * length + begin;
  const float value =
      warp_reduce(strided<T, Op, V, kThreads>(from, left < share ? left : share, thread, Op{}), Op{});
  if (thread % kWarpSize == 0) partial[thread / kWarpSize] = value;
  __syncthreads();
  if (thread != 0) return;
  float all = partial[0];
  for (int w = 1; w < kWarps; ++w) all = Op{}(all, partial[w]);
  y[blockIdx.x] = narrow<Out>(all * scale);
}

// ---- Columns --------------------------------------------------------------------------------------------

// Block (b, part, o): columns 32 b.. of outer index o, elements [part * share, (part + 1) * share) of the
// axis. The result goes to y[o, part, column].
// Bound by: bandwidth, narrow: a lane has a column, so that few columns still fill a block; a warp reads 32
//   neighbours in a row.
template <class T, class Out, class Op>
__global__ void columns_kernel(const T* x, Out* y, long long length, long long inner, long long share,
                               float scale) {
  GPU_SHARED(strips, float, [kStrips][kColumns + 1]);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const long long column = static_cast<long long>(blockIdx.x) * kColumns + tx;
  const long long begin = blockIdx.y * share, end = begin + share < length ? begin + share : length;
  float value = Op::kStart;
  if (column < inner) {
    const T* const from = x + static_cast<long long>(blockIdx.z) * length * inner + column;
    for (long long at = begin + ty; at < end; at += kStrips) value = Op{}(value, widen(from[at * inner]));
  }
  strips[ty][tx] = value;
  __syncthreads();
  if (ty != 0 || column >= inner) return;
  for (int s = 1; s < kStrips; ++s) value = Op{}(value, strips[s][tx]);
  y[(static_cast<long long>(blockIdx.z) * gridDim.y + blockIdx.y) * inner + column] =
      narrow<Out>(value * scale);
}

// ---- Launches -------------------------------------------------------------------------------------------

template <class T, class Out, class Op, int V>
void launch_rows_of(const T* x, Out* y, const ReduceShape& s, std::int64_t parts, float scale,
                    const Stream& stream) {
  const auto rows = static_cast<long long>(s.outer), length = static_cast<long long>(s.length);
  if (parts == 1 && length <= kWarpRow) {
    launch(warp_rows_kernel<T, Out, Op, V>, dim3(blocks_for(static_cast<std::size_t>(rows), kWarps)),
           dim3(kThreads), 0, stream, x, y, rows, length, scale);
    return;
  }
  const long long share = ((length + parts - 1) / parts + V - 1) / V * V;  // starts on 16 bytes
  launch(block_rows_kernel<T, Out, Op, V>, dim3(static_cast<unsigned>(rows * parts)), dim3(kThreads), 0,
         stream, x, y, length, share, static_cast<unsigned>(parts), scale);
}

template <class T, class Out, class Op>
void launch_rows(const T* x, Out* y, const ReduceShape& s, std::int64_t parts, float scale,
                 const Stream& stream) {
  constexpr int kVector = Vec16<T>::kSize;
  if (s.length % kVector == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0)
    launch_rows_of<T, Out, Op, kVector>(x, y, s, parts, scale, stream);
  else
    launch_rows_of<T, Out, Op, 1>(x, y, s, parts, scale, stream);
}

template <class T, class Out, class Op>
void launch_columns(const T* x, Out* y, const ReduceShape& s, std::int64_t parts, float scale,
                    const Stream& stream) {
  constexpr std::int64_t kMostOuter = 65535;  // blocks along z
  const long long share = (s.length + parts - 1) / parts, length = s.length, inner = s.inner;
  for (std::int64_t o = 0; o < s.outer; o += kMostOuter) {
    const dim3 grid(blocks_for(static_cast<std::size_t>(inner), kColumns), static_cast<unsigned>(parts),
                    static_cast<unsigned>(std::min(kMostOuter, s.outer - o)));
    launch(columns_kernel<T, Out, Op>, grid, dim3(kColumns, kStrips), 0, stream, x + o * length * inner,
           y + o * parts * inner, length, inner, share, scale);
  }
}

template <class T, class Op>
void launch_typed(const T* x, T* y, const ReduceShape& s, float scale, void* workspace,
                  const Stream& stream) {
  const std::int64_t parts = reduce_parts(s);
  auto* const partial = static_cast<float*>(workspace);
  if (s.inner == 1 && parts == 1) {
    launch_rows<T, T, Op>(x, y, s, 1, scale, stream);
  } else if (s.inner == 1) {
    launch_rows<T, float, Op>(x, partial, s, parts, 1.0f, stream);
    launch_rows<float, T, Op>(partial, y, {s.outer, parts, 1}, 1, scale, stream);
  } else if (parts == 1) {
    launch_columns<T, T, Op>(x, y, s, 1, scale, stream);
  } else {
    launch_columns<T, float, Op>(x, partial, s, parts, 1.0f, stream);
    launch_columns<float, T, Op>(partial, y, {s.outer, parts, s.inner}, 1, scale, stream);
  }
}

template <class T>
void launch_kind(ReduceKind kind, const void* x, void* y, const ReduceShape& s, void* workspace,
                 const Stream& stream) {
  const auto* const from = static_cast<const T*>(x);
  auto* const to = static_cast<T*>(y);
  switch (kind) {
    case ReduceKind::Sum:
      return launch_typed<T, Sum>(from, to, s, 1.0f, workspace, stream);
    case ReduceKind::Mean:
      return launch_typed<T, Sum>(from, to, s, 1.0f / static_cast<float>(s.length), workspace, stream);
    case ReduceKind::Max:
      return launch_typed<T, Max>(from, to, s, 1.0f, workspace, stream);
    case ReduceKind::Min:
      return launch_typed<T, Min>(from, to, s, 1.0f, workspace, stream);
  }
}

}  // namespace ingot::cuda::reduce_kernels

namespace ingot::cuda {

std::size_t reduce_workspace(const ReduceShape& s, DType dtype) {
  const std::int64_t parts = reduce_parts(s);
  const bool exact = is_integer(dtype) || dtype == DType::F64;
  return parts == 1
             ? 0
             : static_cast<std::size_t>(s.outer * parts * s.inner) * (exact ? sizeof(double) : sizeof(float));
}

void reduce(ReduceKind kind, DType dtype, const void* x, void* y, const ReduceShape& s, void* workspace,
            const Stream& stream) {
  if (s.length == 0 && (kind == ReduceKind::Max || kind == ReduceKind::Min))
    throw UsageError("the maximum or minimum of no elements is not defined; the axis has length 0");
  if (s.outer == 0 || s.inner == 0) return;
  if (dtype == DType::F32)
    reduce_kernels::launch_kind<float>(kind, x, y, s, workspace, stream);
  else if (dtype == DType::F16)
    reduce_kernels::launch_kind<__half>(kind, x, y, s, workspace, stream);
  else if (dtype == DType::BF16)
    reduce_kernels::launch_kind<__nv_bfloat16>(kind, x, y, s, workspace, stream);
  else
    reduce_exact(kind, dtype, x, y, s, workspace, stream);
}

}  // namespace ingot::cuda
