// Scaled dot product attention of each head, and its gradient, without the matrix of weights in memory.
//
//   s = scale q k^T,  m = max s,  l = sum exp(s - m),  y = exp(s - m) v / l,  lse = m + log l       per row
//   of q p = exp(s - lse),  ds = scale p (dy v^T - sum dy y):   dq = ds k,  dk = ds^T q,  dv = p^T dy
//
// Keys beyond a row's last one (causal, lengths) have weight 0; a row without keys gives y = 0, lse = 0.
//
// A block owns 64 rows of its result and goes through the other side in tiles of 64: a tile of scores (64 x
// 64) in registers, its weights through shared memory, and their product with the tile's values added to the
// result in registers. Forward: running maximum and sum per row, what was added before is scaled where the
// maximum grows (Dao et al., arXiv 2205.14135). Gradient: one kernel over blocks of rows for dq, which also
// leaves sum dy y for the other, over blocks of keys for dk and dv; the scores are computed again in both (7
// products instead of 5), so that no block adds to another's result and the order of all sums is fixed.
//
// Bytes that must move: q and y once, k and v once for every 64 rows (from the second time on mostly from the
// cache). A block makes 64 columns of its result; with more the scores are computed once for each 64 of them.
//
// Occupancy: forward_kernel, grad_q_kernel from 25%: a thread holds 4 x 4 scores, as many sums and the next
// tile's
//   loads: reuse hides the latency.
// Occupancy: grad_kv_kernel from 25%: two tiles of scores and two of sums stay in registers.
#include "cuda/kernels/attention.h"

#include <algorithm>
#include <limits>

#include "cuda/base/launch.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/running_softmax.h"

