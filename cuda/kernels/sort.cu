// Order along the middle axis of [outer, length, inner]:
//
//   values[o, k, i] = x[o, indices[o, k, i], i],  k < keep;  ordered, equal ones by rising index
//
// An element becomes an item: its ordered key (core/base/order_key.h), complemented for falling order, and
// its index. No two items are equal, so that whatever sorts them sorts stably. Keys of 32 bits share a word
// of 64 with the index.
//
// A block sorts a tile of 2048 items by a bitonic network in shared memory (K. E. Batcher, "Sorting networks
// and their applications", 1968): several lines where they are short, a piece of a longer one. Lines that fit
// are done: the bytes that must move are x once and the results once. Pieces go to the workspace as sorted
// runs, of which neighbours are merged until one is left; an item's place in the merged run is its place in
// its own plus the number of smaller items in the other, found by bisection. A run keeps no more than `keep`
// items, so that the few greatest of many cost little more than the first pass. Bytes that must move: x once;
// an item (8 bytes, with 64-bit keys 16) in and out for each of log2(length / 2048) merges, as long as runs
// still grow.
#include "cuda/kernels/sort.h"

#include <algorithm>
#include <type_traits>

#include "core/base/error.h"
#include "core/base/order_key.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"

namespace ingot::cuda::sort_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kTile = static_cast<int>(kSortedInBlock);

using Narrow = unsigned long long;
struct Wide {
  unsigned long long key, index;
};

__device__ inline bool before(Narrow a, Narrow b) {
  return a < b;
}
__device__ inline bool before(const Wide& a, const Wide& b) {
  return a.key < b.key || (a.key == b.key && a.index < b.index);
}
__device__ inline long long index_of(Narrow item) {
  return static_cast<long long>(item & 0xffffffffu);
}
__device__ inline long long index_of(const Wide& item) {
  return static_cast<long long>(item.index);
}

__device__ inline unsigned narrow_key(const void* x, DType dtype, long long at) {
  if (dtype == DType::F32) return order_key(static_cast<const float*>(x)[at]);
  if (dtype == DType::F16) return order_key(__half2float(static_cast<const __half*>(x)[at]));
  if (dtype == DType::BF16) return order_key(__bfloat162float(static_cast<const __nv_bfloat16*>(x)[at]));
  if (dtype == DType::I32) return order_key(static_cast<const int*>(x)[at]);
  return order_key(static_cast<int>(static_cast<const unsigned char*>(x)[at]));
}
__device__ inline unsigned long long wide_key(const void* x, DType dtype, long long at) {
  if (dtype == DType::F64) return order_key(static_cast<const double*>(x)[at]);
  return order_key(static_cast<const long long*>(x)[at]);
}

template <class Item>
__device__ inline Item item_at(const void* x, DType dtype, long long at, long long index, bool descending) {
  if constexpr (std::is_same_v<Item, Narrow>) {
    const unsigned key = narrow_key(x, dtype, at);
    return static_cast<Narrow>(descending ? ~key : key) << 32 | static_cast<Narrow>(index);
  } else {
    const unsigned long long key = wide_key(x, dtype, at);
    return {descending ? ~key : key, static_cast<unsigned long long>(index)};
  }
}
// Behind every item: an index that no element has.
template <class Item>
__device__ inline Item last_item() {
  if constexpr (std::is_same_v<Item, Narrow>)
    return ~0ull;
  else
    return {~0ull, ~0ull};
}

// Results and how elements get there.
struct Output {
  const void* x;
  void* values;
  std::int64_t* indices;
  long long length, inner, keep;
  int bytes;  // of an element

  __device__ void put(long long line, long long k, long long index) const {
    const long long outer = line / inner, column = line - outer * inner;
    const long long from = (outer * length + index) * inner + column;
    const long long to = (outer * keep + k) * inner + column;
    indices[to] = index;
    if (bytes == 4)
      static_cast<unsigned*>(values)[to] = static_cast<const unsigned*>(x)[from];
    else if (bytes == 2)
      static_cast<unsigned short*>(values)[to] = static_cast<const unsigned short*>(x)[from];
    else if (bytes == 8)
      static_cast<unsigned long long*>(values)[to] = static_cast<const unsigned long long*>(x)[from];
    else
      static_cast<unsigned char*>(values)[to] = static_cast<const unsigned char*>(x)[from];
  }
};

// ---- Tiles ----------------------------------------------------------------------------------------------
// A tile holds kTile / span pieces of up to `span` elements, `pieces` of which make a line.

struct Tiling {
  int span;                      // a power of two
  long long pieces, lines, cap;  // cap: items that a piece keeps in the workspace
  DType dtype;
  bool descending;
};

