// Sums into rows given by index.
//
//   y[o, r, i] = sum of u[o, k, i] over k with index[k] = r
//
// Bytes that must move: u once, the indices, y once. Small problems take one launch: a thread for each
// element (or 16 bytes) of y looks through all indices, which stay in the cache. Others sort the indices by
// row, their order kept (index_sort.h: 16 bytes a pair and digit); then a thread takes 32 terms in that
// order, eight in flight, whatever rows they belong to, so that a row named a thousand times keeps as many
// threads busy as a thousand rows. Rows that lie inside such a piece are written at once; of rows that cross
// into the next one the pieces' sums go to the workspace and are added in order. No floating atomics: the
// same bits each time.
//
// Occupancy: pieces_kernel from 16%: eight terms in flight in a thread beside f64 sums of 16 bytes of
//   columns; at 64 registers it spills.
// Occupancy: crossing_kernel from 25%: f64 sums of 16 bytes of columns, several in flight; at 64 registers
//   it spills.
#include "cuda/kernels/scatter.h"

#include <algorithm>
#include <type_traits>

#include "cuda/base/launch.h"
#include "cuda/base/memory.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/index_sort.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::scatter_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kPiece = 32;    // terms of a thread
constexpr int kInFlight = 8;  // of them

// What terms are added in.
template <class T>
using Acc = std::conditional_t<std::is_integral_v<T>, long long, double>;

template <class T>
__device__ inline Acc<T> term(T v) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<Acc<T>>(v);
  else
    return static_cast<double>(widen(v));
}
template <class T>
__device__ inline T result(Acc<T> sum) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<T>(sum);
  else
    return narrow<T>(static_cast<float>(sum));
}

template <class T, int V>
struct Some {
  T at[V];
};
template <class T, int V>
__device__ inline Some<T, V> read(const T* from) {
  Some<T, V> some;
  if constexpr (V == 1) {
    some.at[0] = *from;
  } else {
    const Vec16<T> raw = load16(from);
#pragma unroll
    for (int v = 0; v < V; ++v) some.at[v] = raw.at[v];
  }
  return some;
}
template <class T, int V>
__device__ inline void write(T* to, const Acc<T> (&sum)[V]) {
  if constexpr (V == 1) {
    *to = result<T>(sum[0]);
  } else {
    Vec16<T> raw;
#pragma unroll
    for (int v = 0; v < V; ++v) raw.at[v] = result<T>(sum[v]);
    store16(to, raw);
  }
}

// Sizes for threads that hold V columns each: `width` of them make a row of u or y.
struct Sizes {
  Divider width, columns;  // columns: of all outer indices
  long long dim, count, inner;
};

// ---- All indices for each row ---------------------------------------------------------------------------

// Bound by: bandwidth (loads, stores); narrow where V = 1, alone for int, long, char, double:
//   rows of integers and f64 are rare and short.
template <class T, int V>
__global__ void search_kernel(const T* u, Rows rows, T* y, Sizes s, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  // Neighbours hold neighbouring columns of a row: they find the same indices.
  const long long line = s.width.quotient(thread), column = thread - line * s.width.divisor;
  const long long outer = line / s.dim, row = line - outer * s.dim;
  const T* const from = u + outer * s.count * s.inner + column * V;
  Acc<T> sum[V] = {};
#pragma unroll 4
  for (long long k = 0; k < s.count; ++k) {
    if (rows.at(k) != row) continue;
    const Some<T, V> some = read<T, V>(from + k * s.inner);
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] += term(some.at[v]);
  }
  write<T, V>(y + line * s.inner + column * V, sum);
}

// ---- Pieces of the sorted indices -----------------------------------------------------------------------
// sums[piece][0]: of the row that began in an earlier piece; [1]: of the row that goes on in the next one.

template <class A, int V>
__device__ inline A* slot(A* sums, const Sizes& s, long long piece, int which, long long column) {
  return sums + ((2 * piece + which) * s.columns.divisor + column) * V;
}