namespace ingot::cuda::attention_kernels {

using namespace gpu;

constexpr int kThreads = 256, kTile = 64, kDepth = 32, kEach = 4;
constexpr int kAcross = kTile / kEach;  // threads along a tile's columns: half a warp
constexpr int kPitch = kTile + 4;       // floats: rows stay on 16 bytes, and start in another bank

struct Sizes {
  int q_heads, group, rows, keys, depth, v_depth;  // group: heads of q that share one of k
  int blocks;                                      // of 64 rows, or keys, per head
  float scale;
  bool causal, wide_depth, wide_values;  // wide: rows of so many elements are read 16 bytes at a time
  const int* lengths;
};

// A matrix in memory, `length` elements a row.
template <class T>
struct Matrix {
  const T* at;
  int rows, length;
  bool wide;
};

__device__ inline int across() {
  return static_cast<int>(threadIdx.x) % kAcross * kEach;
}
__device__ inline int down() {
  return static_cast<int>(threadIdx.x) / kAcross * kEach;
}

__device__ inline int counted_keys(const Sizes& s, int sample) {
  if (s.lengths == nullptr) return s.keys;
  const int n = s.lengths[sample];
  return n < 0 ? 0 : n > s.keys ? s.keys : n;
}
// Of `length` keys those that row i counts.
__device__ inline int seen_by(const Sizes& s, int i, int length) {
  return s.causal && i + 1 < length ? i + 1 : length;
}

// What lies outside of the matrix is 0.
template <class T>
__device__ inline float element(const Matrix<T>& m, int row, int column) {
  return row < m.rows && column < m.length ? widen(m.at[static_cast<long long>(row) * m.length + column])
                                           : 0.0f;
}
template <class T, int V>
__device__ inline void load_vector(const Matrix<T>& m, int row, int column, float (&v)[V]) {
#pragma unroll
  for (int e = 0; e < V; ++e) v[e] = 0.0f;
  if (row < m.rows && column < m.length)
    load_some<V>(m.at + static_cast<long long>(row) * m.length + column, v);
}

// tile[d][r] of 64 rows and kDepth of their elements.
template <class T>
__device__ inline void load_across(const Matrix<T>& m, int row0, int column0, float* tile) {
  if (m.wide) {
    constexpr int V = Vec16<T>::kSize, kPerRow = kDepth / V;
#pragma unroll
    for (int u = 0; u < kTile * kPerRow; u += kThreads) {
      const int at = u + static_cast<int>(threadIdx.x), r = at / kPerRow, c = at % kPerRow * V;
      float v[V];
      load_vector(m, row0 + r, column0 + c, v);
#pragma unroll
      for (int e = 0; e < V; ++e) tile[(c + e) * kPitch + r] = v[e];
    }
  } else {
#pragma unroll 1
    for (int at = static_cast<int>(threadIdx.x); at < kTile * kDepth; at += kThreads)
      tile[at % kDepth * kPitch + at / kDepth] = element(m, row0 + at / kDepth, column0 + at % kDepth);
  }
}

// tile[r][c] of kDepth rows and 64 of their elements.
template <class T>
__device__ inline void load_along(const Matrix<T>& m, int row0, int column0, float* tile) {
  if (m.wide) {
    constexpr int V = Vec16<T>::kSize, kPerRow = kTile / V;
#pragma unroll
    for (int u = 0; u < kDepth * kPerRow; u += kThreads) {
      const int at = u + static_cast<int>(threadIdx.x), r = at / kPerRow, c = at % kPerRow * V;
      float v[V];
      load_vector(m, row0 + r, column0 + c, v);
#pragma unroll
      for (int e = 0; e < V; e += 4)
        store16(tile + r * kPitch + c + e, Vec16<float>{{v[e], v[e + 1], v[e + 2], v[e + 3]}});
    }
  } else {
#pragma unroll 1
    for (int at = static_cast<int>(threadIdx.x); at < kTile * kDepth; at += kThreads)
      tile[at / kTile * kPitch + at % kTile] = element(m, row0 + at / kTile, column0 + at % kTile);
  }
}

// sums[i][j] += sum over k < kDepth of a[k][down + i] b[k][across + j].
__device__ inline void multiply(const float* a, const float* b, float (&sums)[kEach][kEach]) {
#pragma unroll 4
  for (int k = 0; k < kDepth; ++k) {
    const Vec16<float> left = load16(a + k * kPitch + down()), right = load16(b + k * kPitch + across());
#pragma unroll
    for (int i = 0; i < kEach; ++i)
#pragma unroll
      for (int j = 0; j < kEach; ++j) sums[i][j] += left.at[i] * right.at[j];
  }
}

// The products of rows of x with rows of z; a and b are tiles of kDepth rows.
template <class T>
__device__ inline void products_of_rows(const Matrix<T>& x, int x0, const Matrix<T>& z, int z0, float* a,
                                        float* b, float (&sums)[kEach][kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i)
#pragma unroll
    for (int j = 0; j < kEach; ++j) sums[i][j] = 0.0f;
#pragma unroll 1
  for (int d = 0; d < x.length; d += kDepth) {
    __syncthreads();  // nobody reads the tiles any more
    load_across(x, x0, d, a);
    load_across(z, z0, d, b);
    __syncthreads();
    multiply(a, b, sums);
  }
}

// Leaves the tile of weights with its rows across: the transposed operand of the next product.
__device__ inline void put_weights(const float (&w)[kEach][kEach], float* weights) {
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    store16(weights + (across() + j) * kPitch + down(), Vec16<float>{{w[0][j], w[1][j], w[2][j], w[3][j]}});
}

// sums += the weights times 64 rows of z, in the columns from column0 on.
template <class T>
__device__ inline void add_weighted(const float* weights, const Matrix<T>& z, int z0, int column0, float* b,
                                    float (&sums)[kEach][kEach]) {
#pragma unroll 1
  for (int k = 0; k < kTile; k += kDepth) {
    __syncthreads();  // the weights are there, and nobody reads b any more
    load_along(z, z0 + k, column0, b);
    __syncthreads();
    multiply(weights + k * kPitch, b, sums);
  }
}

template <class T>
__device__ inline void store_rows(T* to, int row0, int rows, int column0, int columns,
                                  const float (&sums)[kEach][kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; ++i)
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int row = row0 + down() + i, column = column0 + across() + j;
      if (row < rows && column < columns)
        to[static_cast<long long>(row) * columns + column] = narrow<T>(sums[i][j]);
    }
}

// Combines over the threads that share rows.
template <class Combine>
__device__ inline float along_row(float v, Combine combine) {
#pragma unroll
  for (int step = kAcross / 2; step > 0; step /= 2) v = combine(v, shuffle_xor(v, step));
  return v;
}

