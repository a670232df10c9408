// Folds along the middle axis of [outer, length, inner], of whatever a fold keeps: the kernels that argmax,
// variance and exact sums share. For .cu files. (Sums and extrema of floating types have their own, leaner
// ones in reduce.cu, whose division of work this follows.)
//
// A fold F is a small struct, copied to the device:
//   using Element, State, Result;                     State is an aggregate without initialisers
//   void begin(const Element* first);                 sees an element of the row before any is taken
//   State start() const;
//   void take(State& s, Element x, long long index) const;      index along the axis
//   State join(State a, State b) const;               of disjoint elements, in any order
//   State shuffled(State s, int step) const;          shuffle_xor of its parts
//   Result finish(State s) const;
// Where outer * inner keeps few blocks busy, the axis is cut into parts (reduce_parts.h) whose states go to
// the workspace and are joined in order. The division depends on the shape alone: the same bits each time.
//
//   launch_fold(Variance<T>{...}, x, y, shape, workspace, stream);
//   bytes = fold_workspace(shape, sizeof(State));
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/reduce_parts.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::fold_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kWarpRow = 1024;       // rows up to here take a warp
constexpr int kColumns = kWarpSize;  // of a block
constexpr int kStrips = kWarps;      // threads along a column

// Elements [begin, end) of a row in one piece, those of one among `threads` threads.
template <class F, int V>
__device__ inline typename F::State strided(const F& f, const typename F::Element* row, long long begin,
                                            long long end, int thread, int threads) {
  using Element = typename F::Element;
  typename F::State state = f.start();
#pragma unroll 4
  for (long long at = begin + thread * V; at < end; at += threads * V) {
    if constexpr (V == 1) {
      f.take(state, row[at], at);
    } else {
      const Vec16<Element> some = load16(row + at);
#pragma unroll
      for (int k = 0; k < V; ++k) f.take(state, some.at[k], at + k);
    }
  }
  return state;
}

// Lane 0 holds the result.
template <class F>
__device__ inline typename F::State warp_join(const F& f, typename F::State state) {
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) state = f.join(state, f.shuffled(state, step));
  return state;
}

// Bound by: bandwidth (loads); narrow where V = 1, alone for int, long, char, double: few programs reduce
//   integers or f64, and their wide kernels would be a hundredth of the library.
template <class F, int V>
__global__ void warp_rows_kernel(F f, const typename F::Element* x, typename F::Result* y, long long rows,
                                 long long length) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long row =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (row >= rows) return;  // the whole warp
  const typename F::Element* const from = x + row * length;
  f.begin(from);
  const auto state = warp_join(f, strided<F, V>(f, from, 0, length, lane, kWarpSize));
  if (lane == 0) y[row] = f.finish(state);
}

// Block part + parts * row: elements [part * share, (part + 1) * share) of the row. `states` is null where
// there is one part.
// Bound by: bandwidth (loads); narrow where V = 1, alone for int, long, char, double: few programs reduce
//   integers or f64, and their wide kernels would be a hundredth of the library.
template <class F, int V>
__global__ void block_rows_kernel(F f, const typename F::Element* x, typename F::Result* y,
                                  typename F::State* states, long long length, long long share,
                                  unsigned parts) {
  using State = typename F::State;
  GPU_SHARED(slots, State, [kWarps]);
  const int thread = static_cast<int>(threadIdx.x);
  const typename F::Element* const from = x + blockIdx.x / parts * length;
  const long long begin = blockIdx.x % parts * share, end = begin + share < length ? begin + share : length;
  f.begin(from);
  const State state = warp_join(f, strided<F, V>(f, from, begin, end, thread, kThreads));
  if (thread % kWarpSize == 0) slots[thread / kWarpSize] = state;
  __syncthreads();
  if (thread != 0) return;
  State all = slots[0];
  for (int w = 1; w < kWarps; ++w) all = f.join(all, slots[w]);
  if (states != nullptr)
    states[blockIdx.x] = all;
  else
    y[blockIdx.x] = f.finish(all);
}

