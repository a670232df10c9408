// Matrix products of up to eight rows or columns.
//
//   y(r, s) = act(sum over k of p[r, k] q[s, k] + bias + residual),   s < 8, r any number
//
// p is the large operand (usually a weight), q the small one; which of them is a and which b follows from the
// sizes. Bytes that must move: p once; q, y are small. Two forms of p:
//   along k: a warp adds two rows of p, each lane 16 bytes of both, then the lanes by shuffles
//   along r: eight lanes own 16 bytes of neighbouring rows each, 32 groups of them take every 32nd k, then
//   the
//            groups are added through shared memory in order
// Few rows and a long sum are cut into slices of k with a second pass (tile_finish.h).
//
// Occupancy: skinny_dot_kernel from 16%: two rows times eight sums, whose loop nvcc unrolls on sm_120 so
//   far that many loads are in flight.
// Occupancy: skinny_axpy_kernel from 25%: eight sums for each of eight rows of 16-bit types; at 64
//   registers it spills.
#include "cuda/base/launch.h"
#include "cuda/kernels/matmul_paths.h"
#include "cuda/kernels/tile_finish.h"
#include "cuda/kernels/tile_load.h"
#include "cuda/kernels/tile_output.h"

namespace ingot::cuda::skinny {

using namespace gpu;
using tile::Output;

constexpr int kDotThreads = 128, kDotRows = 2, kDotBlockRows = kDotRows * kDotThreads / kWarpSize;
constexpr int kAxpyThreads = 256, kAxpyLanes = 8, kAxpyGroups = kAxpyThreads / kAxpyLanes;

template <class T>
struct Skinny {
  const T *p, *q;
  long long rows;      // of p
  int count;           // rows of q
  long long p_stride;  // between rows of p (along k), or between its k (along r)
  long long q_row, q_k;
  bool q_vector;    // q may be read 16 bytes along k
  bool rows_are_n;  // r counts columns of y and s its rows, or the other way round
  bool swapped;     // p is b
};

template <class T>
__device__ inline void shift(Skinny<T>& x, const Schedule& s, unsigned z) {
  const tile::BatchOffsets offsets = tile::batch_offsets(s.strides, z);
  x.p += x.swapped ? offsets.b : offsets.a;
  x.q += x.swapped ? offsets.a : offsets.b;
}

template <class T>
__device__ inline void store(float sum, long long r, int s, const Skinny<T>& x, const Output<T>& out) {
  const long long row = x.rows_are_n ? s : r, column = x.rows_are_n ? r : s;
  float v[1] = {sum};
  tile::store_either<1>(v, 1, row, column, out);
}

// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, int S, int V>
__global__ void __launch_bounds__(kDotThreads) skinny_dot_kernel(Skinny<T> x, Output<T> out, Schedule s) {
  const unsigned z = s.first_batch + blockIdx.z;
  shift(x, s, z);
  out.shift(s, z, blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize,
            warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const long long row0 = static_cast<long long>(blockIdx.x) * kDotBlockRows + warp * kDotRows;
  const long long k0 = blockIdx.y * s.slice, k1 = k0 + s.slice < s.k ? k0 + s.slice : s.k;
  float sums[kDotRows][S] = {};
  for (long long k = k0 + lane * V; k < k1; k += kWarpSize * V) {
    float p[kDotRows][V];
#pragma unroll
    for (int i = 0; i < kDotRows; ++i) {
      if (row0 + i < x.rows) {
        load_some<V>(x.p + (row0 + i) * x.p_stride + k, p[i]);
      } else {
#pragma unroll
        for (int e = 0; e < V; ++e) p[i][e] = 0.0f;
      }
    }
#pragma unroll
    for (int j = 0; j < S; ++j)
      if (j < x.count) {
        const T* const from = x.q + j * x.q_row + k * x.q_k;
        float q[V];
        if (V > 1 && x.q_vector) {
          load_some<V>(from, q);
        } else {
#pragma unroll
          for (int e = 0; e < V; ++e) q[e] = widen(from[e * x.q_k]);
        }
#pragma unroll
        for (int i = 0; i < kDotRows; ++i)
#pragma unroll
          for (int e = 0; e < V; ++e) sums[i][j] += p[i][e] * q[e];
      }
  }
  // Lane i S + j keeps sum j of row i: one store in the code, whose epilogue is long, not one for each sum.
  float mine = 0.0f;
#pragma unroll
  for (int i = 0; i < kDotRows; ++i)
#pragma unroll
    for (int j = 0; j < S; ++j)
      if (j < x.count) {
        const float sum = warp_sum(sums[i][j]);
        if (lane == i * S + j) mine = sum;
      }
  const int i = lane / S, j = lane % S;
  if (i < kDotRows && j < x.count && row0 + i < x.rows) store(mine, row0 + i, j, x, out);
}

// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, int S, int V>
__global__ void __launch_bounds__(kAxpyThreads, V == 1 ? 1 : 2)
    skinny_axpy_kernel(Skinny<T> x, Output<T> out, Schedule s) {
  constexpr int kColumns = kAxpyLanes * V;
  GPU_SHARED(part, float, [kAxpyGroups][kColumns]);
  GPU_SHARED(total, float, [S][kColumns]);
  const unsigned z = s.first_batch + blockIdx.z;
  shift(x, s, z);
  out.shift(s, z, blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), group = thread / kAxpyLanes,
            own = thread % kAxpyLanes * V;
  const long long row0 = static_cast<long long>(blockIdx.x) * kColumns;
  const long long k0 = blockIdx.y * s.slice, k1 = k0 + s.slice < s.k ? k0 + s.slice : s.k;
  float sums[S][V] = {};
  if (row0 + own < x.rows) {
#pragma unroll 2
    for (long long k = k0 + group; k < k1; k += kAxpyGroups) {
      float p[V];
      load_some<V>(x.p + k * x.p_stride + row0 + own, p);
#pragma unroll
      for (int j = 0; j < S; ++j)
        if (j < x.count) {
          const float q = widen(x.q[j * x.q_row + k * x.q_k]);
#pragma unroll
          for (int e = 0; e < V; ++e) sums[j][e] += p[e] * q;
        }
    }
  }
#pragma unroll
  for (int j = 0; j < S; ++j)
    if (j < x.count) {  // the same for all threads
#pragma unroll
      for (int e = 0; e < V; ++e) part[group][own + e] = sums[j][e];
      __syncthreads();
      if (thread < kColumns) {
        float sum = 0.0f;
        for (int g = 0; g < kAxpyGroups; ++g) sum += part[g][thread];
        total[j][thread] = sum;
      }
      __syncthreads();
    }
  // One store in the code, as above: a thread's own sums, so no barrier.
  if (thread < kColumns && row0 + thread < x.rows)
#pragma unroll 1
    for (int j = 0; j < x.count; ++j) store(total[j][thread], row0 + thread, j, x, out);
}

// Whether the large operand is b (its rows are the columns of y), and whether it lies along k.
struct Form {
  bool rows_are_n, along_k;
};
Form form_of(const ProductSizes& sizes, bool transpose_a, bool transpose_b) {
  const bool rows_are_n = sizes.m <= kSkinny && (sizes.n > kSkinny || sizes.m <= sizes.n);
  return {rows_are_n, rows_are_n ? transpose_b : !transpose_a};
}

template <class T, int S, int V>
void launch_one(const Skinny<T>& x, bool along_k, const Output<T>& out, Schedule& s, int slices,
                const Stream& stream) {
  const unsigned rows = static_cast<unsigned>(along_k ? kDotBlockRows : kAxpyLanes * V);
  const unsigned blocks = blocks_for(static_cast<std::size_t>(x.rows), rows);
  tile::for_each_batch_launch(s, [&](unsigned batches) {
    const dim3 grid(blocks, static_cast<unsigned>(slices), batches);
    if (along_k)
      launch(skinny_dot_kernel<T, S, V>, grid, dim3(kDotThreads), 0, stream, x, out, s);
    else
      launch(skinny_axpy_kernel<T, S, V>, grid, dim3(kAxpyThreads), 0, stream, x, out, s);
  });
}

template <class T>
void run(const MatmulCall& c, const Stream& stream) {
  const auto [m, n, k, batches] = c.sizes;
  const Form form = form_of(c.sizes, c.transpose_a, c.transpose_b);
  Skinny<T> x{};
  const auto* const a = static_cast<const T*>(c.a);
  const auto* const b = static_cast<const T*>(c.b);
  x.rows_are_n = x.swapped = form.rows_are_n;
  if (form.rows_are_n) {
    x.p = b, x.q = a, x.rows = n, x.count = static_cast<int>(m);
    x.p_stride = c.transpose_b ? k : n;
    x.q_row = c.transpose_a ? 1 : k, x.q_k = c.transpose_a ? m : 1;
  } else {
    x.p = a, x.q = b, x.rows = m, x.count = static_cast<int>(n);
    x.p_stride = c.transpose_a ? m : k;
    x.q_row = c.transpose_b ? k : 1, x.q_k = c.transpose_b ? 1 : n;
  }
  Schedule s;
  s.k = k;
  s.slice = c.plan.slice;
  s.batches = static_cast<unsigned>(batches);
  s.strides = c.strides;
  bool p_aligned = tile::is_aligned<T>(x.p, {x.p_stride}), q_aligned = tile::is_aligned<T>(x.q, {x.q_row});
  for (int i = 0; i < c.strides.rank; ++i) {
    p_aligned = p_aligned && tile::is_aligned<T>(nullptr, {x.swapped ? c.strides.b[i] : c.strides.a[i]});
    q_aligned = q_aligned && tile::is_aligned<T>(nullptr, {x.swapped ? c.strides.a[i] : c.strides.b[i]});
  }
  x.q_vector = q_aligned && x.q_k == 1;
  Output<T> out = tile::make_output<T>(c.y, c.epilogue, c.sizes, n, c.strides);
  if (c.plan.through_workspace) out.partial = static_cast<float*>(c.workspace);
  constexpr int V = Vec16<T>::kSize;
  const auto choose = [&]<int S>() {
    if (p_aligned)
      launch_one<T, S, V>(x, form.along_k, out, s, c.plan.slices, stream);
    else
      launch_one<T, S, 1>(x, form.along_k, out, s, c.plan.slices, stream);
  };
  if (x.count == 1)
    choose.template operator()<1>();
  else
    choose.template operator()<static_cast<int>(kSkinny)>();
  if (c.plan.through_workspace)
    finish_product(c.dtype,
                   {c.sizes, c.plan.slices, static_cast<const float*>(c.workspace), c.y, n, c.strides.y, 0},
                   c.epilogue, stream);
}

}  // namespace ingot::cuda::skinny

namespace ingot::cuda {

TilePlan plan_skinny(const ProductSizes& s, bool transpose_a, bool transpose_b, bool second_pass) {
  constexpr std::int64_t kEnoughBlocks = 264, kLeastSlice = 512;
  const skinny::Form form = skinny::form_of(s, transpose_a, transpose_b);
  // Rows of a block, taking 16-bit vectors: a plan must not depend on the dtype's luck with alignment.
  const std::int64_t rows = form.along_k ? skinny::kDotBlockRows : skinny::kAxpyLanes * 8;
  const std::int64_t blocks = divide_up(form.rows_are_n ? s.n : s.m, rows) * s.batches;
  std::int64_t slices = 1;
  if (blocks > 0 && blocks < kEnoughBlocks)
    slices = std::clamp<std::int64_t>(std::min(kEnoughBlocks / blocks, s.k / kLeastSlice), 1, kEnoughBlocks);
  TilePlan plan;
  plan.slice = divide_up(divide_up(s.k, slices), kSliceUnit) * kSliceUnit;
  plan.slices = static_cast<int>(divide_up(s.k, plan.slice));
  plan.through_workspace = plan.slices > 1 || second_pass;
  return plan;
}

void skinny_matmul(const MatmulCall& call, const Stream& stream) {
  if (call.dtype == DType::F32)
    skinny::run<float>(call, stream);
  else if (call.dtype == DType::F16)
    skinny::run<__half>(call, stream);
  else
    skinny::run<__nv_bfloat16>(call, stream);
}

}  // namespace ingot::cuda
