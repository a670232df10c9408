// Gradient of batch normalisation of channels-last images.
//
//   u = dy + dy2, or 0 where y <= 0 or y >= most (clipped);   h = (x - mean) rstd,  y as given or gamma h +
//   beta dbeta = sum u,  dgamma = sum u h                                          per channel, over n values
//   dx = gamma rstd (u - dbeta / n - h dgamma / n),  dresidual = u
//
// Bytes that must move: dy, dy2, x and y (clipped) once, dx and dresidual once, while a channel's values fit
// in registers, or where sums and dx are made by launches of their own (batch_norm_grad_sums, _apply). Else
// what is read is read twice, but where dresidual is asked for: it is stored with the sums, and then only it
// and x are read again. The shapes of problem are those of batch_norm.cu. Sums run in a fixed order: the same
// bits each time.
//
// Occupancy: held_grad_kernel from 12%: a block's pixels of dy, x and y stay in registers, so that each
//   moves once.
// Occupancy: sums_kernel, grad_apply_kernel from 25%: numbers for each of eight columns beside rows of
//   three operands in flight; at 64 registers they spill.
// Occupancy: grad_apply_two_kernel from 25%: the same of two batch norms.
#include <cmath>

#include "cuda/base/launch.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/batch_norm_columns.h"

namespace ingot::cuda::batch_norm_kernels {

struct GradParams {
  const void *gamma, *mean, *rstd, *beta;
  void *dgamma, *dbeta;
  ParamKind kind;
};

// dx = own * u + slope * (x - mean) + shift.
struct GradApply {
  float own, slope, shift, mean;
};
__device__ inline float apply(GradApply a, float u, float x) {
  return a.own * u + (a.slope * (x - a.mean) + a.shift);
}

// Whether the gradient stops at a result y; `last` is the greatest float at which it does not.
__device__ inline bool flat_at(float y, float last) {
  return y <= 0.0f || y > last;
}

// A channel's result before it was clipped, as the forward kernel computed it.
struct Flat {
  float mean, scale, beta;
};
__device__ inline bool flat(Flat f, float x, float last) {
  return flat_at((x - f.mean) * f.scale + f.beta, last);
}

// What is needed of channel c to mask from x; only the mean where nothing is masked so.
__device__ inline Flat flat_of(const GradParams& s, int c) {
  Flat f{s.mean != nullptr ? read_param(s.mean, s.kind, c) : 0.0f, 0.0f, 0.0f};
  if (s.beta != nullptr) {
    f.scale = read_param(s.gamma, s.kind, c) * read_param(s.rstd, s.kind, c);
    f.beta = read_param(s.beta, s.kind, c);
  }
  return f;
}

// How channel c is applied, from its gradients.
__device__ inline GradApply apply_of(const GradParams& s, int c, float rstd, float dgamma, float dbeta,
                                     long long count) {
  const float own = read_param(s.gamma, s.kind, c) * rstd;
  const float share = own / static_cast<float>(count > 0 ? count : 1);
  return {own, -share * rstd * dgamma, -share * dbeta, read_param(s.mean, s.kind, c)};
}

// The same from the sums of u and of u (x - mean); `write` also stores dgamma and dbeta.
__device__ inline GradApply finish_grad(const GradParams& s, int c, float sum_u, float sum_ux,
                                        long long count, bool write) {
  const float rstd = read_param(s.rstd, s.kind, c), dgamma = sum_ux * rstd;
  if (write) {
    write_param(s.dgamma, s.kind, c, dgamma);
    write_param(s.dbeta, s.kind, c, sum_u);
  }
  return apply_of(s, c, rstd, dgamma, sum_u, count);
}

// What is read; y and dy2 may be null. `masked`: by y, or where that is null by Flat.
template <class T>
struct GradSources {
  const T *dy, *dy2, *x, *y;
  bool masked;
  float last;  // see flat_at
};

// ---- In registers ---------------------------------------------------------------------------------------

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kHeldThreads<V>)
    held_grad_kernel(GradSources<T> from, T* dx, T* dresidual, const std::int32_t* valid_rows, Columns g,
                     GradParams s) {
  constexpr int kWide = kHeldWide<V>, kApart = kHeldStrips<V>, kEach = kHeldEach<V>;
  GPU_SHARED(slots, float, [kHeldThreads<V> / kWarpSize][kWide * V]);
  const int strip = static_cast<int>(threadIdx.x) / kWide, channels = g.channels;
  const int channel = (static_cast<int>(blockIdx.x) * kWide + static_cast<int>(threadIdx.x) % kWide) * V;
  const bool works = channel < channels;
  const int rows = works ? static_cast<int>(g.elements / channels) : 0;
  const long long count = counted_elements(g, valid_rows) / channels;
  const int counted = works ? static_cast<int>(count) : 0;

  Held<T, V> u[kEach], v[kEach];
  float sum_u[V] = {}, sum_ux[V] = {};
  Flat f[V] = {};
#pragma unroll
  for (int k = 0; k < V; ++k)
    if (works) f[k] = flat_of(s, channel + k);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = strip + i * kApart;
    if (row < counted) {
      const long long at = static_cast<long long>(row) * channels + channel;
      u[i] = load_held<T, V>(from.dy + at);
      v[i] = load_held<T, V>(from.x + at);
      float up[V];
#pragma unroll
      for (int k = 0; k < V; ++k) up[k] = widen(u[i].at[k]);
      if (from.dy2 != nullptr) {
        const Held<T, V> more = load_held<T, V>(from.dy2 + at);
#pragma unroll
        for (int k = 0; k < V; ++k) up[k] += widen(more.at[k]);
      }
      if (from.y != nullptr) {
        const Held<T, V> out = load_held<T, V>(from.y + at);
#pragma unroll
        for (int k = 0; k < V; ++k) up[k] = flat_at(widen(out.at[k]), from.last) ? 0.0f : up[k];
      } else if (from.masked) {
#pragma unroll
        for (int k = 0; k < V; ++k) up[k] = flat(f[k], widen(v[i].at[k]), from.last) ? 0.0f : up[k];
      }
#pragma unroll
      for (int k = 0; k < V; ++k) {
        u[i].at[k] = narrow<T>(up[k]);
        sum_u[k] += up[k];
        sum_ux[k] += up[k] * (widen(v[i].at[k]) - f[k].mean);
      }
    }
  }
  held_sums<V>(sum_u, slots);
  held_sums<V>(sum_ux, slots);
  if (!works) return;  // no barrier follows
    // Channel by channel, so that one channel's numbers are in registers at a time; v becomes dx.
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const GradApply a = finish_grad(s, channel + k, sum_u[k], sum_ux[k], count, strip == 0);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const bool counts = strip + i * kApart < counted;
      v[i].at[k] = narrow<T>(counts ? apply(a, widen(u[i].at[k]), widen(v[i].at[k])) : 0.0f);
      if (!counts) u[i].at[k] = narrow<T>(0.0f);
    }
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = strip + i * kApart;
    if (row >= rows) continue;
    const long long at = static_cast<long long>(row) * channels + channel;
    store_held<T, V>(dx + at, v[i]);
    if (dresidual != nullptr) store_held<T, V>(dresidual + at, u[i]);
  }
}

