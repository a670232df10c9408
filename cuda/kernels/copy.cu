// Copies between strided arrangements.
//
//   to[to_base + sum_d i_d to_d] = from[from_base + sum_d i_d from_d]   for all 0 <= i_d < size_d
//
// Bytes that must move: each element once in and once out. Four ways:
//   both sides run along the same axis: pieces of up to 16 bytes, four in flight in each thread
//   the sides run along different axes: square tiles go through shared memory, so that both are accessed in
//     rows of 128 bytes; elements of 1 and 2 bytes are turned round in registers, 4 x 4 or 2 x 2 at a time,
//     and the columns of the tile are permuted (column ^ row), so that no two lanes of a warp meet in a bank
//   only the result runs along an axis (the source repeats, skips or runs backwards there): 16 bytes of
//     the result are gathered by a thread
//   neither does: element by element
#include "cuda/kernels/copy.h"

#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "cuda/base/launch.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::copy_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kItems = 4;  // pieces in flight in a thread
constexpr int kMaxAxes = StridedCopy::kMaxAxes;

// Axes whose sizes and strides count pieces; the last one is the result's innermost.
struct Axes {
  Divider size[kMaxAxes];
  long long from[kMaxAxes], to[kMaxAxes];
  int rank = 1;
  long long pieces = 0;
};

__device__ inline void locate(const Axes& a, long long piece, long long& from, long long& to) {
  from = to = 0;
  for (int d = a.rank - 1; d > 0; --d) {
    const long long next = a.size[d].quotient(piece), i = piece - next * a.size[d].divisor;
    from += i * a.from[d];
    to += i * a.to[d];
    piece = next;
  }
  from += piece * a.from[0];
  to += piece * a.to[0];
}

// Bound by: bandwidth (loads, stores); narrow where Unit != uint4.
template <class Unit>
__global__ void pieces_kernel(Axes a, const Unit* from, Unit* to) {
  const long long first =
      static_cast<long long>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
  Unit unit[kItems];
  long long place[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const long long piece = first + k * kThreads;
    if (piece < a.pieces) {
      long long source;
      locate(a, piece, source, place[k]);
      unit[k] = from[source];
    }
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k)
    if (first + k * kThreads < a.pieces) to[place[k]] = unit[k];
}

// A piece is 16 bytes of the result; its elements lie `step` apart in the source. Strides count elements.
// Bound by: bandwidth (stores).
template <class T>
__global__ void gathered_pieces_kernel(Axes a, const T* from, T* to, long long step) {
  const long long piece = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (piece >= a.pieces) return;
  long long source, place;
  locate(a, piece, source, place);
  Vec16<T> unit;
#pragma unroll
  for (int k = 0; k < Vec16<T>::kSize; ++k) unit.at[k] = from[source + k * step];
  store16(to + place, unit);
}

// ---- Tiles ----------------------------------------------------------------------------------------------

constexpr int kTile = 32;  // words along either side
constexpr int kTileRows = 8;

// The source runs along `tall` (its stride is 1), the result along `wide`. The block's number counts, from
// the fastest: tiles along wide, tiles along tall, outer axes.
struct Tiles {
  long long tall, wide;  // sizes
  long long wide_from, tall_to;
  Divider tall_tiles, wide_tiles;
  Axes outer;
};

// V elements of T are one word.
template <class T, int V>
using Word = std::conditional_t<V == 1, T, unsigned>;

// word[i] holds elements (i, 0..V); afterwards (0..V, i).
template <class T, int V>
__device__ inline void turn_round(Word<T, V> (&word)[V]) {
  if constexpr (V > 1) {
    static_assert(sizeof(T) * V == sizeof(unsigned));
    constexpr unsigned kBits = 8 * sizeof(T), kMask = (1u << kBits) - 1;
    unsigned turned[V];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      turned[i] = 0;
#pragma unroll
      for (int j = 0; j < V; ++j)
        turned[i] |= (word[j] >> (static_cast<unsigned>(i) * kBits) & kMask)
                     << (static_cast<unsigned>(j) * kBits);
    }
#pragma unroll
    for (int i = 0; i < V; ++i) word[i] = turned[i];
  }
}

