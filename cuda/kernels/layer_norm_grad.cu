// Gradient of layer normalisation of the rows of [rows, cells].
//
//   h = (x - mean) rstd,  d = dy gamma
//   dx = rstd (d - sum d / n - h sum d h / n)       the sums over a row of n cells
//   dgamma = sum dy h,  dbeta = sum dy              the sums over all rows
//
// Bytes that must move: dy and x once, dx once; dgamma and dbeta are small. Groups of threads (a warp for
// rows of up to 256 elements, else a block) go from row to row, hold the row in registers, and add up dgamma
// and dbeta of their columns on the way; a second launch joins what they found. Rows that do not fit in
// registers are read twice for dx and once for dgamma and dbeta. No atomics: the same bits each time.
//
// Occupancy: rows_grad_kernel from 12%: a row of dy and x and a thread's sums for its columns stay in
//   registers, so that both move once.
// Occupancy: columns_grad_kernel from 37%: sums for eight columns beside two rows of both operands in
//   flight; at 64 registers it spills.
#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/layer_norm.h"
#include "cuda/kernels/layer_norm_rows.h"

namespace ingot::cuda::layer_norm_kernels {

constexpr std::int64_t kEnough = 512;     // blocks that fill any GPU of today
constexpr std::int64_t kRowsOfGroup = 4;  // at least, so that its sums are few beside its rows
constexpr int kWarpCells = 8 * kWarpSize;

struct GradParams {
  const void *gamma, *mean, *rstd;
  ParamKind kind;
};

// ---- In registers ---------------------------------------------------------------------------------------

// Sums of dgamma and dbeta over a block's rows go to partial[0 | 1][block][cell].
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, int Chunks, int Group>
__global__ void __launch_bounds__(kThreads) rows_grad_kernel(const T* dy, const T* x, T* dx, long long rows,
                                                             int cells, GradParams p, float* partial) {
  constexpr int kGroups = kThreads / Group;
  const int thread = static_cast<int>(threadIdx.x) % Group, group = static_cast<int>(threadIdx.x) / Group;
  const bool wide = p.kind == ParamKind::F32;
  const float n = static_cast<float>(cells);
  float dgamma[Chunks][V] = {}, dbeta[Chunks][V] = {};
  for (long long row = static_cast<long long>(blockIdx.x) * kGroups + group; row < rows;
       row += static_cast<long long>(gridDim.x) * kGroups) {
    const long long start = row * cells;
    const float mean = read_param(p.mean, p.kind, row), rstd = read_param(p.rstd, p.kind, row);
    float d[Chunks][V], h[Chunks][V];
    SumPair sums{0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const int at = (i * Group + thread) * V;
      if (at < cells) {
        load_some<V>(dy + start + at, d[i]);
        load_some<V>(x + start + at, h[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const int at = (i * Group + thread) * V;
      if (at < cells) {
        float gamma[V];
        load_params<V, T>(p.gamma, wide, at, gamma);
#pragma unroll
        for (int k = 0; k < V; ++k) {
          h[i][k] = (h[i][k] - mean) * rstd;
          dgamma[i][k] += d[i][k] * h[i][k];
          dbeta[i][k] += d[i][k];
          d[i][k] *= gamma[k];
          sums = sums + SumPair{d[i][k], d[i][k] * h[i][k]};
        }
      }
    }
    sums = group_sum<Group>(sums);
    const float shift = sums.a / n, slope = sums.b / n;
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const int at = (i * Group + thread) * V;
      if (at < cells) {
#pragma unroll
        for (int k = 0; k < V; ++k) d[i][k] = rstd * (d[i][k] - shift - h[i][k] * slope);
        store_some<V>(dx + start + at, d[i]);
      }
    }
  }
  float* const to_gamma = partial + static_cast<long long>(blockIdx.x) * cells;
  float* const to_beta = to_gamma + static_cast<long long>(gridDim.x) * cells;
  if constexpr (Group == kThreads) {
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
      const int at = (i * Group + thread) * V;
      if (at < cells) {
        store_floats<V>(to_gamma + at, dgamma[i]);
        store_floats<V>(to_beta + at, dbeta[i]);
      }
    }
  } else {
    GPU_SHARED(both, float, [2][kGroups][kWarpCells]);
#pragma unroll
    for (int i = 0; i < Chunks; ++i) {
#pragma unroll
      for (int k = 0; k < V; ++k) {
        both[0][group][(i * Group + thread) * V + k] = dgamma[i][k];
        both[1][group][(i * Group + thread) * V + k] = dbeta[i][k];
      }
    }
    __syncthreads();
    const int cell = static_cast<int>(threadIdx.x);
    if (cell >= cells) return;  // no barrier follows
    float gamma = both[0][0][cell], beta = both[1][0][cell];
    for (int g = 1; g < kGroups; ++g) {
      gamma += both[0][g][cell];
      beta += both[1][g][cell];
    }
    to_gamma[cell] = gamma;
    to_beta[cell] = beta;
  }
}

// ---- Long rows ------------------------------------------------------------------------------------------

// dx, a block a row.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kLongThreads)
    long_rows_grad_kernel(const T* dy, const T* x, T* dx, int cells, GradParams p) {
  const long long row = blockIdx.x, start = row * cells;
  const bool wide = p.kind == ParamKind::F32;
  const float mean = read_param(p.mean, p.kind, row), rstd = read_param(p.rstd, p.kind, row);
  const float n = static_cast<float>(cells);
  const auto load = [&](int at, float(&d)[V], float(&h)[V]) {
    float gamma[V];
    load_some<V>(dy + start + at, d);
    load_some<V>(x + start + at, h);
    load_params<V, T>(p.gamma, wide, at, gamma);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      d[k] *= gamma[k];
      h[k] = (h[k] - mean) * rstd;
    }
  };
  SumPair sums{0.0f, 0.0f};
  for (int at = static_cast<int>(threadIdx.x) * V; at < cells; at += kLongThreads * V) {
    float d[V], h[V];
    load(at, d, h);
#pragma unroll
    for (int k = 0; k < V; ++k) sums = sums + SumPair{d[k], d[k] * h[k]};
  }
  sums = group_sum<kLongThreads>(sums);
  for (int at = static_cast<int>(threadIdx.x) * V; at < cells; at += kLongThreads * V) {
    float d[V], h[V];
    load(at, d, h);
#pragma unroll
    for (int k = 0; k < V; ++k) d[k] = rstd * (d[k] - sums.a / n - h[k] * (sums.b / n));
    store_some<V>(dx + start + at, d);
  }
}

// dgamma and dbeta: a thread has V cells, block (., part) a share of the rows. It runs before dx is written,
// which may lie over dy or x.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void columns_grad_kernel(const T* dy, const T* x, long long rows, long long share, int cells,
                                    GradParams p, float* partial) {
  constexpr int kAtOnce = 2;
  const long long at = (static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * V;
  if (at >= cells) return;
  const long long begin = blockIdx.y * share, end = begin + share < rows ? begin + share : rows;
  float dgamma[V] = {}, dbeta[V] = {};
  for (long long row = begin; row < end; row += kAtOnce) {
    float d[kAtOnce][V], h[kAtOnce][V];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      if (row + i < end) {
        load_some<V>(dy + (row + i) * cells + at, d[i]);
        load_some<V>(x + (row + i) * cells + at, h[i]);
      }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      if (row + i < end) {
        const float mean = read_param(p.mean, p.kind, row + i), rstd = read_param(p.rstd, p.kind, row + i);
#pragma unroll
        for (int k = 0; k < V; ++k) {
          dgamma[k] += d[i][k] * ((h[i][k] - mean) * rstd);
          dbeta[k] += d[i][k];
        }
      }
  }
  float* const to = partial + static_cast<long long>(blockIdx.y) * cells + at;
  store_floats<V>(to, dgamma);
  store_floats<V>(to + static_cast<long long>(gridDim.y) * cells, dbeta);
}

// ---- The end --------------------------------------------------------------------------------------------

// Bound by: latency: a cell has a few parts.
__global__ void finish_kernel(const float* partial, void* dgamma, void* dbeta, ParamKind kind, int parts,
                              int cells) {
  GPU_SHARED(slots, float, [kStrips][kStripColumns + 1]);
  const int strip = static_cast<int>(threadIdx.x) / kStripColumns;
  const long long cell =
      static_cast<long long>(blockIdx.x) * kStripColumns + static_cast<int>(threadIdx.x) % kStripColumns;
  const bool works = cell < cells;
  float gamma = 0.0f, beta = 0.0f;
  if (works) {
#pragma unroll 4
    for (int part = strip; part < parts; part += kStrips) {
      const long long at = static_cast<long long>(part) * cells + cell;
      gamma += partial[at];
      beta += partial[static_cast<long long>(parts) * cells + at];
    }
  }
  gamma = strip_sum(gamma, slots);
  beta = strip_sum(beta, slots);
  if (!works || strip != 0) return;
  write_param(dgamma, kind, cell, gamma);
  write_param(dbeta, kind, cell, beta);
}

// ---- Launches -------------------------------------------------------------------------------------------

enum class Way { Warp, Block, LargeBlock, Long };

Way way_of(std::int64_t cells, int vector) {
  if (cells <= kWarpCells) return Way::Warp;
  if (cells <= 8 * kThreads) return Way::Block;
  return cells <= 32 * kThreads && vector > 1 ? Way::LargeBlock : Way::Long;
}

std::int64_t column_blocks(std::int64_t cells, int vector) {
  return (cells + kThreads * vector - 1) / (kThreads * vector);
}

std::int64_t parts_of(const LayerNormShape& s, int vector) {
  const Way way = way_of(s.cells, vector);
  const std::int64_t groups = way == Way::Warp ? kWarps : 1;
  const std::int64_t most = std::max<std::int64_t>(s.rows / (kRowsOfGroup * groups), 1);
  if (way != Way::Long) return std::min(most, kEnough);
  const std::int64_t blocks = column_blocks(s.cells, vector);
  return std::min(most, (kEnough + blocks - 1) / blocks);
}

template <class T>
struct GradData {
  const T *dy, *x;
  T* dx;
};

template <class T, int V, int Chunks, int Group>
void launch_rows_grad(const GradData<T>& d, const LayerNormShape& s, const GradParams& p, float* partial,
                      const Stream& stream) {
  launch(rows_grad_kernel<T, V, Chunks, Group>, dim3(static_cast<unsigned>(parts_of(s, V))), dim3(kThreads),
         0, stream, d.dy, d.x, d.dx, static_cast<long long>(s.rows), static_cast<int>(s.cells), p, partial);
}

template <class T, int V>
void launch_grad(const GradData<T>& d, const LayerNormShape& s, const GradParams& p,
                 const LayerNormGradOperands& o, float* partial, const Stream& stream) {
  const std::int64_t parts = parts_of(s, V);
  const int cells = static_cast<int>(s.cells);
  switch (way_of(s.cells, V)) {
    case Way::Warp:
      launch_rows_grad<T, V, chunks_for<V>(8), kWarpSize>(d, s, p, partial, stream);
      break;
    case Way::Block:
      launch_rows_grad<T, V, chunks_for<V>(8), kThreads>(d, s, p, partial, stream);
      break;
    case Way::LargeBlock:
      if constexpr (V > 1) launch_rows_grad<T, V, chunks_for<V>(32), kThreads>(d, s, p, partial, stream);
      break;
    case Way::Long: {
      const long long rows = s.rows, share = (rows + parts - 1) / parts;
      launch(columns_grad_kernel<T, V>,
             dim3(static_cast<unsigned>(column_blocks(s.cells, V)), static_cast<unsigned>(parts)),
             dim3(kThreads), 0, stream, d.dy, d.x, rows, share, cells, p, partial);
      if (rows > 0)
        launch(long_rows_grad_kernel<T, V>, dim3(static_cast<unsigned>(rows)), dim3(kLongThreads), 0, stream,
               d.dy, d.x, d.dx, cells, p);
      break;
    }
  }
  launch(finish_kernel, dim3(blocks_for(static_cast<std::size_t>(s.cells), kStripColumns)), dim3(kThreads), 0,
         stream, partial, o.dgamma, o.dbeta, p.kind, static_cast<int>(parts), cells);
}

}  // namespace ingot::cuda::layer_norm_kernels