// ---- In parts: sums -------------------------------------------------------------------------------------

// u and x of V elements, of which the first `count` exist; the others of u are 0.
template <class T, int V>
__device__ inline void load_pair(const GradSources<T>& from, const Flat (&f)[V], long long at, int count,
                                 float (&u)[V], float (&v)[V]) {
  load_first<V>(from.dy + at, count, u);
  load_first<V>(from.x + at, count, v);
  if (from.dy2 != nullptr) {
    float more[V];
    load_first<V>(from.dy2 + at, count, more);
#pragma unroll
    for (int k = 0; k < V; ++k) u[k] += more[k];
  }
  if (from.y != nullptr) {
    float out[V];
    load_first<V>(from.y + at, count, out);
#pragma unroll
    for (int k = 0; k < V; ++k) u[k] = flat_at(out[k], from.last) ? 0.0f : u[k];
  } else if (from.masked) {
#pragma unroll
    for (int k = 0; k < V; ++k) u[k] = flat(f[k], v[k], from.last) ? 0.0f : u[k];
  }
}

// Sums of u and u (x - mean) over block (., part)'s columns go to partial[0 | 1][part][column], and u to
// dresidual.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void sums_kernel(GradSources<T> from, T* dresidual, GradParams params,
                            const std::int32_t* valid_rows, float* partial, Columns g) {
  constexpr int kAtOnce = 2;
  GPU_SHARED(strips_u, float, [V][kThreads]);
  GPU_SHARED(strips_ux, float, [V][kThreads]);
  const Place p = place_of<V>(g);
  const long long counted = counted_elements(g, valid_rows),
                  upto = dresidual != nullptr ? g.elements : counted;
  const long long begin = blockIdx.y * g.share, all = (upto + g.width - 1) / g.width;
  const long long end = begin + g.share < all ? begin + g.share : all;
  float sum_u[V] = {}, sum_ux[V] = {};
  if (p.works) {
    Flat f[V];
#pragma unroll
    for (int k = 0; k < V; ++k) f[k] = flat_of(params, (p.column + k) % g.channels);
    for (long long row = begin + p.strip; row < end; row += kAtOnce * p.strips) {
      float u[kAtOnce][V] = {}, v[kAtOnce][V] = {};
      int count[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const long long at = (row + i * p.strips) * g.width + p.column;
        count[i] = row + i * p.strips < end ? before<V>(at, counted) : 0;
        if (count[i] > 0) load_pair<T, V>(from, f, at, count[i], u[i], v[i]);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (dresidual != nullptr && row + i * p.strips < end) {
          const long long at = (row + i * p.strips) * g.width + p.column;
          store_first<V>(dresidual + at, before<V>(at, g.elements), u[i]);
        }
#pragma unroll
        for (int k = 0; k < V; ++k) {
          if (k >= count[i]) continue;
          sum_u[k] += u[i][k];
          sum_ux[k] += u[i][k] * (v[i][k] - f[k].mean);
        }
      }
    }
  }
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int k = 0; k < V; ++k) {
    strips_u[k][thread] = sum_u[k];
    strips_ux[k][thread] = sum_ux[k];
  }
  __syncthreads();
  if (!p.works || p.strip != 0) return;
  for (int s = 1; s < p.strips; ++s) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      sum_u[k] += strips_u[k][thread + s * g.wide];
      sum_ux[k] += strips_ux[k][thread + s * g.wide];
    }
  }
  float* const to = partial + static_cast<long long>(blockIdx.y) * g.width + p.column;
  store_floats<V>(to, sum_u);
  store_floats<V>(to + static_cast<long long>(g.parts) * g.width, sum_ux);
}

