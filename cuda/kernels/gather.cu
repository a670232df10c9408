// Rows by index.
//
//   gather:  y[o, k, i] = x[o, index[k], i]          one_hot: y[k, d] = (d == index[k])
//
// Bytes that must move: the rows that are named once in and once out, the indices; of one_hot the result.
// Threads walk over the result in pieces of up to 16 bytes, four in flight in each; threads of a row read its
// index from the cache.
#include "cuda/kernels/gather.h"

#include <cstring>

#include "cuda/base/launch.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/indices.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::gather_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kItems = 4;  // pieces in flight in a thread

// `width` pieces are a row. `missing` is written where an index names none.
// Bound by: bandwidth (loads, stores); narrow where Unit != uint4.
template <class Unit>
__global__ void rows_kernel(const Unit* x, Rows rows, Unit* y, Divider width, Divider count, long long pieces,
                            Unit missing) {
  const long long first =
      static_cast<long long>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
  Unit unit[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const long long piece = first + k * kThreads;
    if (piece >= pieces) continue;
    const long long line = width.quotient(piece), outer = count.quotient(line);
    const long long row = rows.at(line - outer * count.divisor);
    unit[k] = row < 0 ? missing : x[(outer * rows.dim + row) * width.divisor + piece - line * width.divisor];
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k)
    if (first + k * kThreads < pieces) y[first + k * kThreads] = unit[k];
}

// V elements a thread, which may lie in several rows.
// Bound by: bandwidth (stores); narrow where V = 1.
template <class T, int V>
__global__ void one_hot_kernel(Rows rows, T* y, Divider depth, long long n, T one) {
  const long long at = (static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * V;
  if (at >= n) return;
  long long line = depth.quotient(at), d = at - line * depth.divisor, hot = rows.at(line);
  const auto next = [&](bool more) {
    const T value = d == hot ? one : T(0);
    if (++d == depth.divisor && more) {
      d = 0;
      hot = rows.at(++line);
    }
    return value;
  };
  if (V > 1 && at + V <= n) {
    Vec16<T> piece;
#pragma unroll
    for (int k = 0; k < Vec16<T>::kSize; ++k) piece.at[k] = next(at + k + 1 < n);
    store16(y + at, piece);
  } else {
    for (int k = 0; k < V && at + k < n; ++k) y[at + k] = next(at + k + 1 < n);
  }
}

unsigned blocks_of(long long n, int a_thread) {
  return blocks_for(static_cast<std::size_t>(n), static_cast<unsigned>(kThreads * a_thread));
}

}  // namespace ingot::cuda::gather_kernels

namespace ingot::cuda {

void gather(DType dtype, const void* x, DType index_dtype, const void* indices, void* y, const GatherShape& s,
            bool negative, const Stream& stream) {
  using namespace gather_kernels;
  const Rows rows = rows_of(indices, index_dtype, s.dim, negative);
  const std::int64_t n = s.outer * s.count * s.inner;
  if (n == 0) return;
  const std::size_t row_bytes = static_cast<std::size_t>(s.inner) * size_of(dtype);
  const std::size_t unit = widest_unit({row_bytes, address_of(x), address_of(y)});
  const auto width = static_cast<long long>(row_bytes / unit);
  const long long pieces = width * s.outer * s.count;
  with_unit(unit, [&]<class Unit>(Unit*) {
    Unit missing;
    std::memset(&missing, dtype == DType::Bool ? 1 : 255, sizeof(Unit));
    launch(rows_kernel<Unit>, dim3(blocks_of(pieces, kItems)), dim3(kThreads), 0, stream,
           static_cast<const Unit*>(x), rows, static_cast<Unit*>(y), Divider(width), Divider(s.count), pieces,
           missing);
  });
}

void one_hot(DType dtype, DType index_dtype, const void* indices, std::int64_t count, std::int64_t depth,
             void* y, const Stream& stream) {
  using namespace gather_kernels;
  const Rows rows = rows_of(indices, index_dtype, depth, true);
  const long long n = count * depth;
  if (n == 0) return;
  with_element(size_of(dtype), [&]<class T>(T*) {
    constexpr int kVector = Vec16<T>::kSize;
    const auto one = static_cast<T>(element_bits(dtype, 1.0));
    if (address_of(y) % 16 == 0)
      launch(one_hot_kernel<T, kVector>, dim3(blocks_of(n, kVector)), dim3(kThreads), 0, stream, rows,
             static_cast<T*>(y), Divider(depth), n, one);
    else
      launch(one_hot_kernel<T, 1>, dim3(blocks_of(n, 1)), dim3(kThreads), 0, stream, rows, static_cast<T*>(y),
             Divider(depth), n, one);
  });
}

}  // namespace ingot::cuda