// Bound by: arithmetic: each element that is read takes part in 64 products.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    forward_kernel(const T* q, const T* k, const T* v, T* y, float* lse, Sizes s) {
  GPU_SHARED(a, float, [kDepth * kPitch]);
  GPU_SHARED(b, float, [kDepth * kPitch]);
  GPU_SHARED(weights, float, [kTile * kPitch]);
  const int head = static_cast<int>(blockIdx.x) / s.blocks,
            row0 = static_cast<int>(blockIdx.x) % s.blocks * kTile;
  const int column0 = static_cast<int>(blockIdx.y) * kTile;
  const long long first_row = static_cast<long long>(head) * s.rows,
                  first_key = static_cast<long long>(head / s.group) * s.keys;
  const int length = counted_keys(s, head / s.q_heads), last = seen_by(s, row0 + kTile - 1, length);
  const Matrix<T> queries{q + first_row * s.depth, s.rows, s.depth, s.wide_depth},
      keys{k + first_key * s.depth, length, s.depth, s.wide_depth},
      values{v + first_key * s.v_depth, length, s.v_depth, s.wide_values};

  float most[kEach], total[kEach], sums[kEach][kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) most[i] = -INFINITY, total[i] = 0.0f;
#pragma unroll 1
  for (int key0 = 0; key0 < last; key0 += kTile) {
    float w[kEach][kEach];
    products_of_rows(queries, row0, keys, key0, &a[0], &b[0], w);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int seen = seen_by(s, row0 + down() + i, length) - key0 - across();
      float greatest = most[i], sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        w[i][j] = j < seen ? w[i][j] * s.scale : -INFINITY;
        greatest = w[i][j] > greatest ? w[i][j] : greatest;
      }
      greatest = along_row(greatest, [](float l, float r) { return l > r ? l : r; });
#pragma unroll
      for (int j = 0; j < kEach; ++j) sum += w[i][j] = exp_above(w[i][j], greatest);
      const float shrink = rescale(most[i], greatest);
      total[i] = total[i] * shrink + along_row(sum, [](float l, float r) { return l + r; });
      most[i] = greatest;
#pragma unroll
      for (int j = 0; j < kEach; ++j) sums[i][j] *= shrink;
    }
    put_weights(w, &weights[0]);
    add_weighted(&weights[0], values, key0, column0, &b[0], sums);
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = row0 + down() + i;
    const bool none = seen_by(s, row, length) == 0;
    const float scale = none ? 0.0f : 1.0f / total[i];
#pragma unroll
    for (int j = 0; j < kEach; ++j) sums[i][j] *= scale;
    if (column0 == 0 && across() == 0 && row < s.rows)
      lse[first_row + row] = none ? 0.0f : most[i] + logf(total[i]);
  }
  store_rows(y + first_row * s.v_depth, row0, s.rows, column0, s.v_depth, sums);
}

// exp(scale score - lse) where the row counts the key.
__device__ inline float weight_of(float score, float lse, bool counts, const Sizes& s) {
  return counts ? expf(score * s.scale - lse) : 0.0f;
}

// dq of 64 rows, and of each the sum dy y.
// Bound by: arithmetic: as in forward_kernel.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    grad_q_kernel(const T* dy, const T* q, const T* k, const T* v, const T* y, const float* lse, T* dq,
                  float* deltas, Sizes s) {
  GPU_SHARED(a, float, [kDepth * kPitch]);
  GPU_SHARED(b, float, [kDepth * kPitch]);
  GPU_SHARED(weights, float, [kTile * kPitch]);
  GPU_SHARED(delta, float, [kTile]);
  const int head = static_cast<int>(blockIdx.x) / s.blocks,
            row0 = static_cast<int>(blockIdx.x) % s.blocks * kTile;
  const int column0 = static_cast<int>(blockIdx.y) * kTile;
  const long long first_row = static_cast<long long>(head) * s.rows,
                  first_key = static_cast<long long>(head / s.group) * s.keys;
  const int length = counted_keys(s, head / s.q_heads), last = seen_by(s, row0 + kTile - 1, length);
  const Matrix<T> queries{q + first_row * s.depth, s.rows, s.depth, s.wide_depth},
      grads{dy + first_row * s.v_depth, s.rows, s.v_depth, s.wide_values},
      results{y + first_row * s.v_depth, s.rows, s.v_depth, s.wide_values},
      keys{k + first_key * s.depth, length, s.depth, s.wide_depth},
      values{v + first_key * s.v_depth, length, s.v_depth, s.wide_values};
  {
    constexpr int kShare = kThreads / kTile;  // threads a row
    const int r = static_cast<int>(threadIdx.x) / kShare;
    float sum = 0.0f;
#pragma unroll 1
    for (int c = static_cast<int>(threadIdx.x) % kShare; c < s.v_depth; c += kShare)
      sum += element(grads, row0 + r, c) * element(results, row0 + r, c);
#pragma unroll
    for (int step = kShare / 2; step > 0; step /= 2) sum += shuffle_xor(sum, step);
    if (static_cast<int>(threadIdx.x) % kShare == 0) {
      delta[r] = sum;
      if (column0 == 0 && row0 + r < s.rows) deltas[first_row + row0 + r] = sum;
    }
  }
  __syncthreads();
  float own_lse[kEach], own_delta[kEach], sums[kEach][kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = row0 + down() + i;
    own_lse[i] = row < s.rows ? lse[first_row + row] : 0.0f;
    own_delta[i] = delta[down() + i];
  }
#pragma unroll 1
  for (int key0 = 0; key0 < last; key0 += kTile) {
    float w[kEach][kEach], u[kEach][kEach];
    products_of_rows(queries, row0, keys, key0, &a[0], &b[0], w);
    products_of_rows(grads, row0, values, key0, &a[0], &b[0], u);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int row = row0 + down() + i, seen = row < s.rows ? seen_by(s, row, length) - key0 - across() : 0;
#pragma unroll
      for (int j = 0; j < kEach; ++j)
        w[i][j] = weight_of(w[i][j], own_lse[i], j < seen, s) * (u[i][j] - own_delta[i]) * s.scale;
    }
    put_weights(w, &weights[0]);
    add_weighted(&weights[0], keys, key0, column0, &b[0], sums);
  }
  store_rows(dq + first_row * s.depth, row0, s.rows, column0, s.depth, sums);
}