// Bound by: latency: a tile is sorted in shared memory in 66 steps with a barrier each.
template <class Item>
__global__ void tile_kernel(Output out, Tiling t, Item* runs) {
  GPU_SHARED(tile, Item, [kTile]);
  const int thread = static_cast<int>(threadIdx.x), share = kTile / t.span;
  const long long first = static_cast<long long>(blockIdx.x) * share;  // piece of this tile's first
  const long long end = t.lines * t.pieces;
  for (int slot = thread; slot < kTile; slot += kThreads) {
    // Neighbouring threads read neighbouring elements, which belong to one line or to one index.
    const int piece = out.inner == 1 ? slot / t.span : slot % share;
    const int l = out.inner == 1 ? slot % t.span : slot / share;
    const long long line = (first + piece) / t.pieces;
    const long long index = (first + piece - line * t.pieces) * t.span + l;
    Item item = last_item<Item>();
    if (first + piece < end && index < out.length) {
      const long long outer = line / out.inner, column = line - outer * out.inner;
      item = item_at<Item>(out.x, t.dtype, (outer * out.length + index) * out.inner + column, index,
                           t.descending);
    }
    tile[piece * t.span + l] = item;
  }
  __syncthreads();
  for (int size = 2; size <= t.span; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int pair = thread; pair < kTile / 2; pair += kThreads) {
        const int i = (pair & -stride) << 1 | (pair & (stride - 1)), j = i | stride;
        const bool rising = size == t.span || (i & size) == 0;
        const Item a = tile[i], b = tile[j];
        if (before(b, a) == rising) {
          tile[i] = b;
          tile[j] = a;
        }
      }
      __syncthreads();
    }
  for (int slot = thread; slot < kTile; slot += kThreads) {
    const int piece = out.inner == 1 ? slot / t.span : slot % share;
    const int l = out.inner == 1 ? slot % t.span : slot / share;
    if (first + piece >= end) continue;
    const long long line = (first + piece) / t.pieces;
    const long long start = (first + piece - line * t.pieces) * t.span;
    const Item item = tile[piece * t.span + l];
    if (start + l >= out.length) continue;  // as many items as elements, and in front
    if (runs != nullptr) {
      if (l < t.cap) runs[(first + piece) * t.cap + l] = item;
    } else if (l < out.keep) {
      out.put(line, l, index_of(item));
    }
  }
}

// ---- Runs -----------------------------------------------------------------------------------------------
// [lines, count, cap] items; run r stems from elements [r * span, (r + 1) * span) of its line.

struct Runs {
  long long length, count, cap, span;

  __device__ long long items(long long run) const {
    const long long left = length - run * span, all = left < span ? left : span;
    return all < cap ? all : cap;
  }
};

// Thread: an item of `from`.
// Bound by: latency: an item searches its place in the other run by bisection.
template <class Item>
__global__ void merge_kernel(const Item* from, Item* to, Runs r, long long new_cap, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const long long global_run = thread / r.cap, at = thread - global_run * r.cap;
  const long long line = global_run / r.count, run = global_run - line * r.count, other = run ^ 1;
  if (at >= r.items(run)) return;
  const Item item = from[thread];
  long long low = 0, high = other < r.count ? r.items(other) : 0;
  const Item* const others = from + (line * r.count + other) * r.cap;
  while (low < high) {
    const long long middle = (low + high) / 2;
    if (before(others[middle], item))
      low = middle + 1;
    else
      high = middle;
  }
  const long long place = at + low;
  if (place < new_cap) to[(line * ((r.count + 1) / 2) + run / 2) * new_cap + place] = item;
}

// Thread (o, k, i); a line of `items` holds `cap`.
// Bound by: bandwidth, narrow: a thread has an item, whose value and index go to two results.
template <class Item>
__global__ void results_kernel(Output out, const Item* items, long long cap, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const long long row = thread / out.inner, column = thread - row * out.inner;
  const long long outer = row / out.keep, k = row - outer * out.keep, line = outer * out.inner + column;
  const Item item = items[line * cap + k];
  if constexpr (std::is_same_v<Item, unsigned>)
    out.put(line, k, static_cast<long long>(item) - line * out.length);  // a place
  else
    out.put(line, k, index_of(item));
}

// ---- Keys and places for a library ----------------------------------------------------------------------

// Bound by: bandwidth, narrow: a key of 8 bytes is made of an element of any type, lanes in a row.
__global__ void keys_kernel(const void* x, DType dtype, bool wide, bool descending, long long length,
                            long long inner, unsigned long long* keys, unsigned* places, long long threads) {
  const long long place = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (place >= threads) return;
  const long long line = place / length, l = place - line * length;
  const long long outer = line / inner, at = (outer * length + l) * inner + (line - outer * inner);
  unsigned long long key;
  if (wide) {
    key = wide_key(x, dtype, at);
    if (descending) key = ~key;
  } else {
    const unsigned own = narrow_key(x, dtype, at);
    key = static_cast<unsigned long long>(line) << 32 | (descending ? ~own : own);
  }
  keys[place] = key;
  places[place] = static_cast<unsigned>(place);
}

// Bound by: bandwidth, narrow: places of 4 bytes ask for keys of 8, lanes in a row.
__global__ void lines_kernel(const unsigned* places, unsigned long long* keys, unsigned length,
                             long long threads) {
  const long long j = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (j < threads) keys[j] = places[j] / length;
}

unsigned blocks_of(std::int64_t threads) {
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff)
    throw UsageError(cat("a sort on a GPU takes at most 2^31 - 1 blocks of ", kThreads, " threads, got ",
                         threads, " threads; sort in pieces"));
  return static_cast<unsigned>(blocks);
}

