// How the batch-norm kernels see an image tensor [rows, pixels, channels]. For .cu files.
//
// The tensor is read as a matrix of `width` columns, a multiple of the channels that is also one of a vector:
// with 3 channels and vectors of 4 floats, 132 columns, of which 0, 3, 6 ... belong to channel 0. So every
// access is 16 bytes wide and neighbours lie side by side, whatever the number of channels; only the last row
// of the matrix may be cut short. A thread keeps its V columns, so what belongs to a channel stays in its
// registers. A block is `wide` threads wide and kThreads / wide rows ("strips") high; the matrix's rows are
// cut into parts, one block each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <type_traits>

#include "core/base/error.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/block_reduce.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/params.h"

namespace ingot::cuda::batch_norm_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kHeldRows = 1024;         // up to here a block holds its channels in registers
constexpr std::int64_t kEnough = 512;   // blocks that fill any GPU of today
constexpr std::int64_t kShortest = 32;  // rows of a part, at least: its sums are then few beside its data
constexpr std::int64_t kMostColumns = 16384;  // of a width that is rounded up to whole vectors

struct Columns {
  long long elements, row_elements;  // of the tensor; of one row of the batch
  long long share;                   // rows of the matrix in a part
  int channels, width, wide, parts;
};

// ---- On the host ----------------------------------------------------------------------------------------

inline Columns cut(Columns g, int vector, std::int64_t blocks, std::int64_t shortest) {
  const std::int64_t groups = (g.width / vector + g.wide - 1) / g.wide;
  const std::int64_t rows = (g.elements + g.width - 1) / g.width;
  const std::int64_t parts =
      std::clamp<std::int64_t>((blocks + groups - 1) / groups, 1, std::max<std::int64_t>(rows / shortest, 1));
  g.share = std::max<std::int64_t>((rows + parts - 1) / parts, 1);
  g.parts = static_cast<int>(std::max<std::int64_t>((rows + g.share - 1) / g.share, 1));
  return g;
}

// The columns that make the number of channels a multiple of `vector`, or 0 when there would be too many.
inline std::int64_t whole_vectors(const BatchNormShape& s, int vector) {
  const std::int64_t width = std::lcm(s.channels, std::int64_t{vector});
  return width == s.channels || width <= kMostColumns ? width : 0;
}

// `vector` is 1, or elements in 16 bytes where whole_vectors is not 0.
inline Columns columns_of(const BatchNormShape& s, int vector) {
  const std::int64_t least = whole_vectors(s, vector), enough = kWarpSize * vector;
  const std::int64_t width = least * ((enough + least - 1) / least);
  Columns g{};
  g.elements = s.rows * s.pixels * s.channels;
  g.row_elements = s.pixels * s.channels;
  g.channels = static_cast<int>(s.channels);
  g.width = static_cast<int>(width);
  const std::int64_t vectors = width / vector;
  g.wide = vectors <= 2 * kWarpSize ? static_cast<int>(vectors) : kWarpSize;
  return cut(g, vector, kEnough, kShortest);
}

// For kernels without sums: parts as short as gives every thread two rows.
inline Columns spread(const Columns& g, int vector) {
  return cut(g, vector, 4 * kEnough, std::int64_t{2} * (kThreads / g.wide));
}

inline dim3 grid_of(const Columns& g, int vector) {
  return {static_cast<unsigned>((g.width / vector + g.wide - 1) / g.wide), static_cast<unsigned>(g.parts)};
}

// Sums of both kinds per part and column, then four numbers per channel.
inline std::size_t workspace_floats(const Columns& g) {
  return 2 * static_cast<std::size_t>(g.parts) * static_cast<std::size_t>(g.width) +
         4 * static_cast<std::size_t>(g.channels);
}

// What a thread holds is of the images' type, which a sum of two gradients in half precision is not.
inline bool held(const BatchNormShape& s, std::size_t element = 4, bool two_gradients = false) {
  return s.rows * s.pixels <= kHeldRows && !(two_gradients && element == 2);
}