// A is Acc<T>; nvcc and g++ would write the alias differently into the kernel's name.
// Bound by: bandwidth (loads); narrow where V = 1, alone for int, long, char, double: as in search_kernel.
template <class T, class A, int V>
__global__ void pieces_kernel(const T* u, const unsigned* row_of, const unsigned* position_of, T* y, A* sums,
                              Sizes s, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const long long piece = s.columns.quotient(thread), column = thread - piece * s.columns.divisor;
  const long long outer = s.width.quotient(column);
  const long long inner = (column - outer * s.width.divisor) * V;
  const long long begin = piece * kPiece, end = begin + kPiece < s.count ? begin + kPiece : s.count;
  const T* const from = u + outer * s.count * s.inner + inner;
  T* const to = y + outer * s.dim * s.inner + inner;
  unsigned row = row_of[begin];
  bool earlier = begin > 0 && row_of[begin - 1] == row;
  A sum[V] = {};
  const auto put = [&](A* at) {
#pragma unroll
    for (int v = 0; v < V; ++v) at[v] = sum[v];
  };
  for (long long j = begin; j < end && row < s.dim; j += kInFlight) {
    unsigned rows[kInFlight];
    Some<T, V> some[kInFlight];
#pragma unroll
    for (int b = 0; b < kInFlight; ++b) {
      rows[b] = static_cast<unsigned>(s.dim);
      if (j + b >= end) continue;
      rows[b] = row_of[j + b];
      if (rows[b] < s.dim) some[b] = read<T, V>(from + static_cast<long long>(position_of[j + b]) * s.inner);
    }
#pragma unroll
    for (int b = 0; b < kInFlight; ++b) {
      if (j + b >= end || row >= s.dim) continue;
      if (rows[b] != row) {
        if (earlier)
          put(slot<A, V>(sums, s, piece, 0, column));
        else
          write<T, V>(to + row * s.inner, sum);
        row = rows[b];
        earlier = false;
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] = 0;
        if (row >= s.dim) continue;
      }
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] += term(some[b].at[v]);
    }
  }
  if (row >= s.dim) return;  // only indices that name none were left
  if (earlier)
    put(slot<A, V>(sums, s, piece, 0, column));
  else if (end < s.count && row_of[end] == row)
    put(slot<A, V>(sums, s, piece, 1, column));
  else
    write<T, V>(to + row * s.inner, sum);
}

// The rows that begin in this thread's piece and go on in the next.
// Bound by: latency: only the rows that cross from piece to piece.
template <class T, class A, int V>
__global__ void crossing_kernel(const unsigned* row_of, T* y, A* sums, Sizes s, long long threads) {
  const long long thread = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (thread >= threads) return;
  const long long piece = s.columns.quotient(thread), column = thread - piece * s.columns.divisor;
  const long long begin = piece * kPiece, end = begin + kPiece;
  if (end >= s.count) return;
  const unsigned row = row_of[end];
  if (row >= s.dim || row_of[end - 1] != row || (begin > 0 && row_of[begin - 1] == row)) return;
  A sum[V];
  const A* at = slot<A, V>(sums, s, piece, 1, column);
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] = at[v];
  constexpr int kLater = V > 4 ? 2 : kInFlight;  // as registers allow
  for (long long next = piece + 1, many = kLater; many == kLater; next += kLater) {
    Some<A, V> later[kLater];
    many = 0;
#pragma unroll
    for (int b = 0; b < kLater; ++b) {
      if ((next + b) * kPiece >= s.count || row_of[(next + b) * kPiece] != row) continue;
      many = b + 1;
      at = slot<A, V>(sums, s, next + b, 0, column);
#pragma unroll
      for (int v = 0; v < V; ++v) later[b].at[v] = at[v];
    }
#pragma unroll
    for (int b = 0; b < kLater; ++b) {
      if (b >= many) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] += later[b].at[v];
    }
  }
  const long long outer = s.width.quotient(column);
  write<T, V>(y + (outer * s.dim + row) * s.inner + (column - outer * s.width.divisor) * V, sum);
}

// ---- Launches -------------------------------------------------------------------------------------------

// Above, sorting is cheaper than looking through all indices for each row.
bool is_small(const ScatterShape& s) {
  constexpr std::int64_t kMostIndices = 2048, kMostLooks = std::int64_t{1} << 24;
  if (s.count > kMostIndices) return false;
  return static_cast<double>(s.count) * static_cast<double>(s.outer * s.dim * s.inner) <=
         static_cast<double>(kMostLooks);
}

