// Layer normalisation of the rows of [rows, cells].
//
//   mean = sum x / n,  var = sum (x - mean)^2 / n,  rstd = 1 / sqrt(var + eps)          per row
//   y = (x - mean) rstd gamma + beta
//
// Bytes that must move: x and y once; gamma and beta stay in the cache. Rows of up to 1024 elements are held
// in a warp's registers, up to 8192 in a block's, so that each byte moves once; longer ones are read twice by
// a large block. In registers the variance takes a second pass, which also corrects the mean; in memory
// moments relative to the row's first element are joined. A mean of 1000 beside a spread of 0.01 loses
// nothing, and the order of all sums is fixed.
//
// Occupancy: rows_kernel from 12%: a row stays in registers, so that x moves once; 12% is of single
//   elements, 32 a thread.
#include "cuda/kernels/layer_norm.h"

#include "cuda/base/launch.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/layer_norm_rows.h"
#include "cuda/kernels/moments.h"

namespace ingot::cuda::layer_norm_kernels {

struct Params {
  const void *gamma, *beta;
  void *mean, *rstd;
  ParamKind kind;
  float eps;
};

// y for V elements at `at` of a row.
template <class T, int V>
__device__ inline void normalise(const float (&x)[V], T* y, int at, SplitMean mean, float rstd,
                                 const Params& p) {
  float gamma[V], beta[V], v[V];
  load_params<V, T>(p.gamma, p.kind == ParamKind::F32, at, gamma);
  load_params<V, T>(p.beta, p.kind == ParamKind::F32, at, beta);
#pragma unroll
  for (int k = 0; k < V; ++k) v[k] = ((x[k] - mean.high) - mean.low) * rstd * gamma[k] + beta[k];
  store_some<V>(y + at, v);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, int Chunks, int Group>
__global__ void __launch_bounds__(kThreads)
    rows_kernel(const T* x, T* y, long long rows, int cells, Params p) {
  const int thread = static_cast<int>(threadIdx.x) % Group;
  const long long row =
      static_cast<long long>(blockIdx.x) * (kThreads / Group) + static_cast<int>(threadIdx.x) / Group;
  if (row >= rows) return;  // the whole group
  float v[Chunks][V];
  SumPair sums{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * Group + thread) * V;
    if (at < cells) {
      load_some<V>(x + row * cells + at, v[i]);
#pragma unroll
      for (int k = 0; k < V; ++k) sums.a += v[i][k];
    }
  }
  const float n = static_cast<float>(cells);
  const float high = group_sum<Group>(sums).a / n;
  sums = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < Chunks; ++i)
    if ((i * Group + thread) * V < cells) {
#pragma unroll
      for (int k = 0; k < V; ++k) {
        const float d = v[i][k] - high;
        sums = sums + SumPair{d, d * d};
      }
    }
  sums = group_sum<Group>(sums);
  const SplitMean mean = split_mean(high, sums.a / n);
  const float m2 = sums.b - sums.a * (sums.a / n);
  const float rstd = 1.0f / sqrtf((m2 < 0.0f ? 0.0f : m2) / n + p.eps);
#pragma unroll
  for (int i = 0; i < Chunks; ++i) {
    const int at = (i * Group + thread) * V;
    if (at < cells) normalise<T, V>(v[i], y + row * cells, at, mean, rstd, p);
  }
  if (thread == 0) {
    write_param(p.mean, p.kind, row, mean.high);
    write_param(p.rstd, p.kind, row, rstd);
  }
}

