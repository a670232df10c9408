// Batch normalisation of channels-last images in training, and with given statistics.
//
//   mean = sum x / n,  var = sum (x - mean)^2 / n,  rstd = 1 / sqrt(var + eps)          per channel
//   y = act((x - mean) rstd gamma + beta + residual)
//   running += momentum (batch's - running), the variance unbiased
//
// Bytes that must move: x and the residual once, y once, while a channel's values fit in registers; else x
// twice, since no y is known before all of x.
// Where a convolution made the sums (batch_norm_statistics), only numbers per channel move.
//   up to 1024 pixels in the batch: a block has 32 bytes of channels and holds their pixels in registers
//   more: a launch for statistics per part of the pixels, one that joins the parts into a table of three
//   numbers per channel, one that applies it
// Statistics are moments relative to the channel's first value, or in registers two passes whose second
// corrects the first: a mean of 1000 beside a spread of 0.01 loses nothing. The order of all sums is fixed.
//
// Occupancy: held_kernel from 25%: a block's pixels stay in registers, so that x moves once.
// Occupancy: statistics_kernel from 25%: four rows of 16 bytes in flight in a thread beside three numbers
//   for each of its columns; at 64 registers it spills.
// Occupancy: apply_kernel from 25%: three numbers for each of eight columns and a clip's two bounds beside
//   two rows in flight; it takes 84 registers, and at the 80 that would let a third block in it spills.
// Occupancy: infer_kernel from 25%: the same.
// Occupancy: infer_two_kernel from 25%: the same of two batch norms.
#include "cuda/kernels/batch_norm.h"

#include "cuda/base/launch.h"
#include "cuda/kernels/batch_norm_columns.h"
#include "cuda/kernels/moments.h"

namespace ingot::cuda::batch_norm_kernels {

// What becomes of a channel's statistics besides y.
struct Statistics {
  const void *gamma, *beta, *running_mean, *running_var;
  void *save_mean, *save_rstd, *new_running_mean, *new_running_var;
  float eps, keep, momentum;  // running = keep * running + momentum * the batch's
  ParamKind kind;
};

// y = (x - high) * scale + shift.
struct Apply {
  float high, scale, shift;
};
__device__ inline float apply(Apply a, float x, float residual, Clip clip) {
  const float v = (x - a.high) * a.scale + a.shift + residual;
  return v < clip.least ? clip.least : v > clip.most ? clip.most : v;
}

// Stores what becomes of channel c's statistics; m2 is the sum of squared deviations of `count` values.
__device__ inline void store_channel(const Statistics& s, int c, float mean, float rstd, float m2,
                                     long long count) {
  const float old_mean = read_param(s.running_mean, s.kind, c);
  const float old_var = read_param(s.running_var, s.kind, c);
  const float unbiased = m2 / static_cast<float>(count > 1 ? count - 1 : 1);
  write_param(s.save_mean, s.kind, c, mean);
  write_param(s.save_rstd, s.kind, c, rstd);
  write_param(s.new_running_mean, s.kind, c, count > 0 ? s.keep * old_mean + s.momentum * mean : old_mean);
  write_param(s.new_running_var, s.kind, c, count > 0 ? s.keep * old_var + s.momentum * unbiased : old_var);
}

__device__ inline float rstd_of(const Statistics& s, float m2, long long count) {
  return 1.0f / sqrtf((count > 0 ? m2 / static_cast<float>(count) : 0.0f) + s.eps);
}

// How channel c is applied; `write` also stores its statistics.
__device__ inline Apply finish_channel(const Statistics& s, int c, SplitMean mean, float m2, long long count,
                                       bool write) {
  const float rstd = rstd_of(s, m2, count);
  const float scale = read_param(s.gamma, s.kind, c) * rstd;
  if (write) store_channel(s, c, mean.high, rstd, m2, count);
  return {mean.high, scale, read_param(s.beta, s.kind, c) - mean.low * scale};
}

// ---- In registers ---------------------------------------------------------------------------------------

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kHeldThreads<V>)
    held_kernel(const T* x, const T* residual, T* y, const std::int32_t* valid_rows, Columns g, Statistics s,
                Clip clip) {
  constexpr int kWide = kHeldWide<V>, kApart = kHeldStrips<V>, kEach = kHeldEach<V>;
  constexpr int kAtOnce = 4;
  GPU_SHARED(slots, float, [kHeldThreads<V> / kWarpSize][kWide * V]);
  const int strip = static_cast<int>(threadIdx.x) / kWide, channels = g.channels;
  const int channel = (static_cast<int>(blockIdx.x) * kWide + static_cast<int>(threadIdx.x) % kWide) * V;
  const bool works = channel < channels;
  const int rows = works ? static_cast<int>(g.elements / channels) : 0;
  const long long count = counted_elements(g, valid_rows) / channels;
  const int counted = works ? static_cast<int>(count) : 0;

  Held<T, V> v[kEach];
  float high[V] = {}, low[V] = {}, m2[V] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = strip + i * kApart;
    if (row < counted) {
      v[i] = load_held<T, V>(x + static_cast<long long>(row) * channels + channel);
#pragma unroll
      for (int k = 0; k < V; ++k) high[k] += widen(v[i].at[k]);
    }
  }
  held_sums<V>(high, slots);
  const float share = count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