// Bound by: bandwidth, narrow: tiles are turned round in words of 4 bytes; a warp moves rows of 128.
template <class T, int V>
__global__ void tiles_kernel(Tiles s, const T* from, T* to) {
  using W = Word<T, V>;
  GPU_SHARED(tile, W, [kTile * V][kTile]);
  const int lane = static_cast<int>(threadIdx.x), first = static_cast<int>(threadIdx.y);
  const long long above = s.wide_tiles.quotient(blockIdx.x);
  const long long w0 = (blockIdx.x - above * s.wide_tiles.divisor) * (kTile * V);
  const long long outer = s.tall_tiles.quotient(above);
  const long long t0 = (above - outer * s.tall_tiles.divisor) * (kTile * V);
  long long source, place;
  locate(s.outer, outer, source, place);
  // Both sizes are whole words.
  if (t0 + lane * V < s.tall) {
#pragma unroll
    for (int row = first; row < kTile; row += kTileRows)
      if (w0 + row * V < s.wide) {
        const T* const at = from + source + (w0 + row * V) * s.wide_from + t0 + lane * V;
        W word[V];
#pragma unroll
        for (int v = 0; v < V; ++v) word[v] = *reinterpret_cast<const W*>(at + v * s.wide_from);
        turn_round<T, V>(word);
#pragma unroll
        for (int v = 0; v < V; ++v) tile[lane * V + v][row ^ lane] = word[v];
      }
  }
  __syncthreads();
  if (w0 + lane * V >= s.wide) return;
#pragma unroll
  for (int row = first; row < kTile * V; row += kTileRows)
    if (t0 + row < s.tall)
      *reinterpret_cast<W*>(to + place + (t0 + row) * s.tall_to + w0 + lane * V) =
          tile[row][lane ^ (row / V)];
}

// ---- Launches -------------------------------------------------------------------------------------------

unsigned blocks_of(long long pieces, int a_block) {
  return blocks_for(static_cast<std::size_t>(pieces), static_cast<unsigned>(a_block));
}

// Axes are collected from the outermost on, without allocating: copies are issued inside a run.
Axes no_axes() {
  Axes a;
  a.rank = 0;
  a.pieces = 1;
  return a;
}
void put(Axes& a, const CopyAxis& axis) {
  const int d = a.rank++;
  a.size[d] = Divider(axis.size);
  a.from[d] = axis.from;
  a.to[d] = axis.to;
  a.pieces *= axis.size;
}

// All strides and bases in bytes, or'ed: what a unit must divide.
std::size_t strides_of(const StridedCopy& c, std::size_t axes) {
  std::int64_t bits = c.from_base | c.to_base;
  for (std::size_t d = 0; d < axes; ++d) bits |= c.axes[d].from | c.axes[d].to;
  return static_cast<std::size_t>(bits) * c.element;
}

void copy_pieces(const StridedCopy& c, std::size_t unit, const void* from, void* to, const Stream& stream) {
  const auto ratio = static_cast<std::int64_t>(unit / c.element);
  Axes a = no_axes();
  for (std::size_t d = 0; d < c.axes.size(); ++d) {
    const CopyAxis& axis = c.axes[d];
    if (ratio > 1 && d + 1 == c.axes.size())
      put(a, {axis.size / ratio, 1, 1});
    else
      put(a, {axis.size, axis.from / ratio, axis.to / ratio});
  }
  with_unit(unit, [&]<class Unit>(Unit*) {
    launch(pieces_kernel<Unit>, dim3(blocks_of(a.pieces, kThreads * kItems)), dim3(kThreads), 0, stream, a,
           static_cast<const Unit*>(from) + c.from_base / ratio, static_cast<Unit*>(to) + c.to_base / ratio);
  });
}

void copy_gathered(const StridedCopy& c, const void* from, void* to, const Stream& stream) {
  const auto many = static_cast<std::int64_t>(16 / c.element);
  const CopyAxis& inner = c.axes.back();
  const long long step = inner.from;
  Axes a = no_axes();
  for (std::size_t d = 0; d + 1 < c.axes.size(); ++d) put(a, c.axes[d]);
  put(a, {inner.size / many, step * many, many});
  with_element(c.element, [&]<class T>(T*) {
    launch(gathered_pieces_kernel<T>, dim3(blocks_of(a.pieces, kThreads)), dim3(kThreads), 0, stream, a,
           static_cast<const T*>(from) + c.from_base, static_cast<T*>(to) + c.to_base, step);
  });
}

template <class T, int V>
void launch_tiles(const StridedCopy& c, const CopyAxis& tall, const CopyAxis& wide, const Axes& outer,
                  const void* from, void* to, const Stream& stream) {
  constexpr std::int64_t kSide = kTile * V;
  Tiles s;
  s.tall = tall.size;
  s.wide = wide.size;
  s.wide_from = wide.from;
  s.tall_to = tall.to;
  s.tall_tiles = Divider((tall.size + kSide - 1) / kSide);
  s.wide_tiles = Divider((wide.size + kSide - 1) / kSide);
  s.outer = outer;
  const long long blocks = outer.pieces * s.tall_tiles.divisor * s.wide_tiles.divisor;
  launch(tiles_kernel<T, V>, dim3(static_cast<unsigned>(blocks)), dim3(kTile, kTileRows), 0, stream, s,
         static_cast<const T*>(from) + c.from_base, static_cast<T*>(to) + c.to_base);
}