// dk and dv of 64 keys: tiles of scores have a key a row here.
// Bound by: arithmetic: as in forward_kernel.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    grad_kv_kernel(const T* dy, const T* q, const T* k, const T* v, const float* lse, const float* deltas,
                   T* dk, T* dv, Sizes s) {
  GPU_SHARED(a, float, [kDepth * kPitch]);
  GPU_SHARED(b, float, [kDepth * kPitch]);
  GPU_SHARED(weights, float, [kTile * kPitch]);
  const int head = static_cast<int>(blockIdx.x) / s.blocks,
            key0 = static_cast<int>(blockIdx.x) % s.blocks * kTile;
  const int column0 = static_cast<int>(blockIdx.y) * kTile;
  const long long first_key = static_cast<long long>(head) * s.keys;
  const int length = counted_keys(s, head * s.group / s.q_heads);
  const Matrix<T> keys{k + first_key * s.depth, length, s.depth, s.wide_depth},
      values{v + first_key * s.v_depth, length, s.v_depth, s.wide_values};
  float key_sums[kEach][kEach] = {}, value_sums[kEach][kEach] = {};
  const int tiles = key0 < length ? (s.rows + kTile - 1) / kTile : 0, first = s.causal ? key0 / kTile : 0;
#pragma unroll 1
  for (int sharer = 0; sharer < s.group; ++sharer) {
    const long long first_row = (static_cast<long long>(head) * s.group + sharer) * s.rows;
    const Matrix<T> queries{q + first_row * s.depth, s.rows, s.depth, s.wide_depth},
        grads{dy + first_row * s.v_depth, s.rows, s.v_depth, s.wide_values};
#pragma unroll 1
    for (int tile = first; tile < tiles; ++tile) {
      const int row0 = tile * kTile;
      float w[kEach][kEach], u[kEach][kEach];
      products_of_rows(values, key0, grads, row0, &a[0], &b[0], u);
      products_of_rows(keys, key0, queries, row0, &a[0], &b[0], w);
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const int row = row0 + across() + j,
                  seen = row < s.rows ? seen_by(s, row, length) - key0 - down() : 0;
        const float row_lse = row < s.rows ? lse[first_row + row] : 0.0f,
                    delta = row < s.rows ? deltas[first_row + row] : 0.0f;
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
          w[i][j] = weight_of(w[i][j], row_lse, i < seen, s);
          u[i][j] = w[i][j] * (u[i][j] - delta) * s.scale;
        }
      }
      put_weights(w, &weights[0]);
      add_weighted(&weights[0], grads, row0, column0, &b[0], value_sums);
      __syncthreads();
      put_weights(u, &weights[0]);
      add_weighted(&weights[0], queries, row0, column0, &b[0], key_sums);
    }
  }
  store_rows(dk + first_key * s.depth, key0, s.keys, column0, s.depth, key_sums);
  store_rows(dv + first_key * s.v_depth, key0, s.keys, column0, s.v_depth, value_sums);
}

// ---- Launches -------------------------------------------------------------------------------------------