#pragma unroll
  for (int k = 0; k < V; ++k) high[k] *= share;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (strip + i * kApart < counted) {
#pragma unroll
      for (int k = 0; k < V; ++k) {
        const float d = widen(v[i].at[k]) - high[k];
        low[k] += d;
        m2[k] += d * d;
      }
    }
  }
  held_sums<V>(low, slots);
  held_sums<V>(m2, slots);
  if (!works) return;  // no barrier follows
  Apply a[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const float mean = low[k] * share;
    const float squares = m2[k] - low[k] * mean;
    a[k] = finish_channel(s, channel + k, split_mean(high[k], mean), squares < 0.0f ? 0.0f : squares, count,
                          strip == 0);
  }
#pragma unroll
  for (int first = 0; first < kEach; first += kAtOnce) {
    float r[kAtOnce][V] = {};
    if (residual != nullptr) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int row = strip + (first + i) * kApart;
        if (row < counted) load_some<V>(residual + static_cast<long long>(row) * channels + channel, r[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = strip + (first + i) * kApart;
      if (row >= rows) continue;
#pragma unroll
      for (int k = 0; k < V; ++k)
        r[i][k] = row < counted ? apply(a[k], widen(v[first + i].at[k]), r[i][k], clip) : 0.0f;
      store_some<V>(y + static_cast<long long>(row) * channels + channel, r[i]);
    }
  }
}

// ---- In parts: statistics -------------------------------------------------------------------------------

