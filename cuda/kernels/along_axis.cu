// Elements at an index of their own along the middle axis of [outer, dim, inner]:
//
//   take:  y[o, k, i] = x[o, index[o, k, i], i]
//   put:   y[o, index[o, k, i], i] = u[o, k, i],  0 elsewhere
//
// Bytes that must move: the indices, and the elements of the smaller side twice; a put clears y before. A
// thread moves an element; neighbours hold neighbouring indices.
#include "cuda/kernels/along_axis.h"

#include "cuda/base/launch.h"
#include "cuda/base/memory.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/indices.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::along_axis_kernels {

using namespace gpu;

constexpr int kThreads = 256;

// Where the k-th index points, or -1.
__device__ inline long long place_of(const Rows& rows, const Divider& block, const Divider& inner,
                                     long long k) {
  const long long row = rows.at(k), outer = block.quotient(k);
  const long long in_block = k - outer * block.divisor;
  const long long column = in_block - inner.quotient(in_block) * inner.divisor;
  return row < 0 ? -1 : (outer * rows.dim + row) * inner.divisor + column;
}

// Bound by: bandwidth, narrow: neighbouring indices may point anywhere.
template <class T>
__global__ void take_kernel(const T* x, Rows rows, T* y, Divider block, Divider inner, T none,
                            long long threads) {
  const long long k = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (k >= threads) return;
  const long long place = place_of(rows, block, inner, k);
  y[k] = place < 0 ? none : x[place];
}

// Bound by: bandwidth, narrow: neighbouring indices may point anywhere.
template <class T>
__global__ void put_kernel(const T* u, Rows rows, T* y, Divider block, Divider inner, long long threads) {
  const long long k = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (k >= threads) return;
  const long long place = place_of(rows, block, inner, k);
  if (place >= 0) y[place] = u[k];
}

// f(T*, divisors, elements) where there is something to do.
template <class F>
void for_elements(DType dtype, const AlongShape& s, F&& f) {
  const long long n = s.outer * s.count * s.inner;
  if (n == 0) return;
  with_element(size_of(dtype),
               [&]<class T>(T* type) { f(type, Divider(s.count * s.inner), Divider(s.inner), n); });
}

}  // namespace ingot::cuda::along_axis_kernels

namespace ingot::cuda {

void take_along_axis(DType dtype, const void* x, DType index_dtype, const void* indices, void* y,
                     const AlongShape& s, const Stream& stream) {
  const gpu::Rows rows = gpu::rows_of(indices, index_dtype, s.dim, true);
  along_axis_kernels::for_elements(
      dtype, s, [&]<class T>(T*, const gpu::Divider& block, const gpu::Divider& inner, long long n) {
        const T none = dtype == DType::Bool ? T(1) : static_cast<T>(~T(0));
        launch(along_axis_kernels::take_kernel<T>,
               dim3(blocks_for(static_cast<std::size_t>(n), along_axis_kernels::kThreads)),
               dim3(along_axis_kernels::kThreads), 0, stream, static_cast<const T*>(x), rows,
               static_cast<T*>(y), block, inner, none, n);
      });
}

void put_along_axis(DType dtype, const void* updates, DType index_dtype, const void* indices, void* y,
                    const AlongShape& s, const Stream& stream) {
  const gpu::Rows rows = gpu::rows_of(indices, index_dtype, s.dim, true);
  const auto elements = static_cast<std::size_t>(s.outer * s.dim * s.inner);
  if (elements != 0) fill_bytes(y, 0, elements * size_of(dtype), stream);
  along_axis_kernels::for_elements(
      dtype, s, [&]<class T>(T*, const gpu::Divider& block, const gpu::Divider& inner, long long n) {
        launch(along_axis_kernels::put_kernel<T>,
               dim3(blocks_for(static_cast<std::size_t>(n), along_axis_kernels::kThreads)),
               dim3(along_axis_kernels::kThreads), 0, stream, static_cast<const T*>(updates), rows,
               static_cast<T*>(y), block, inner, n);
      });
}

}  // namespace ingot::cuda