inline void check_shape(const char* what, const BatchNormShape& s) {
  if (s.channels > 0x3fffffff)
    throw ShapeError(cat(what, " on a GPU takes up to ", 0x3fffffff, " channels, got ", s.channels));
}

// ---- On the device --------------------------------------------------------------------------------------

// Elements of the rows that count: they come first.
__device__ inline long long counted_elements(const Columns& g, const std::int32_t* valid_rows) {
  if (valid_rows == nullptr) return g.elements;
  const long long valid = *valid_rows < 0 ? 0 : static_cast<long long>(*valid_rows) * g.row_elements;
  return valid < g.elements ? valid : g.elements;
}

// Where the running thread works: its first column, and which rows of its part.
struct Place {
  int column, strip, strips;
  bool works;
};
template <int V>
__device__ inline Place place_of(const Columns& g) {
  const int thread = static_cast<int>(threadIdx.x), wide = g.wide;
  const int strips = kThreads / wide, strip = thread / wide;
  const int column = (static_cast<int>(blockIdx.x) * wide + thread % wide) * V;
  return {column, strip, strips, strip < strips && column < g.width};
}

// How many of the V elements from `start` on lie before `end`.
template <int V>
__device__ inline int before(long long start, long long end) {
  return end - start >= V ? V : end > start ? static_cast<int>(end - start) : 0;
}

// The first `count` of V elements; the others are 0, or stay.
template <int V, class T>
__device__ inline void load_first(const T* from, int count, float (&to)[V]) {
  if (count == V) {
    load_some<V>(from, to);
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = k < count ? widen(from[k]) : 0.0f;
  }
}
template <int V, class T>
__device__ inline void store_first(T* to, int count, const float (&from)[V]) {
  if (count == V) {
    store_some<V>(to, from);
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k)
      if (k < count) to[k] = narrow<T>(from[k]);
  }
}

// Row r of the batch's pixels held in registers: kHeldWide threads side by side read 32 bytes of a pixel.
template <int V>
constexpr int kHeldWide = V == 1 ? 8 : 2;
template <int V>
constexpr int kHeldThreads = V == 8 ? 512 : 256;  // so that a thread's rows leave registers for its channels
template <int V>
constexpr int kHeldStrips = kHeldThreads<V> / kHeldWide<V>;
template <int V>
constexpr int kHeldEach = kHeldRows / kHeldStrips<V>;  // rows of a thread

// V elements as they lie in memory: half the registers of floats for 16-bit types.
template <class T>
struct One {
  T at[1];
};
template <class T, int V>
using Held = std::conditional_t<V == 1, One<T>, Vec16<T>>;
template <class T, int V>
__device__ inline Held<T, V> load_held(const T* from) {
  if constexpr (V == 1)
    return {{*from}};
  else
    return load16(from);
}
template <class T, int V>
__device__ inline void store_held(T* to, const Held<T, V>& value) {
  if constexpr (V == 1)
    *to = value.at[0];
  else
    store16(to, value);
}

// Per-column sums over the strips of a block of kHeldWide<V> columns of threads; every thread gets its own
// columns' sums.
template <int V>
__device__ inline void held_sums(float (&sums)[V], float (*slots)[kHeldWide<V> * V]) {
  constexpr int kWide = kHeldWide<V>;
  const int thread = static_cast<int>(threadIdx.x), tx = thread % kWide;
#pragma unroll
  for (int k = 0; k < V; ++k) {
#pragma unroll
    for (int step = kWarpSize / 2; step >= kWide; step /= 2) sums[k] += shuffle_xor(sums[k], step);
  }
  if (thread % kWarpSize < kWide) {
#pragma unroll
    for (int k = 0; k < V; ++k) slots[thread / kWarpSize][tx * V + k] = sums[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < V; ++k) {
    float all = slots[0][tx * V + k];
#pragma unroll
    for (int w = 1; w < kHeldThreads<V> / kWarpSize; ++w) all += slots[w][tx * V + k];
    sums[k] = all;
  }
  __syncthreads();
}

}  // namespace ingot::cuda::batch_norm_kernels
