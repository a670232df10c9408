// Running sums along the middle axis of [outer, length, inner]:
//
//   y[o, l, i] = sum of x[o, m, i] over m <= l          (exclusive: m < l; reverse: m >= l, m > l)
//
// Bytes that must move: x once, y once. A warp takes 64 neighbouring elements of a row (inner = 1) at a
// time, scans them by shuffles in five steps, and carries their sum on; with inner > 1 a thread walks down
// its column, neighbours beside it. Where that keeps few warps busy, the axis is cut into parts: a first pass
// sums each part (x once more), the parts' sums are scanned by the same kernel, and each part begins with its
// own.
//
// A selection: slice k of x goes to place counts[k] - 1 where its mask is true. The others go, as zeros,
// behind those: each slice of y is written once. Bytes that must move: chosen slices in, y out.
#include "cuda/kernels/scan.h"

#include <algorithm>

#include "core/base/error.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/any_element.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::scan_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kChunks = 2;  // of 32 elements, that a warp has in flight
constexpr int kStep = kChunks * kWarpSize;

struct Walk {
  long long length, inner, share;  // share: elements of a part
  unsigned parts;
  bool exclusive, reverse;
  DType from, to;

  // The element that is at(l)-th in the order of the sum.
  __device__ long long at(long long l) const { return (reverse ? length - 1 - l : l) * inner; }
};

// A part of a line: elements base + w.at(l), begin <= l < end.
struct Part {
  long long base, begin, end;
};
__device__ inline Part part_of(const Walk& w, long long base, long long number) {
  const long long begin = number * w.share;
  return {base, begin, begin + w.share < w.length ? begin + w.share : w.length};
}
__device__ inline Part row_part(const Walk& w, long long warp) {
  const long long row = warp / w.parts;
  return part_of(w, row * w.length, warp - row * w.parts);
}
__device__ inline Part column_part(const Walk& w, long long thread) {
  const long long line = thread / w.inner, outer = line / w.parts;
  return part_of(w, outer * w.length * w.inner + (thread - line * w.inner), line - outer * w.parts);
}

// ---- Rows: a warp takes part `warp % parts` of row `warp / parts` ---------------------------------------

// Bound by: bandwidth, narrow: an element of any type a lane; a warp reads 32 neighbours.
template <class A>
__global__ void row_totals_kernel(const void* x, A* totals, Walk w, long long warps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long warp =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (warp >= warps) return;  // the whole warp
  const auto [base, begin, end] = row_part(w, warp);
  A sum = 0;
#pragma unroll 2
  for (long long l = begin + lane; l < end; l += kWarpSize) sum += load_as<A>(x, w.from, base + w.at(l));
  sum = warp_sum(sum);
  if (lane == 0) totals[warp] = sum;
}

// starts[warp]: what comes before the part; null: nothing does.
// Bound by: latency: five shuffles a chunk, whose sum the next one waits for.
template <class A>
__global__ void rows_kernel(const void* x, void* y, const A* starts, Walk w, long long warps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const long long warp =
      static_cast<long long>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  if (warp >= warps) return;  // the whole warp
  const auto [base, begin, end] = row_part(w, warp);
  A before = starts != nullptr ? starts[warp] : A(0);
  for (long long first = begin; first < end; first += kStep) {
    A sum[kChunks];  // of the chunk up to this lane
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const long long l = first + c * kWarpSize + lane;
      sum[c] = l < end ? load_as<A>(x, w.from, base + w.at(l)) : A(0);
    }
#pragma unroll
    for (unsigned step = 1; step < kWarpSize; step *= 2)
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const A other = shuffle_up(sum[c], step);
        if (lane >= static_cast<int>(step)) sum[c] += other;
      }
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const long long l = first + c * kWarpSize + lane;
      const A lower = shuffle_up(sum[c], 1);
      const A own = !w.exclusive ? sum[c] : lane == 0 ? A(0) : lower;
      if (l < end) store_as<A>(y, w.to, base + w.at(l), before + own);
      before += shuffle(sum[c], kWarpSize - 1);
    }
  }
}

// ---- Columns: thread (o, part, i) -----------------------------------------------------------------------

// Bound by: bandwidth, narrow: a lane has a column; a warp reads 32 neighbours.
template <class A>
__global__ void column_totals_kernel(const void* x, A* totals, Walk w, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const auto [base, begin, end] = column_part(w, thread);
  A sum = 0;
#pragma unroll 2
  for (long long l = begin; l < end; ++l) sum += load_as<A>(x, w.from, base + w.at(l));
  totals[thread] = sum;
}

// Bound by: bandwidth, narrow: a lane has a column; a warp reads and writes 32 neighbours.
template <class A>
__global__ void columns_kernel(const void* x, void* y, const A* starts, Walk w, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const auto [base, begin, end] = column_part(w, thread);
  A sum = starts != nullptr ? starts[thread] : A(0);
  for (long long first = begin; first < end; first += kChunks) {
    A own[kChunks];
#pragma unroll
    for (int c = 0; c < kChunks; ++c)
      own[c] = first + c < end ? load_as<A>(x, w.from, base + w.at(first + c)) : A(0);
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const A next = sum + own[c];
      if (first + c < end) store_as<A>(y, w.to, base + w.at(first + c), w.exclusive ? sum : next);
      sum = next;
    }
  }
}

