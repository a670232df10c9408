// A stable sort of (row, position) by row, eight bits at a time from the lowest (LSD radix sort: Knuth, The
// Art of Computer Programming 3, section 5.2.5).
//
// For each digit: tiles of 2048 count their digits; one block turns counts[digit][tile] into where each
// begins; tiles then write their pairs. Within a tile a warp holds 256 pairs in a row, 32 at a time, so that
// the rank of a pair is what precedes it: earlier tiles, earlier warps, earlier rounds, lower lanes. Counts
// are integers, whose atomics commute: the result is the same each time. Bytes that must move: for each of
// ceil(bits / 8) digits 8 in and 8 out a pair, and 4 for the counts.
#include "cuda/kernels/index_sort.h"

#include <bit>

#include "cuda/base/launch.h"

namespace ingot::cuda::index_sort_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kRounds = 8;
constexpr int kTile = kThreads * kRounds;
constexpr int kDigits = 256;
static_assert(kDigits == kThreads, "a thread takes a digit");

// The first digit reads the indices themselves, later ones the pairs.
struct Pairs {
  Rows rows;
  const unsigned *row, *position;

  __device__ unsigned row_at(long long i) const {
    if (row != nullptr) return row[i];
    const long long r = rows.at(i);
    return static_cast<unsigned>(r < 0 ? rows.dim : r);
  }
  __device__ unsigned position_at(long long i) const {
    return position != nullptr ? position[i] : static_cast<unsigned>(i);
  }
};

__device__ inline unsigned digit_of(unsigned row, int shift) {
  return row >> shift & (kDigits - 1);
}

// Bound by: bandwidth, narrow: keys lie as place_kernel wants them, lane by lane.
__global__ void count_kernel(Pairs pairs, long long n, int shift, unsigned* counts) {
  GPU_SHARED(digits, unsigned, [kDigits]);
  const int thread = static_cast<int>(threadIdx.x);
  digits[thread] = 0;
  __syncthreads();
  const long long first = static_cast<long long>(blockIdx.x) * kTile + thread;
#pragma unroll
  for (int r = 0; r < kRounds; ++r)
    if (first + r * kThreads < n) atomicAdd(&digits[digit_of(pairs.row_at(first + r * kThreads), shift)], 1u);
  __syncthreads();
  counts[static_cast<long long>(thread) * gridDim.x + blockIdx.x] = digits[thread];
}

// Each of `total` counts becomes the sum of those before it; total is a multiple of 256. One block.
constexpr int kScanThreads = 512;
constexpr int kScanItems = 16;

// Bound by: bandwidth (loads, stores).
__global__ void scan_kernel(unsigned* counts, long long total) {
  constexpr int kScanWarps = kScanThreads / kWarpSize;
  GPU_SHARED(sums, unsigned, [kScanWarps]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpSize, warp = thread / kWarpSize;
  unsigned before = 0;
  for (long long base = 0; base < total; base += kScanThreads * kScanItems) {
    const long long at = base + thread * kScanItems;
    Vec16<unsigned> own[kScanItems / 4];
    unsigned sum = 0;
    if (at < total) {
#pragma unroll
      for (int i = 0; i < kScanItems / 4; ++i) {
        own[i] = load16(counts + at + 4 * i);
#pragma unroll
        for (int k = 0; k < 4; ++k) sum += own[i].at[k];
      }
    }
    unsigned upto = sum;  // of the warp's lanes up to this one
#pragma unroll
    for (unsigned step = 1; step < kWarpSize; step *= 2) {
      const unsigned other = shuffle_up(upto, step);
      if (lane >= static_cast<int>(step)) upto += other;
    }
    if (lane == kWarpSize - 1) sums[warp] = upto;
    __syncthreads();
    unsigned start = before + upto - sum;
    for (int w = 0; w < kScanWarps; ++w) {
      if (w < warp) start += sums[w];
      before += sums[w];
    }
    if (at < total) {
#pragma unroll
      for (int i = 0; i < kScanItems / 4; ++i) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const unsigned count = own[i].at[k];
          own[i].at[k] = start;
          start += count;
        }
        store16(counts + at + 4 * i, own[i]);
      }
    }
    __syncthreads();
  }
}