std::int64_t pieces_of(const ScatterShape& s) {
  return (s.count + kPiece - 1) / kPiece;
}

unsigned blocks_of(long long threads) {
  return blocks_for(static_cast<std::size_t>(threads), kThreads);
}

template <class T, int V>
void launch_vector(const T* u, const Rows& rows, T* y, const ScatterShape& s, void* workspace,
                   const Stream& stream) {
  const long long width = s.inner / V, columns = s.outer * width;
  const Sizes sizes{Divider(width), Divider(columns), s.dim, s.count, s.inner};
  if (is_small(s)) {
    const long long threads = columns * s.dim;
    launch(search_kernel<T, V>, dim3(blocks_of(threads)), dim3(kThreads), 0, stream, u, rows, y, sizes,
           threads);
    return;
  }
  fill_bytes(y, 0, static_cast<std::size_t>(s.outer * s.dim * s.inner) * sizeof(T), stream);
  const SortedRows sorted = sort_rows(rows, s.count, workspace, stream);
  auto* const sums =
      reinterpret_cast<Acc<T>*>(static_cast<std::byte*>(workspace) + sort_rows_workspace(s.count, s.dim));
  const long long threads = columns * pieces_of(s);
  launch(pieces_kernel<T, Acc<T>, V>, dim3(blocks_of(threads)), dim3(kThreads), 0, stream, u, sorted.row,
         sorted.position, y, sums, sizes, threads);
  launch(crossing_kernel<T, Acc<T>, V>, dim3(blocks_of(threads)), dim3(kThreads), 0, stream, sorted.row, y,
         sums, sizes, threads);
}

template <class T>
void launch_typed(const void* u, const Rows& rows, void* y, const ScatterShape& s, void* workspace,
                  const Stream& stream) {
  const auto* const from = static_cast<const T*>(u);
  auto* const to = static_cast<T*>(y);
  if constexpr (!std::is_integral_v<T> && sizeof(T) < 8) {
    constexpr int kVector = Vec16<T>::kSize;
    if (s.inner % kVector == 0 && (address_of(u) | address_of(y)) % 16 == 0)
      return launch_vector<T, kVector>(from, rows, to, s, workspace, stream);
  }
  launch_vector<T, 1>(from, rows, to, s, workspace, stream);
}

}  // namespace ingot::cuda::scatter_kernels

namespace ingot::cuda {

std::size_t scatter_add_workspace(const ScatterShape& s) {
  using namespace scatter_kernels;
  if (is_small(s) || s.outer * s.dim * s.inner == 0) return 0;
  static_assert(sizeof(Acc<float>) == 8 && sizeof(Acc<int>) == 8);
  return sort_rows_workspace(s.count, s.dim) +
         static_cast<std::size_t>(2 * pieces_of(s) * s.outer * s.inner) * sizeof(double);
}

void scatter_add(DType dtype, const void* updates, DType index_dtype, const void* indices, void* y,
                 const ScatterShape& s, const ScatterRule& rule, void* workspace, const Stream& stream) {
  using namespace scatter_kernels;
  const Rows rows = rows_of(indices, index_dtype, s.dim, rule.negative, rule.skip);
  if (dtype == DType::Bool) throw UsageError("sums by index take a numeric dtype, got bool");
  if (s.outer * s.dim * s.inner == 0) return;
  switch (dtype) {
    case DType::F32:
      return launch_typed<float>(updates, rows, y, s, workspace, stream);
    case DType::F64:
      return launch_typed<double>(updates, rows, y, s, workspace, stream);
    case DType::F16:
      return launch_typed<__half>(updates, rows, y, s, workspace, stream);
    case DType::BF16:
      return launch_typed<__nv_bfloat16>(updates, rows, y, s, workspace, stream);
    case DType::I32:
      return launch_typed<int>(updates, rows, y, s, workspace, stream);
    case DType::I64:
      return launch_typed<long long>(updates, rows, y, s, workspace, stream);
    case DType::U8:
    case DType::Bool:
      return launch_typed<unsigned char>(updates, rows, y, s, workspace, stream);
  }
}

}  // namespace ingot::cuda