// Adds up the parts of 8 channels; table[0 .. 3][channel], if there is one, becomes the fields of
// GradApply.
// Bound by: latency: a channel has a few parts.
__global__ void finish_sums_kernel(const std::int32_t* valid_rows, const float* partial, float* table,
                                   Columns g, GradParams s) {
  GPU_SHARED(slots, float, [kStrips][kStripColumns + 1]);
  const int strip = static_cast<int>(threadIdx.x) / kStripColumns;
  const int c = static_cast<int>(blockIdx.x) * kStripColumns + static_cast<int>(threadIdx.x) % kStripColumns;
  const bool works = c < g.channels;
  const long long size = static_cast<long long>(g.parts) * g.width;
  float u = 0.0f, ux = 0.0f;
  if (works) {
#pragma unroll 4
    for (long long at = static_cast<long long>(strip) * g.channels + c; at < size;
         at += static_cast<long long>(kStrips) * g.channels) {
      u += partial[at];
      ux += partial[size + at];
    }
  }
  u = strip_sum(u, slots);
  ux = strip_sum(ux, slots);
  if (!works || strip != 0) return;
  if (table == nullptr) {  // the sums are all that is wanted
    write_param(s.dgamma, s.kind, c, s.rstd != nullptr ? ux * read_param(s.rstd, s.kind, c) : ux);
    write_param(s.dbeta, s.kind, c, u);
    return;
  }
  const GradApply a = finish_grad(s, c, u, ux, counted_elements(g, valid_rows) / g.channels, true);
  const long long channels = g.channels;
  table[c] = a.own;
  table[channels + c] = a.slope;
  table[2 * channels + c] = a.shift;
  table[3 * channels + c] = a.mean;
}