// Bound by: bandwidth, narrow: a rank follows from its lane, so neighbouring lanes have neighbouring pairs.
__global__ void place_kernel(Pairs pairs, long long n, int shift, const unsigned* starts, unsigned* row_out,
                             unsigned* position_out) {
  GPU_SHARED(next, unsigned, [kWarps][kDigits]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpSize, warp = thread / kWarpSize;
  for (int w = 0; w < kWarps; ++w) next[w][thread] = 0;
  __syncthreads();
  const long long first = static_cast<long long>(blockIdx.x) * kTile + warp * (kWarpSize * kRounds) + lane;
  unsigned row[kRounds];
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const long long i = first + r * kWarpSize;
    row[r] = i < n ? pairs.row_at(i) : 0;
    if (i < n) atomicAdd(&next[warp][digit_of(row[r], shift)], 1u);
  }
  __syncthreads();
  unsigned start = starts[static_cast<long long>(thread) * gridDim.x + blockIdx.x];
  for (int w = 0; w < kWarps; ++w) {
    const unsigned count = next[w][thread];
    next[w][thread] = start;
    start += count;
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const long long i = first + r * kWarpSize;
    const bool valid = i < n;
    const unsigned digit = digit_of(row[r], shift);
    unsigned same = __ballot_sync(kFullWarp, valid);  // lanes with the same digit
#pragma unroll
    for (int bit = 0; bit < 8; ++bit) {
      const bool set = (digit >> bit & 1u) != 0;
      const unsigned votes = __ballot_sync(kFullWarp, set);
      same &= set ? votes : ~votes;
    }
    const unsigned lower = same & ((1u << lane) - 1u);
    unsigned place = 0;
    if (valid) place = next[warp][digit] + static_cast<unsigned>(__popc(lower));
    __syncwarp();
    if (valid && lower == 0) next[warp][digit] += static_cast<unsigned>(__popc(same));
    __syncwarp();
    if (valid) {
      row_out[place] = row[r];
      position_out[place] = pairs.position_at(i);
    }
  }
}

// The workspace: pairs twice, then the counts.
struct Plan {
  std::int64_t tiles, room;  // room: elements of an array, so that each is aligned
  int passes;
};
Plan plan_of(std::int64_t n, std::int64_t dim) {
  constexpr std::int64_t kMost = (std::int64_t{1} << 32) - 2;
  if (n > kMost || dim > kMost)
    throw UsageError(cat("sums by index on a GPU take at most ", kMost, " indices and rows, got ", n,
                         " indices and ", dim, " rows"));
  const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(dim)));  // rows 0 .. dim
  return {(n + kTile - 1) / kTile, (n + 3) / 4 * 4, bits <= 8 ? 1 : (bits + 7) / 8};
}

}  // namespace ingot::cuda::index_sort_kernels

namespace ingot::cuda {

std::size_t sort_rows_workspace(std::int64_t n, std::int64_t dim) {
  const auto p = index_sort_kernels::plan_of(n, dim);
  return static_cast<std::size_t>(4 * p.room + p.tiles * index_sort_kernels::kDigits) * sizeof(unsigned);
}

SortedRows sort_rows(const gpu::Rows& rows, std::int64_t n, void* workspace, const Stream& stream) {
  using namespace index_sort_kernels;
  const Plan p = plan_of(n, rows.dim);
  auto* const base = static_cast<unsigned*>(workspace);
  unsigned* const counts = base + 4 * p.room;
  if (n == 0) return {base, base};
  Pairs pairs{rows, nullptr, nullptr};
  const dim3 grid(static_cast<unsigned>(p.tiles)), block(kThreads);
  for (int pass = 0; pass < p.passes; ++pass) {
    unsigned* const row = base + (pass % 2 == 0 ? 0 : 2 * p.room);
    launch(count_kernel, grid, block, 0, stream, pairs, n, 8 * pass, counts);
    launch(scan_kernel, dim3(1), dim3(kScanThreads), 0, stream, counts, p.tiles * kDigits);
    launch(place_kernel, grid, block, 0, stream, pairs, n, 8 * pass, counts, row, row + p.room);
    pairs.row = row;
    pairs.position = row + p.room;
  }
  return {pairs.row, pairs.position};
}

}  // namespace ingot::cuda