// Means (relative to the first value of the channel) and squared deviations of block (., part)'s columns go
// to partial[0 | 1][part][column].
// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, int V>
__global__ void statistics_kernel(const T* x, const std::int32_t* valid_rows, float* partial, Columns g) {
  GPU_SHARED(means, float, [V][kThreads]);
  GPU_SHARED(squares, float, [V][kThreads]);
  const Place p = place_of<V>(g);
  const long long counted = counted_elements(g, valid_rows);
  const long long whole = counted / g.width, begin = blockIdx.y * g.share;
  const long long end = begin + g.share < whole ? begin + g.share : whole;
  const T* const from = x + p.column;
  float shift[V] = {}, mean[V] = {}, m2[V] = {};
  if (p.works) {
    if (counted > 0) {
#pragma unroll
      for (int k = 0; k < V; ++k) shift[k] = widen(x[(p.column + k) % g.channels]);
    }
    float n = 0.0f;
    long long row = begin + p.strip;
    for (; row + 3 * p.strips < end; row += 4 * p.strips) {
      float v[4][V];
#pragma unroll
      for (int i = 0; i < 4; ++i) load_some<V>(from + (row + i * p.strips) * g.width, v[i]);
      const float share = 4.0f / (n + 4.0f);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        float four_mean, four_m2;
        four_moments(v[0][k] - shift[k], v[1][k] - shift[k], v[2][k] - shift[k], v[3][k] - shift[k],
                     four_mean, four_m2);
        join_into(n, mean[k], m2[k], four_mean, four_m2, share);
      }
      n += 4.0f;
    }
    for (; row < end; row += p.strips) {
      float v[V];
      load_some<V>(from + row * g.width, v);
      const float share = 1.0f / (n + 1.0f);
#pragma unroll
      for (int k = 0; k < V; ++k) join_into(n, mean[k], m2[k], v[k] - shift[k], 0.0f, share);
      n += 1.0f;
    }
  }
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int k = 0; k < V; ++k) {
    means[k][thread] = mean[k];
    squares[k][thread] = m2[k];
  }
  __syncthreads();
  if (!p.works || p.strip != 0) return;
  // Strip s had the rows begin + s, begin + s + strips ...
  const long long rows = end > begin ? end - begin : 0;
  float n = static_cast<float>((rows + p.strips - 1) / p.strips);
  for (int s = 1; s < p.strips && s < rows; ++s) {
    const float more = static_cast<float>((rows - s + p.strips - 1) / p.strips);
    const float share = more / (n + more);
#pragma unroll
    for (int k = 0; k < V; ++k)
      join_into(n, mean[k], m2[k], means[k][thread + s * g.wide], squares[k][thread + s * g.wide], share);
    n += more;
  }
  if (blockIdx.y == gridDim.y - 1) {  // the row that is cut short
    const int left = before<V>(whole * g.width + p.column, counted);
#pragma unroll
    for (int k = 0; k < V; ++k)
      if (k < left)
        join_into(n, mean[k], m2[k], widen(from[whole * g.width + k]) - shift[k], 0.0f, 1.0f / (n + 1.0f));
  }
  float* const to = partial + static_cast<long long>(blockIdx.y) * g.width + p.column;
  store_floats<V>(to, mean);
  store_floats<V>(to + static_cast<long long>(g.parts) * g.width, m2);
}

// Joins the parts of 8 channels; table[0 | 1 | 2][channel] becomes high, scale, shift.
// Bound by: latency: a channel has a few parts.
template <class T>
__global__ void finish_statistics_kernel(const T* x, const std::int32_t* valid_rows, const float* partial,
                                         float* table, Columns g, Statistics s) {
  GPU_SHARED(slots, float, [kStrips][kStripColumns + 1]);
  const int strip = static_cast<int>(threadIdx.x) / kStripColumns;
  const int c = static_cast<int>(blockIdx.x) * kStripColumns + static_cast<int>(threadIdx.x) % kStripColumns;
  const bool works = c < g.channels;
  const long long counted = counted_elements(g, valid_rows), count = counted / g.channels;
  const long long whole = counted / g.width;
  // The parts as a matrix of parts * repeats rows, one column per channel.
  const int repeats = g.width / g.channels;
  const long long rows = works ? static_cast<long long>(g.parts) * repeats : 0;
  const float *const means = partial + c, *const squares = means + static_cast<long long>(g.parts) * g.width;
  const auto values = [&](long long row) {
    const long long part = row / repeats, column = row % repeats * g.channels + c;
    long long n = whole - part * g.share;
    n = n < 0 ? 0 : n > g.share ? g.share : n;
    if (part == g.parts - 1 && whole * g.width + column < counted) ++n;
    return static_cast<float>(n);
  };
  float own = 0.0f;
#pragma unroll 4
  for (long long row = strip; row < rows; row += kStrips) own += values(row) * means[row * g.channels];
  const float n = static_cast<float>(count > 0 ? count : 1);
  const float mean = strip_sum(own, slots) / n;
  own = 0.0f;
#pragma unroll 4
  for (long long row = strip; row < rows; row += kStrips) {
    const float d = means[row * g.channels] - mean;
    own += squares[row * g.channels] + values(row) * d * d;
  }
  const float m2 = strip_sum(own, slots);
  if (!works || strip != 0) return;
  const float first = counted > 0 ? widen(x[c]) : 0.0f;
  const Apply a = finish_channel(s, c, split_mean(first, mean), m2, count, true);
  table[c] = a.high;
  table[g.channels + c] = a.scale;
  table[2 * static_cast<long long>(g.channels) + c] = a.shift;
}

// ---- In parts: y ----------------------------------------------------------------------------------------