// ---- In parts: dx ---------------------------------------------------------------------------------------

// Without a table, from dgamma and dbeta, which are known then.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void grad_apply_kernel(GradSources<T> from, T* dx, GradParams s, const std::int32_t* valid_rows,
                                  const float* table, Columns g) {
  constexpr int kAtOnce = 2;
  const Place p = place_of<V>(g);
  if (!p.works) return;
  GradApply a[V];
  Flat f[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const long long channels = g.channels, c = (p.column + k) % g.channels;
    if (table != nullptr) {
      a[k] = {table[c], table[channels + c], table[2 * channels + c], table[3 * channels + c]};
    } else {
      const int i = static_cast<int>(c);
      a[k] = apply_of(s, i, read_param(s.rstd, s.kind, i), read_param(s.dgamma, s.kind, i),
                      read_param(s.dbeta, s.kind, i), counted_elements(g, valid_rows) / g.channels);
    }
    f[k] = {a[k].mean, a[k].own, from.masked ? read_param(s.beta, s.kind, static_cast<int>(c)) : 0.0f};
  }
  const long long counted = counted_elements(g, valid_rows);
  const long long begin = blockIdx.y * g.share, all = (g.elements + g.width - 1) / g.width;
  const long long end = begin + g.share < all ? begin + g.share : all;
  for (long long row = begin + p.strip; row < end; row += kAtOnce * p.strips) {
    float u[kAtOnce][V] = {}, v[kAtOnce][V] = {};
    int here[kAtOnce], counts[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const long long at = (row + i * p.strips) * g.width + p.column;
      here[i] = row + i * p.strips < end ? before<V>(at, g.elements) : 0;
      counts[i] = row + i * p.strips < end ? before<V>(at, counted) : 0;
      if (counts[i] > 0) load_pair<T, V>(from, f, at, counts[i], u[i], v[i]);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (here[i] == 0) continue;
      const long long at = (row + i * p.strips) * g.width + p.column;
#pragma unroll
      for (int k = 0; k < V; ++k) v[i][k] = k < counts[i] ? apply(a[k], u[i][k], v[i][k]) : 0.0f;
      store_first<V>(dx + at, here[i], v[i]);
    }
  }
}

// Both dx of two batch norms whose results were added: u is read once.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void grad_apply_two_kernel(const T* u, const T* x, const T* x2, T* dx, T* dx2, GradParams first,
                                      GradParams second, const std::int32_t* valid_rows, Columns g) {
  const Place p = place_of<V>(g);
  if (!p.works) return;
  const long long counted = counted_elements(g, valid_rows), count = counted / g.channels;
  const auto apply_to = [&](const GradParams& s, int c) {
    return apply_of(s, c, read_param(s.rstd, s.kind, c), read_param(s.dgamma, s.kind, c),
                    read_param(s.dbeta, s.kind, c), count);
  };
  GradApply a[V], b[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int c = (p.column + k) % g.channels;
    a[k] = apply_to(first, c);
    b[k] = apply_to(second, c);
  }
  const long long begin = blockIdx.y * g.share, all = (g.elements + g.width - 1) / g.width;
  const long long end = begin + g.share < all ? begin + g.share : all;
  for (long long row = begin + p.strip; row < end; row += p.strips) {
    const long long at = row * g.width + p.column;
    const int here = before<V>(at, g.elements), exist = before<V>(at, counted);
    if (here == 0) continue;
    float v[V] = {}, w[V] = {}, d[V] = {};
    if (exist > 0) {
      load_first<V>(u + at, exist, d);
      load_first<V>(x + at, exist, v);
      load_first<V>(x2 + at, exist, w);
    }
#pragma unroll
    for (int k = 0; k < V; ++k) {
      v[k] = k < exist ? apply(a[k], d[k], v[k]) : 0.0f;
      w[k] = k < exist ? apply(b[k], d[k], w[k]) : 0.0f;
    }
    store_first<V>(dx + at, here, v);
    store_first<V>(dx2 + at, here, w);
  }
}