namespace ingot::cuda {

std::size_t layer_norm_grad_workspace(DType dtype, const LayerNormShape& s) {
  const int vector = static_cast<int>(16 / size_of(dtype));
  std::int64_t parts = layer_norm_kernels::parts_of(s, 1);
  if (s.cells % vector == 0) parts = std::max(parts, layer_norm_kernels::parts_of(s, vector));
  return 2 * sizeof(float) * static_cast<std::size_t>(parts * s.cells);
}

void layer_norm_grad(const LayerNormConfig& config, const LayerNormShape& s, const LayerNormGradOperands& o,
                     void* workspace, const Stream& stream) {
  namespace ln = layer_norm_kernels;
  constexpr const char* kName = "layer_norm_grad";
  ln::check_cells(kName, s);
  const ln::GradParams p{o.gamma, o.mean, o.rstd, param_kind(kName, config.params, config.dtype)};
  for_floating(kName, config.dtype, [&]<class T>(T*) {
    if (s.cells == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const ln::GradData<T> data{static_cast<const T*>(o.dy), static_cast<const T*>(o.x),
                               static_cast<T*>(o.dx)};
    auto* const partial = static_cast<float*>(workspace);
    if (s.cells % kVector == 0 && on_16_bytes({o.dy, o.x, o.gamma, o.dx}))
      ln::launch_grad<T, kVector>(data, s, p, o, partial, stream);
    else
      ln::launch_grad<T, 1>(data, s, p, o, partial, stream);
  });
}

}  // namespace ingot::cuda