// Block (b, part, o): columns 32 b.. of outer index `o_base` + o.
// Bound by: bandwidth, narrow: a lane has a column, so that few columns still fill a block; a warp reads 32
//   neighbours in a row.
template <class F>
__global__ void columns_kernel(F f, const typename F::Element* x, typename F::Result* y,
                               typename F::State* states, long long length, long long inner, long long share,
                               long long o_base) {
  using State = typename F::State;
  GPU_SHARED(slots, State, [kStrips][kColumns]);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const long long column = static_cast<long long>(blockIdx.x) * kColumns + tx, outer = o_base + blockIdx.z;
  const long long begin = blockIdx.y * share, end = begin + share < length ? begin + share : length;
  State state = f.start();
  if (column < inner) {
    const typename F::Element* const from = x + outer * length * inner + column;
    f.begin(from);
#pragma unroll 4
    for (long long at = begin + ty; at < end; at += kStrips) f.take(state, from[at * inner], at);
  }
  slots[ty][tx] = state;
  __syncthreads();
  if (ty != 0 || column >= inner) return;
  for (int s = 1; s < kStrips; ++s) state = f.join(state, slots[s][tx]);
  if (states != nullptr)
    states[(outer * gridDim.y + blockIdx.y) * inner + column] = state;
  else
    y[outer * inner + column] = f.finish(state);
}

// Thread (o, i): states [outer, parts, inner].
// Bound by: latency: a result has a few states to join.
template <class F>
__global__ void join_kernel(F f, const typename F::State* states, typename F::Result* y, long long results,
                            long long inner, unsigned parts) {
  const long long at = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (at >= results) return;
  const long long outer = at / inner;
  const typename F::State* const from = states + outer * parts * inner + (at - outer * inner);
  typename F::State all = from[0];
#pragma unroll 4
  for (unsigned part = 1; part < parts; ++part) all = f.join(all, from[part * inner]);
  y[at] = f.finish(all);
}

template <class F, int V>
void launch_rows(F f, const typename F::Element* x, typename F::Result* y, typename F::State* states,
                 const ReduceShape& s, std::int64_t parts, const Stream& stream) {
  const long long rows = s.outer, length = s.length;
  if (states == nullptr && length <= kWarpRow) {
    launch(warp_rows_kernel<F, V>, dim3(blocks_for(static_cast<std::size_t>(rows), kWarps)), dim3(kThreads),
           0, stream, f, x, y, rows, length);
    return;
  }
  const long long share = ((length + parts - 1) / parts + V - 1) / V * V;  // starts on 16 bytes
  launch(block_rows_kernel<F, V>, dim3(static_cast<unsigned>(rows * parts)), dim3(kThreads), 0, stream, f, x,
         y, states, length, share, static_cast<unsigned>(parts));
}

template <class F>
void launch_columns(F f, const typename F::Element* x, typename F::Result* y, typename F::State* states,
                    const ReduceShape& s, std::int64_t parts, const Stream& stream) {
  constexpr std::int64_t kMostOuter = 65535;  // blocks along z
  const long long share = (s.length + parts - 1) / parts;
  for (std::int64_t o = 0; o < s.outer; o += kMostOuter) {
    const dim3 grid(blocks_for(static_cast<std::size_t>(s.inner), kColumns), static_cast<unsigned>(parts),
                    static_cast<unsigned>(std::min(kMostOuter, s.outer - o)));
    launch(columns_kernel<F>, grid, dim3(kColumns, kStrips), 0, stream, f, x, y, states,
           static_cast<long long>(s.length), static_cast<long long>(s.inner), share,
           static_cast<long long>(o));
  }
}

// `kVector`: rows may be read 16 bytes at a time, where shape and pointer allow it.
template <bool kVector, class F>
void launch_fold(F f, const void* x, void* y, const ReduceShape& s, void* workspace, const Stream& stream) {
  using Element = typename F::Element;
  const auto* const from = static_cast<const Element*>(x);
  auto* const to = static_cast<typename F::Result*>(y);
  const std::int64_t parts = reduce_parts(s);
  auto* const states = parts == 1 ? nullptr : static_cast<typename F::State*>(workspace);
  constexpr int kSize = kVector ? Vec16<Element>::kSize : 1;
  if (s.inner != 1)
    launch_columns(f, from, to, states, s, parts, stream);
  else if (kVector && s.length % kSize == 0 && address_of(x) % 16 == 0)
    launch_rows<F, kSize>(f, from, to, states, s, parts, stream);
  else
    launch_rows<F, 1>(f, from, to, states, s, parts, stream);
  if (states == nullptr) return;
  const long long results = s.outer * s.inner;
  launch(join_kernel<F>, dim3(blocks_for(static_cast<std::size_t>(results), kThreads)), dim3(kThreads), 0,
         stream, f, states, to, results, static_cast<long long>(s.inner), static_cast<unsigned>(parts));
}

inline std::size_t fold_workspace(const ReduceShape& s, std::size_t state) {
  const std::int64_t parts = reduce_parts(s);
  return parts == 1 ? 0 : static_cast<std::size_t>(s.outer * parts * s.inner) * state;
}

}  // namespace ingot::cuda::fold_kernels