// A block a row, for rows of any length.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kLongThreads) long_rows_kernel(const T* x, T* y, int cells, Params p) {
  constexpr int kAtOnce = V >= 8 ? 1 : 8 / V;  // 8 elements
  GPU_SHARED(slots, Moments, [kLongThreads / kWarpSize + 1]);
  const T* const from = x + static_cast<long long>(blockIdx.x) * cells;
  T* const to = y + static_cast<long long>(blockIdx.x) * cells;
  const float shift = widen(*from);
  Moments own{0.0f, 0.0f, 0.0f};
  int at = static_cast<int>(threadIdx.x) * V;
  for (; at + (kAtOnce - 1) * kLongThreads * V < cells; at += kAtOnce * kLongThreads * V) {
    float v[kAtOnce * V];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      float some[V];
      load_some<V>(from + at + i * kLongThreads * V, some);
#pragma unroll
      for (int k = 0; k < V; ++k) v[i * V + k] = some[k] - shift;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce * V; i += 4) {
      Moments four{4.0f, 0.0f, 0.0f};
      four_moments(v[i], v[i + 1], v[i + 2], v[i + 3], four.mean, four.m2);
      own = join(own, four);
    }
  }
  for (; at < cells; at += kLongThreads * V) {
    float v[V];
    load_some<V>(from + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) own.add(v[k] - shift);
  }
  const Moments all = block_reduce<kLongThreads>(
      own, &slots[0], [](Moments a, Moments b) { return join(a, b); },
      [](Moments m, int step) {
        return Moments{shuffle_xor(m.n, step), shuffle_xor(m.mean, step), shuffle_xor(m.m2, step)};
      });
  const SplitMean mean = split_mean(shift, all.mean);
  const float rstd = 1.0f / sqrtf(all.m2 / static_cast<float>(cells) + p.eps);
  // y may lie over x: nobody reads the first element again, and each thread its own others.
  for (at = static_cast<int>(threadIdx.x) * V; at < cells; at += kLongThreads * V) {
    float v[V];
    load_some<V>(from + at, v);
    normalise<T, V>(v, to, at, mean, rstd, p);
  }
  if (threadIdx.x == 0) {
    write_param(p.mean, p.kind, blockIdx.x, mean.high);
    write_param(p.rstd, p.kind, blockIdx.x, rstd);
  }
}

template <class T, int V, int Chunks, int Group>
void launch_rows(const T* x, T* y, const LayerNormShape& s, const Params& p, const Stream& stream) {
  launch(rows_kernel<T, V, Chunks, Group>,
         dim3(blocks_for(static_cast<std::size_t>(s.rows), kThreads / Group)), dim3(kThreads), 0, stream, x,
         y, static_cast<long long>(s.rows), static_cast<int>(s.cells), p);
}

template <class T, int V>
void launch_vectors(const T* x, T* y, const LayerNormShape& s, const Params& p, const Stream& stream) {
  if (s.cells <= 8 * kWarpSize) return launch_rows<T, V, chunks_for<V>(8), kWarpSize>(x, y, s, p, stream);
  if (s.cells <= 32 * kWarpSize) return launch_rows<T, V, chunks_for<V>(32), kWarpSize>(x, y, s, p, stream);
  if constexpr (V > 1)
    if (s.cells <= 32 * kThreads) return launch_rows<T, V, chunks_for<V>(32), kThreads>(x, y, s, p, stream);
  launch(long_rows_kernel<T, V>, dim3(static_cast<unsigned>(s.rows)), dim3(kLongThreads), 0, stream, x, y,
         static_cast<int>(s.cells), p);
}

}  // namespace ingot::cuda::layer_norm_kernels

namespace ingot::cuda {

void layer_norm(const LayerNormConfig& config, const LayerNormShape& s, const LayerNormOperands& o,
                const Stream& stream) {
  namespace ln = layer_norm_kernels;
  constexpr const char* kName = "layer_norm";
  ln::check_cells(kName, s);
  const ln::Params p{o.gamma,
                     o.beta,
                     o.mean,
                     o.rstd,
                     param_kind(kName, config.params, config.dtype),
                     static_cast<float>(config.eps)};
  for_floating(kName, config.dtype, [&]<class T>(T*) {
    if (s.rows == 0 || s.cells == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto* const x = static_cast<const T*>(o.x);
    auto* const y = static_cast<T*>(o.y);
    if (s.cells % kVector == 0 && on_16_bytes({o.x, o.gamma, o.beta, o.y}))
      ln::launch_vectors<T, kVector>(x, y, s, p, stream);
    else
      ln::launch_vectors<T, 1>(x, y, s, p, stream);
  });
}

}  // namespace ingot::cuda