// ---- Launches -------------------------------------------------------------------------------------------

template <class T>
struct GradImages {
  GradSources<T> from;
  T *dx, *dresidual;
};

template <class T, int V>
void launch_held_grad(const BatchNormShape& s, const GradImages<T>& o, const std::int32_t* valid_rows,
                      const GradParams& params, const Stream& stream) {
  launch(held_grad_kernel<T, V>, dim3(blocks_for(static_cast<std::size_t>(s.channels), kHeldWide<V> * V)),
         dim3(kHeldThreads<V>), 0, stream, o.from, o.dx, o.dresidual, valid_rows, columns_of(s, 1), params);
}

template <class T, int V>
void launch_sums(const BatchNormShape& s, const GradImages<T>& o, const std::int32_t* valid_rows,
                 const GradParams& params, float* partial, float* table, const Stream& stream) {
  const Columns g = columns_of(s, V);
  launch(sums_kernel<T, V>, grid_of(g, V), dim3(kThreads), 0, stream, o.from, o.dresidual, params, valid_rows,
         partial, g);
  launch(finish_sums_kernel, dim3(blocks_for(static_cast<std::size_t>(s.channels), kStripColumns)),
         dim3(kThreads), 0, stream, valid_rows, static_cast<const float*>(partial), table, g, params);
}

template <class T, int V>
void launch_grad_apply(const BatchNormShape& s, const GradSources<T>& from, T* dx,
                       const std::int32_t* valid_rows, const GradParams& params, const float* table,
                       const Stream& stream) {
  const Columns wide = spread(columns_of(s, V), V);
  launch(grad_apply_kernel<T, V>, grid_of(wide, V), dim3(kThreads), 0, stream, from, dx, params, valid_rows,
         table, wide);
}

template <class T, int V>
void launch_grad_parts(const BatchNormShape& s, const GradImages<T>& o, const std::int32_t* valid_rows,
                       const GradParams& params, void* workspace, const Stream& stream) {
  const Columns g = columns_of(s, V);
  auto* const partial = static_cast<float*>(workspace);
  float* const table = partial + 2 * static_cast<std::int64_t>(g.parts) * g.width;
  launch_sums<T, V>(s, o, valid_rows, params, partial, table, stream);
  GradSources<T> again = o.from;
  if (o.dresidual != nullptr) again = {o.dresidual, nullptr, o.from.x, nullptr, false, 0.0f};
  launch_grad_apply<T, V>(s, again, o.dx, valid_rows, params, table, stream);
}

}  // namespace ingot::cuda::batch_norm_kernels