template <class T, int V>
__device__ inline void apply_rows(const T* x, const T* residual, T* y, long long counted, const Columns& g,
                                  const Place& p, const Apply (&a)[V], Clip clip) {
  constexpr int kAtOnce = 2;
  const long long begin = blockIdx.y * g.share, all = (g.elements + g.width - 1) / g.width;
  const long long end = begin + g.share < all ? begin + g.share : all;
  for (long long row = begin + p.strip; row < end; row += kAtOnce * p.strips) {
    float v[kAtOnce][V], r[kAtOnce][V] = {};
    int here[kAtOnce], counts[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const long long at = (row + i * p.strips) * g.width + p.column;
      here[i] = row + i * p.strips < end ? before<V>(at, g.elements) : 0;
      counts[i] = row + i * p.strips < end ? before<V>(at, counted) : 0;
      if (counts[i] > 0) {
        load_first<V>(x + at, counts[i], v[i]);
        if (residual != nullptr) load_first<V>(residual + at, counts[i], r[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (here[i] == 0) continue;
#pragma unroll
      for (int k = 0; k < V; ++k) v[i][k] = k < counts[i] ? apply(a[k], v[i][k], r[i][k], clip) : 0.0f;
      store_first<V>(y + (row + i * p.strips) * g.width + p.column, here[i], v[i]);
    }
  }
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void apply_kernel(const T* x, const T* residual, T* y, const std::int32_t* valid_rows,
                             const float* table, Columns g, Clip clip) {
  const Place p = place_of<V>(g);
  if (!p.works) return;
  Apply a[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const long long c = (p.column + k) % g.channels;
    a[k] = {table[c], table[g.channels + c], table[2 * static_cast<long long>(g.channels) + c]};
  }
  apply_rows<T, V>(x, residual, y, counted_elements(g, valid_rows), g, p, a, clip);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void infer_kernel(const T* x, const T* residual, T* y, const void* gamma, const void* beta,
                             const void* mean, const void* var, const void* rstd,
                             const std::int32_t* valid_rows, ParamKind kind, float eps, Clip clip,
                             Columns g) {
  const Place p = place_of<V>(g);
  if (!p.works) return;
  Apply a[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int c = (p.column + k) % g.channels;
    const float scale = read_param(gamma, kind, c);
    a[k] = {
        read_param(mean, kind, c),
        rstd != nullptr ? scale * read_param(rstd, kind, c) : scale / sqrtf(read_param(var, kind, c) + eps),
        read_param(beta, kind, c)};
  }
  apply_rows<T, V>(x, residual, y, counted_elements(g, valid_rows), g, p, a, clip);
}

// What is given of a batch norm.
struct Given {
  const void *gamma, *beta, *mean, *rstd;
  ParamKind kind;
};
__device__ inline Apply apply_of(const Given& s, int c) {
  return {read_param(s.mean, s.kind, c), read_param(s.gamma, s.kind, c) * read_param(s.rstd, s.kind, c),
          read_param(s.beta, s.kind, c)};
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void infer_two_kernel(const T* x, const T* x2, T* y, Given first, Given second,
                                 const std::int32_t* valid_rows, Clip clip, Columns g) {
  const Place p = place_of<V>(g);
  if (!p.works) return;
  Apply a[V], b[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int c = (p.column + k) % g.channels;
    a[k] = apply_of(first, c);
    b[k] = apply_of(second, c);
  }
  const long long counted = counted_elements(g, valid_rows);
  const long long begin = blockIdx.y * g.share, all = (g.elements + g.width - 1) / g.width;
  const long long end = begin + g.share < all ? begin + g.share : all;
  for (long long row = begin + p.strip; row < end; row += p.strips) {
    const long long at = row * g.width + p.column;
    const int here = before<V>(at, g.elements), count = before<V>(at, counted);
    if (here == 0) continue;
    float v[V] = {}, w[V] = {};
    if (count > 0) {
      load_first<V>(x + at, count, v);
      load_first<V>(x2 + at, count, w);
    }
#pragma unroll
    for (int k = 0; k < V; ++k)
      v[k] = k < count ? apply(a[k], v[k], apply(b[k], w[k], 0.0f, {}), clip) : 0.0f;
    store_first<V>(y + at, here, v);
  }
}

// From a convolution's sums. The mean's part of the squares is taken off in f64: what is left of them may be
// small beside it.
// Bound by: latency: a thread has a channel.
__global__ void sums_statistics_kernel(const float* sum, const float* squares, const std::int32_t* valid_rows,
                                       Columns g, Statistics s) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= g.channels) return;
  const long long count = counted_elements(g, valid_rows) / g.channels;
  const double all = static_cast<double>(sum[c]);
  const double mean = count > 0 ? all / static_cast<double>(count) : 0.0;
  const float m2 = static_cast<float>(static_cast<double>(squares[c]) - all * mean);
  const float spread = m2 < 0.0f ? 0.0f : m2;
  store_channel(s, c, static_cast<float>(mean), rstd_of(s, spread, count), spread, count);
}

// ---- Launches -------------------------------------------------------------------------------------------

template <class T, int V>
void launch_held(const BatchNormShape& s, const BatchNormOperands& o, const Statistics& statistics, Clip clip,
                 const Stream& stream) {
  const auto blocks = blocks_for(static_cast<std::size_t>(s.channels), kHeldWide<V> * V);
  launch(held_kernel<T, V>, dim3(blocks), dim3(kHeldThreads<V>), 0, stream, static_cast<const T*>(o.x),
         static_cast<const T*>(o.residual), static_cast<T*>(o.y), o.valid_rows, columns_of(s, 1), statistics,
         clip);
}

template <class T, int V>
void launch_parts(const BatchNormShape& s, const BatchNormOperands& o, const Statistics& statistics,
                  Clip clip, void* workspace, const Stream& stream) {
  const Columns g = columns_of(s, V), wide = spread(g, V);
  const auto* const x = static_cast<const T*>(o.x);
  auto* const partial = static_cast<float*>(workspace);
  float* const table = partial + 2 * static_cast<std::int64_t>(g.parts) * g.width;
  launch(statistics_kernel<T, V>, grid_of(g, V), dim3(kThreads), 0, stream, x, o.valid_rows, partial, g);
  launch(finish_statistics_kernel<T>, dim3(blocks_for(static_cast<std::size_t>(s.channels), kStripColumns)),
         dim3(kThreads), 0, stream, x, o.valid_rows, partial, table, g, statistics);
  launch(apply_kernel<T, V>, grid_of(wide, V), dim3(kThreads), 0, stream, x,
         static_cast<const T*>(o.residual), static_cast<T*>(o.y), o.valid_rows, table, wide, clip);
}

template <class T>
void launch_typed(const BatchNormShape& s, const BatchNormOperands& o, const Statistics& statistics,
                  Clip clip, void* workspace, const Stream& stream) {
  constexpr int kVector = Vec16<T>::kSize;
  const bool aligned = on_16_bytes({o.x, o.residual, o.y});
  if (held(s)) {
    if (aligned && s.channels % kVector == 0)
      launch_held<T, kVector>(s, o, statistics, clip, stream);
    else
      launch_held<T, 1>(s, o, statistics, clip, stream);
  } else if (aligned && whole_vectors(s, kVector) != 0) {
    launch_parts<T, kVector>(s, o, statistics, clip, workspace, stream);
  } else {
    launch_parts<T, 1>(s, o, statistics, clip, workspace, stream);
  }
}

template <class T, int V>
void launch_infer(const BatchNormConfig& config, const BatchNormShape& s, const BatchNormInferOperands& o,
                  ParamKind kind, const Stream& stream) {
  const Columns g = spread(columns_of(s, V), V);
  launch(infer_kernel<T, V>, grid_of(g, V), dim3(kThreads), 0, stream, static_cast<const T*>(o.x),
         static_cast<const T*>(o.residual), static_cast<T*>(o.y), o.gamma, o.beta, o.mean, o.var, o.rstd,
         o.valid_rows, kind, static_cast<float>(config.eps), config.clip, g);
}

}  // namespace ingot::cuda::batch_norm_kernels

namespace ingot::cuda {

namespace bn = batch_norm_kernels;

std::size_t batch_norm_workspace(DType dtype, const BatchNormShape& s, bool two_gradients) {
  return bn::held(s, size_of(dtype), two_gradients) ? 0 : batch_norm_sums_workspace(dtype, s);
}

std::size_t batch_norm_sums_workspace(DType dtype, const BatchNormShape& s) {
  if (s.channels == 0) return 0;
  const int vector = static_cast<int>(16 / size_of(dtype));
  std::size_t floats = bn::workspace_floats(bn::columns_of(s, 1));
  if (bn::whole_vectors(s, vector) != 0)
    floats = std::max(floats, bn::workspace_floats(bn::columns_of(s, vector)));
  return floats * sizeof(float);
}

static bn::Statistics statistics_of(const char* kernel, const BatchNormConfig& config,
                                    const BatchNormOperands& o) {
  return {o.gamma,
          o.beta,
          o.running_mean,
          o.running_var,
          o.save_mean,
          o.save_rstd,
          o.new_running_mean,
          o.new_running_var,
          static_cast<float>(config.eps),
          static_cast<float>(1.0 - config.momentum),
          static_cast<float>(config.momentum),
          param_kind(kernel, config.params, config.dtype)};
}

void batch_norm(const BatchNormConfig& config, const BatchNormShape& s, const BatchNormOperands& o,
                void* workspace, const Stream& stream) {
  constexpr const char* kName = "batch_norm";
  bn::check_shape(kName, s);
  const bn::Statistics statistics = statistics_of(kName, config, o);
  for_floating(kName, config.dtype, [&]<class T>(T*) {
    if (s.channels == 0) return;
    bn::launch_typed<T>(s, o, statistics, config.clip, workspace, stream);
  });
}

void batch_norm_statistics(const BatchNormConfig& config, const BatchNormShape& s, const void* sum,
                           const void* squares, const BatchNormOperands& o, const Stream& stream) {
  if (s.channels == 0) return;
  bn::check_shape("batch_norm_statistics", s);
  const bn::Statistics statistics = statistics_of("batch_norm_statistics", config, o);
  launch(bn::sums_statistics_kernel, dim3(blocks_for(static_cast<std::size_t>(s.channels), bn::kThreads)),
         dim3(bn::kThreads), 0, stream, static_cast<const float*>(sum), static_cast<const float*>(squares),
         o.valid_rows, bn::columns_of(s, 1), statistics);
}

void batch_norm_infer_two(const BatchNormConfig& config, const BatchNormShape& s,
                          const BatchNormInferOperands& first, const BatchNormInferOperands& second,
                          const Stream& stream) {
  constexpr const char* kName = "batch_norm_infer_two";
  bn::check_shape(kName, s);
  const gpu::ParamKind kind = param_kind(kName, config.params, config.dtype);
  const auto given = [&](const BatchNormInferOperands& o) {
    return bn::Given{o.gamma, o.beta, o.mean, o.rstd, kind};
  };
  for_floating(kName, config.dtype, [&]<class T>(T*) {
    if (s.rows * s.pixels * s.channels == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto with = [&]<int V>() {
      const bn::Columns g = bn::spread(bn::columns_of(s, V), V);
      launch(bn::infer_two_kernel<T, V>, bn::grid_of(g, V), dim3(bn::kThreads), 0, stream,
             static_cast<const T*>(first.x), static_cast<const T*>(second.x), static_cast<T*>(first.y),
             given(first), given(second), first.valid_rows, config.clip, g);
    };
    if (on_16_bytes({first.x, second.x, first.y}) && bn::whole_vectors(s, kVector) != 0)
      with.template operator()<kVector>();
    else
      with.template operator()<1>();
  });
}

void batch_norm_infer(const BatchNormConfig& config, const BatchNormShape& s, const BatchNormInferOperands& o,
                      const Stream& stream) {
  constexpr const char* kName = "batch_norm_infer";
  bn::check_shape(kName, s);
  const gpu::ParamKind kind = param_kind(kName, config.params, config.dtype);
  for_floating(kName, config.dtype, [&]<class T>(T*) {
    if (s.rows * s.pixels * s.channels == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    if (on_16_bytes({o.x, o.residual, o.y}) && bn::whole_vectors(s, kVector) != 0)
      bn::launch_infer<T, kVector>(config, s, o, kind, stream);
    else
      bn::launch_infer<T, 1>(config, s, o, kind, stream);
  });
}

}  // namespace ingot::cuda