// For blocks of 64 of `lines` rows or keys.
Sizes sizes_of(const AttentionShape& s, std::int64_t lines, const std::int32_t* lengths) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  const std::int64_t blocks = (lines + kTile - 1) / kTile;
  for (const std::int64_t n : {s.batch * s.q_heads, s.rows + kTile, s.keys + kTile, s.depth + kTile,
                               s.v_depth + kTile, blocks * s.batch * s.q_heads})
    if (n > kMost)
      throw ShapeError(cat("attention on a GPU takes sizes below 2^31, got ", s.batch, " x ", s.q_heads,
                           " heads of ", s.rows, " rows and ", s.keys, " keys of ", s.depth, " and ",
                           s.v_depth, " elements"));
  const auto i = [](std::int64_t n) { return static_cast<int>(n); };
  return {i(s.q_heads),
          i(s.q_heads / s.k_heads),
          i(s.rows),
          i(s.keys),
          i(s.depth),
          i(s.v_depth),
          i(std::max<std::int64_t>(blocks, 1)),
          static_cast<float>(s.scale),
          s.causal,
          false,
          false,
          lengths};
}

template <class T>
void allow_wide(Sizes& s, std::initializer_list<const void*> of_depth,
                std::initializer_list<const void*> of_values) {
  s.wide_depth = s.depth % Vec16<T>::kSize == 0 && on_16_bytes(of_depth);
  s.wide_values = s.v_depth % Vec16<T>::kSize == 0 && on_16_bytes(of_values);
}

// Blocks of 64 lines of all heads, for each 64 columns of the result.
dim3 grid_of(const Sizes& s, std::int64_t heads, std::int64_t columns) {
  return dim3(static_cast<unsigned>(heads * s.blocks),
              blocks_for(static_cast<std::size_t>(std::max<std::int64_t>(columns, 1)), kTile));
}

}  // namespace ingot::cuda::attention_kernels

namespace ingot::cuda {

namespace at = attention_kernels;

void attention(DType dtype, const AttentionShape& shape, const AttentionOperands& o, const Stream& stream) {
  for_floating("attention", dtype, [&]<class T>(T*) {
    at::Sizes s = at::sizes_of(shape, shape.rows, o.lengths);
    const std::int64_t heads = shape.batch * shape.q_heads;
    if (heads == 0 || shape.rows == 0) return;
    at::allow_wide<T>(s, {o.q, o.k}, {o.v});
    launch(at::forward_kernel<T>, at::grid_of(s, heads, shape.v_depth), dim3(at::kThreads), 0, stream,
           static_cast<const T*>(o.q), static_cast<const T*>(o.k), static_cast<const T*>(o.v),
           static_cast<T*>(o.y), static_cast<float*>(o.lse), s);
  });
}

std::size_t attention_grad_workspace(const AttentionShape& s) {
  return static_cast<std::size_t>(s.batch * s.q_heads * s.rows) * sizeof(float);
}

void attention_grad(DType dtype, const AttentionShape& shape, const AttentionGradOperands& o, void* workspace,
                    const Stream& stream) {
  for_floating("attention", dtype, [&]<class T>(T*) {
    const auto in = [](const void* p) { return static_cast<const T*>(p); };
    const auto* const lse = static_cast<const float*>(o.lse);
    auto* const deltas = static_cast<float*>(workspace);
    at::Sizes s = at::sizes_of(shape, shape.rows, o.lengths);
    at::allow_wide<T>(s, {o.q, o.k}, {o.v, o.dy, o.y});
    const std::int64_t heads = shape.batch * shape.q_heads, k_heads = shape.batch * shape.k_heads;
    if (heads != 0 && shape.rows != 0)
      launch(at::grad_q_kernel<T>, at::grid_of(s, heads, shape.depth), dim3(at::kThreads), 0, stream,
             in(o.dy), in(o.q), in(o.k), in(o.v), in(o.y), lse, static_cast<T*>(o.dq), deltas, s);
    at::Sizes by_keys = at::sizes_of(shape, shape.keys, o.lengths);
    at::allow_wide<T>(by_keys, {o.q, o.k}, {o.v, o.dy});
    if (k_heads != 0 && shape.keys != 0)
      launch(at::grad_kv_kernel<T>, at::grid_of(by_keys, k_heads, std::max(shape.depth, shape.v_depth)),
             dim3(at::kThreads), 0, stream, in(o.dy), in(o.q), in(o.k), in(o.v), lse, deltas,
             static_cast<T*>(o.dk), static_cast<T*>(o.dv), by_keys);
  });
}

}  // namespace ingot::cuda