namespace ingot::cuda {

namespace bn = batch_norm_kernels;

namespace {

// f<T, V>(images, parameters): V a vector where channels and alignment allow it, else 1.
template <class F>
void with_images(const char* what, const BatchNormConfig& config, const BatchNormShape& s,
                 const BatchNormGradOperands& o, F&& f) {
  bn::check_shape(what, s);
  const bn::GradParams params{o.gamma,
                              o.save_mean,
                              o.save_rstd,
                              config.clip.masks() && o.y == nullptr ? o.beta : nullptr,
                              o.dgamma,
                              o.dbeta,
                              param_kind(what, config.params, config.dtype)};
  const float most = config.clip.most, last = most < Clip::kNone ? std::nextafter(most, 0.0f) : most;
  for_floating(what, config.dtype, [&]<class T>(T*) {
    if (s.channels == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto* const y = config.clip.masks() ? static_cast<const T*>(o.y) : nullptr;
    const bn::GradImages<T> images{{static_cast<const T*>(o.dy), static_cast<const T*>(o.dy2),
                                    static_cast<const T*>(o.x), y, params.beta != nullptr, last},
                                   static_cast<T*>(o.dx),
                                   static_cast<T*>(o.dresidual)};
    if (on_16_bytes({o.dy, o.dy2, o.x, y, o.dx, o.dresidual}) && bn::whole_vectors(s, kVector) != 0)
      f.template operator()<T, kVector>(images, params);
    else
      f.template operator()<T, 1>(images, params);
  });
}

}  // namespace

void batch_norm_grad(const BatchNormConfig& config, const BatchNormShape& s, const BatchNormGradOperands& o,
                     void* workspace, const Stream& stream) {
  with_images("batch_norm_grad", config, s, o,
              [&]<class T, int V>(const bn::GradImages<T>& images, const bn::GradParams& params) {
                constexpr int kVector = gpu::Vec16<T>::kSize;
                if (!bn::held(s, sizeof(T), o.dy2 != nullptr))
                  bn::launch_grad_parts<T, V>(s, images, o.valid_rows, params, workspace, stream);
                else if (V == kVector && s.channels % kVector == 0)
                  bn::launch_held_grad<T, kVector>(s, images, o.valid_rows, params, stream);
                else
                  bn::launch_held_grad<T, 1>(s, images, o.valid_rows, params, stream);
              });
}

void batch_norm_grad_sums(const BatchNormConfig& config, const BatchNormShape& s,
                          const BatchNormGradOperands& o, void* workspace, const Stream& stream) {
  with_images("batch_norm_grad_sums", config, s, o,
              [&]<class T, int V>(const bn::GradImages<T>& images, const bn::GradParams& params) {
                bn::launch_sums<T, V>(s, images, o.valid_rows, params, static_cast<float*>(workspace),
                                      nullptr, stream);
              });
}

void batch_norm_grad_apply_two(const BatchNormConfig& config, const BatchNormShape& s,
                               const BatchNormGradOperands& first, const BatchNormGradOperands& o,
                               const Stream& stream) {
  if (s.rows * s.pixels == 0) return;
  with_images("batch_norm_grad_apply_two", config, s, first,
              [&]<class T, int V>(const bn::GradImages<T>& images, const bn::GradParams& params) {
                const bn::GradParams second{o.gamma,  o.save_mean, o.save_rstd, nullptr,
                                            o.dgamma, o.dbeta,     params.kind};
                const auto run = [&]<int W>() {
                  const bn::Columns g = bn::spread(bn::columns_of(s, W), W);
                  launch(bn::grad_apply_two_kernel<T, W>, bn::grid_of(g, W), dim3(bn::kThreads), 0, stream,
                         images.from.dy, images.from.x, static_cast<const T*>(o.x), images.dx,
                         static_cast<T*>(o.dx), params, second, first.valid_rows, g);
                };
                if (on_16_bytes({o.x, o.dx}))
                  run.template operator()<V>();
                else
                  run.template operator()<1>();
              });
}

void batch_norm_grad_apply(const BatchNormConfig& config, const BatchNormShape& s,
                           const BatchNormGradOperands& o, const Stream& stream) {
  if (s.rows * s.pixels == 0) return;
  with_images("batch_norm_grad_apply", config, s, o,
              [&]<class T, int V>(const bn::GradImages<T>& images, const bn::GradParams& params) {
                bn::launch_grad_apply<T, V>(s, images.from, images.dx, o.valid_rows, params, nullptr, stream);
              });
}

}  // namespace ingot::cuda