void copy_tiles(const StridedCopy& c, std::size_t tall_axis, const void* from, void* to,
                const Stream& stream) {
  const CopyAxis tall = c.axes[tall_axis], wide = c.axes.back();
  // A word of several elements needs whole words along both sides and words at every stride.
  std::size_t bits =
      static_cast<std::size_t>(tall.size | wide.size | wide.from | tall.to | c.from_base | c.to_base) *
          c.element |
      address_of(from) | address_of(to);
  Axes outer = no_axes();
  for (std::size_t d = 0; d + 1 < c.axes.size(); ++d) {
    if (d == tall_axis) continue;
    put(outer, c.axes[d]);
    bits |= static_cast<std::size_t>(c.axes[d].from | c.axes[d].to) * c.element;
  }
  if (outer.rank == 0) put(outer, {1, 0, 0});
  const bool words = bits % sizeof(unsigned) == 0;
  if (c.element == 1 && words) return launch_tiles<unsigned char, 4>(c, tall, wide, outer, from, to, stream);
  if (c.element == 2 && words) return launch_tiles<unsigned short, 2>(c, tall, wide, outer, from, to, stream);
  with_element(c.element, [&]<class T>(T*) { launch_tiles<T, 1>(c, tall, wide, outer, from, to, stream); });
}

}  // namespace ingot::cuda::copy_kernels

namespace ingot::cuda {

bool StridedCopy::is_empty() const {
  return std::any_of(axes.begin(), axes.end(), [](const CopyAxis& a) { return a.size == 0; });
}

bool StridedCopy::is_identity() const {
  if (from_base != to_base) return false;
  return axes.size() == 1 && (axes[0].size == 1 || (axes[0].from == 1 && axes[0].to == 1));
}

StridedCopy plan_copy(std::vector<CopyAxis> axes, std::size_t element, std::int64_t from_base,
                      std::int64_t to_base) {
  if (element != 1 && element != 2 && element != 4 && element != 8)
    throw UsageError(cat("a strided copy moves elements of 1, 2, 4 or 8 bytes, got ", element));
  for (const CopyAxis& a : axes)
    if (a.size < 0 || (a.size > 1 && a.to <= 0))
      throw UsageError(
          cat("a strided copy needs sizes from 0 and positive strides of its result, got an axis "
              "of ",
              a.size, " elements with stride ", a.to));
  StridedCopy c{{}, element, from_base, to_base};
  std::erase_if(axes, [](const CopyAxis& a) { return a.size == 1; });
  std::stable_sort(axes.begin(), axes.end(),
                   [](const CopyAxis& a, const CopyAxis& b) { return a.to > b.to; });
  for (const CopyAxis& a : axes) {
    if (!c.axes.empty() && c.axes.back().from == a.from * a.size && c.axes.back().to == a.to * a.size)
      c.axes.back() = {c.axes.back().size * a.size, a.from, a.to};
    else
      c.axes.push_back(a);
  }
  if (c.axes.empty()) c.axes.push_back({1, 1, 1});
  if (c.axes.size() > static_cast<std::size_t>(StridedCopy::kMaxAxes))
    throw UsageError(cat("a strided copy has at most ", StridedCopy::kMaxAxes,
                         " axes that cannot be joined, got ", c.axes.size()));
  return c;
}

void strided_copy(const StridedCopy& c, const void* from, void* to, const Stream& stream) {
  using namespace copy_kernels;
  if (c.is_empty()) return;
  const CopyAxis& inner = c.axes.back();
  if (inner.from == 1 && inner.to == 1) {
    const std::size_t unit =
        widest_unit({strides_of(c, c.axes.size() - 1), static_cast<std::size_t>(inner.size) * c.element,
                     address_of(from), address_of(to)});
    return copy_pieces(c, std::max(unit, c.element), from, to, stream);
  }
  // Below this the rows of a tile would be mostly empty.
  constexpr std::int64_t kLeast = 16;
  const auto tall =
      std::find_if(c.axes.begin(), c.axes.end() - 1, [](const CopyAxis& a) { return a.from == 1; });
  if (inner.to == 1 && inner.size >= kLeast && tall != c.axes.end() - 1 && tall->size >= kLeast)
    return copy_tiles(c, static_cast<std::size_t>(tall - c.axes.begin()), from, to, stream);
  std::int64_t result = c.to_base | inner.size;
  for (std::size_t d = 0; d + 1 < c.axes.size(); ++d) result |= c.axes[d].to;
  if (inner.to == 1 && widest_unit({static_cast<std::size_t>(result) * c.element, address_of(to)}) == 16)
    return copy_gathered(c, from, to, stream);
  copy_pieces(c, c.element, from, to, stream);
}

}  // namespace ingot::cuda