// In how many parts the axis is cut: so that 4096 warps are busy, with a part of some length.
std::int64_t parts_of(const ReduceShape& s) {
  constexpr std::int64_t kEnough = 4096, kShortestRow = 1024, kShortestColumn = 64;
  const std::int64_t warps = s.inner == 1 ? s.outer : (s.outer * s.inner + kWarpSize - 1) / kWarpSize;
  const std::int64_t shortest = s.inner == 1 ? kShortestRow : kShortestColumn;
  if (warps == 0 || warps >= kEnough) return 1;
  return std::clamp<std::int64_t>(s.length / shortest, 1, (kEnough + warps - 1) / warps);
}

unsigned grid_of(const ReduceShape& s, std::int64_t threads) {
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff)
    throw UsageError(cat("a running sum on a GPU takes at most 2^31 - 1 blocks of ", kThreads, " threads; [",
                         s.outer, ", ", s.length, ", ", s.inner, "] needs ", blocks));
  return static_cast<unsigned>(blocks);
}

template <class A>
void run(DType x_dtype, const void* x, DType y_dtype, void* y, const ReduceShape& s, const ScanKind& kind,
         std::int64_t parts, void* workspace, const Stream& stream) {
  auto* const starts = parts == 1 ? nullptr : static_cast<A*>(workspace);
  const long long share = (s.length + parts - 1) / parts;
  const Walk w{s.length,       s.inner,      share,   static_cast<unsigned>(parts),
               kind.exclusive, kind.reverse, x_dtype, y_dtype};
  const bool rows = s.inner == 1;
  const long long workers = s.outer * parts * s.inner;  // warps of rows, threads of columns
  const dim3 grid(grid_of(s, rows ? workers * kWarpSize : workers)), block(kThreads);
  if (starts != nullptr) {
    launch(rows ? row_totals_kernel<A> : column_totals_kernel<A>, grid, block, 0, stream, x, starts, w,
           workers);
    constexpr DType kOwn = std::is_same_v<A, double> ? DType::F64 : DType::I64;
    run<A>(kOwn, starts, kOwn, starts, {.outer = s.outer, .length = parts, .inner = s.inner},
           {.exclusive = true}, 1, nullptr, stream);
  }
  launch(rows ? rows_kernel<A> : columns_kernel<A>, grid, block, 0, stream, x, y, starts, w, workers);
}

// ---- Selection ------------------------------------------------------------------------------------------

// Thread (o, k, u) moves unit u of slice k.
// Bound by: bandwidth (stores); narrow where Unit != uint4.
template <class Unit>
__global__ void place_kernel(const Unit* x, const unsigned char* mask, const std::int64_t* counts, Unit* y,
                             std::int64_t* count, long long length, Divider units, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const long long chosen = length == 0 ? 0 : counts[length - 1];
  if (thread == 0) *count = chosen;
  if (thread >= threads) return;
  const long long slice = units.quotient(thread), unit = thread - slice * units.divisor;
  const long long outer = slice / length, k = slice - outer * length;
  const long long before = counts[k];
  Unit value{};
  long long place = chosen + k - before;
  if (mask[k] != 0) {
    value = x[thread];
    place = before - 1;
  }
  y[(outer * length + place) * units.divisor + unit] = value;
}

}  // namespace ingot::cuda::scan_kernels

namespace ingot::cuda {

std::size_t running_sum_workspace(const ReduceShape& s) {
  const std::int64_t parts = scan_kernels::parts_of(s);
  static_assert(sizeof(double) == sizeof(long long));
  return parts == 1 ? 0 : static_cast<std::size_t>(s.outer * parts * s.inner) * sizeof(double);
}

void running_sum(DType x_dtype, const void* x, DType y_dtype, void* y, const ReduceShape& s,
                 const ScanKind& kind, void* workspace, const Stream& stream) {
  if (is_floating(x_dtype) != is_floating(y_dtype) || y_dtype == DType::Bool)
    throw UsageError(
        cat("a running sum on a GPU is floating for floating elements and an integer for others, ", "got ",
            name(y_dtype), " for ", name(x_dtype)));
  if (s.outer * s.length * s.inner == 0) return;
  const std::int64_t parts = scan_kernels::parts_of(s);
  if (is_floating(x_dtype))
    scan_kernels::run<double>(x_dtype, x, y_dtype, y, s, kind, parts, workspace, stream);
  else
    scan_kernels::run<long long>(x_dtype, x, y_dtype, y, s, kind, parts, workspace, stream);
}

void place_selected(const void* x, const void* mask, const std::int64_t* counts, void* y, std::int64_t* count,
                    const ReduceShape& s, const Stream& stream) {
  const auto bytes = static_cast<std::size_t>(s.inner);
  const std::size_t unit = widest_unit({bytes, address_of(x), address_of(y)});
  with_unit(unit, [&]<class Unit>(Unit*) {
    const long long units = s.inner / static_cast<long long>(sizeof(Unit));
    const long long threads = s.outer * s.length * units;
    launch(scan_kernels::place_kernel<Unit>, dim3(std::max(1u, scan_kernels::grid_of(s, threads))),
           dim3(scan_kernels::kThreads), 0, stream, static_cast<const Unit*>(x),
           static_cast<const unsigned char*>(mask), counts, static_cast<Unit*>(y), count, s.length,
           gpu::Divider(std::max(1LL, units)), threads);
  });
}

}  // namespace ingot::cuda