// The runs after the first pass.
Runs first_runs(const SortShape& s) {
  return {s.length, (s.length + kTile - 1) / kTile, std::min<std::int64_t>(kTile, s.keep), kTile};
}
Runs merged(const Runs& r, const SortShape& s) {
  return {r.length, (r.count + 1) / 2, std::min<std::int64_t>(2 * r.cap, s.keep), 2 * r.span};
}
// Items of each of the two arrays that runs go between.
std::int64_t room_of(const SortShape& s) {
  Runs r = first_runs(s);
  std::int64_t room = 0;
  for (;; r = merged(r, s)) {
    room = std::max<std::int64_t>(room, s.lines() * r.count * r.cap);
    if (r.count == 1) return (room + 1) / 2 * 2;
  }
}

template <class Item>
void run(const Output& out, const SortShape& s, DType dtype, bool descending, void* workspace,
         const Stream& stream) {
  const dim3 block(kThreads);
  Tiling t{kTile, 1, s.lines(), 0, dtype, descending};
  if (s.length <= kTile) {
    while (t.span / 2 >= s.length && t.span > 2) t.span /= 2;
    const std::int64_t share = kTile / t.span;
    launch(tile_kernel<Item>, dim3(blocks_of((s.lines() + share - 1) / share * kThreads)), block, 0, stream,
           out, t, static_cast<Item*>(nullptr));
    return;
  }
  Runs r = first_runs(s);
  Item *from = static_cast<Item*>(workspace), *to = from + room_of(s);
  t.pieces = r.count;
  t.cap = r.cap;
  launch(tile_kernel<Item>, dim3(blocks_of(s.lines() * r.count * kThreads)), block, 0, stream, out, t, from);
  while (r.count > 1) {
    const Runs next = merged(r, s);
    const long long items = s.lines() * r.count * r.cap;
    launch(merge_kernel<Item>, dim3(blocks_of(items)), block, 0, stream, from, to, r, next.cap, items);
    std::swap(from, to);
    r = next;
  }
  const long long results = s.lines() * s.keep;
  launch(results_kernel<Item>, dim3(blocks_of(results)), block, 0, stream, out, from, r.cap, results);
}

Output output_of(DType dtype, const void* x, void* values, std::int64_t* indices, const SortShape& s) {
  return {x, values, indices, s.length, s.inner, s.keep, static_cast<int>(size_of(dtype))};
}

}  // namespace ingot::cuda::sort_kernels

namespace ingot::cuda {

bool has_wide_keys(DType dtype) {
  return dtype == DType::F64 || dtype == DType::I64;
}

std::size_t sort_workspace(DType dtype, const SortShape& s) {
  using namespace sort_kernels;
  if (s.length <= kTile || s.keep == 0 || s.lines() == 0) return 0;
  const std::size_t item = has_wide_keys(dtype) ? sizeof(Wide) : sizeof(Narrow);
  return 2 * static_cast<std::size_t>(room_of(s)) * item;
}

void sort(DType dtype, const void* x, void* values, std::int64_t* indices, const SortShape& s,
          bool descending, void* workspace, const Stream& stream) {
  using namespace sort_kernels;
  if (dtype == DType::Bool)
    throw UsageError("a sort on a GPU takes a numeric dtype, got bool; convert with cast()");
  if (s.length >= 0xffffffffll)
    throw UsageError(cat("a sort on a GPU takes lines of at most 2^32 - 2 elements, got ", s.length));
  if (s.lines() == 0 || s.keep == 0) return;
  const Output out = output_of(dtype, x, values, indices, s);
  if (has_wide_keys(dtype))
    run<Wide>(out, s, dtype, descending, workspace, stream);
  else
    run<Narrow>(out, s, dtype, descending, workspace, stream);
}

void make_sort_keys(DType dtype, const void* x, const SortShape& s, bool descending, unsigned long long* keys,
                    unsigned* places, const Stream& stream) {
  const long long n = s.elements();
  launch(sort_kernels::keys_kernel, dim3(sort_kernels::blocks_of(n)), dim3(sort_kernels::kThreads), 0, stream,
         x, dtype, has_wide_keys(dtype), descending, s.length, s.inner, keys, places, n);
}

void sort_keys_by_line(const unsigned* places, const SortShape& s, unsigned long long* keys,
                       const Stream& stream) {
  const long long n = s.elements();
  launch(sort_kernels::lines_kernel, dim3(sort_kernels::blocks_of(n)), dim3(sort_kernels::kThreads), 0,
         stream, places, keys, static_cast<unsigned>(s.length), n);
}

void take_sorted(DType dtype, const void* x, const unsigned* places, const SortShape& s, void* values,
                 std::int64_t* indices, const Stream& stream) {
  const long long n = s.lines() * s.keep;
  launch(sort_kernels::results_kernel<unsigned>, dim3(sort_kernels::blocks_of(n)),
         dim3(sort_kernels::kThreads), 0, stream, sort_kernels::output_of(dtype, x, values, indices, s),
         places, s.length, n);
}

}  // namespace ingot::cuda
