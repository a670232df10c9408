// Normalisation of channels-last images over groups of channels, and its gradient.
//
//   mean = sum x / n,  var = sum (x - mean)^2 / n,  rstd = 1 / sqrt(var + eps)      per image and group
//   y = (x - mean) rstd gamma + beta
//   D = sum dy, E = sum dy (x - mean) rstd                                          per image and channel
//   dx = rstd (gamma dy - (sum gamma D + (x - mean) rstd sum gamma E) / n)          sums over the group
//   dgamma = sum E, dbeta = sum D                                                   over the images
//
// Bytes that must move: x twice and y once; dy and x twice, dx once. A block has a group of an image: its
// threads lie along the group's channels, 16 bytes each, and in strips over the pixels, so that a thread
// meets the same channels throughout. Groups that are read again are mostly in the cache still. Moments are
// joined relative to the group's first element, so a mean of 1000 beside a spread of 0.01 loses nothing; the
// order of all sums is fixed.
#include "cuda/kernels/group_norm.h"

#include "cuda/base/launch.h"
#include "cuda/kernels/block_reduce.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/moments.h"

namespace ingot::cuda::group_norm_kernels {

using namespace gpu;

constexpr int kThreads = 256;

struct Params {
  const void *gamma, *beta;
  void *mean, *rstd;
  ParamKind kind;
  float eps;
};

// What a block's threads share out: vectors of a group's channels, `wide` side by side, and pixels.
struct Groups {
  long long pixels;
  int channels, groups, vectors, wide;
};

// Where the running thread is: its vector among the `wide` (and each `wide`-th after it), its strip of
// pixels.
struct Place {
  long long base;  // the group's first element
  int first_channel, vector, strip, high;
};
template <int V>
__device__ inline Place place_of(const Groups& g) {
  const int thread = static_cast<int>(threadIdx.x), high = kThreads / g.wide;
  const long long image = blockIdx.x / static_cast<unsigned>(g.groups);
  const int group = static_cast<int>(blockIdx.x % static_cast<unsigned>(g.groups));
  const int first = group * g.vectors * V, strip = thread / g.wide;
  return {image * g.pixels * g.channels + first, first, thread % g.wide, strip, high};
}

// nvcc reads 16 bytes at once where 12 would do: all of them are written.
struct Slot {
  Moments m;
  float none;
};

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kThreads) group_norm_kernel(const T* x, T* y, Groups g, Params p) {
  GPU_SHARED(slots, Slot, [kThreads / kWarpSize + 1]);
  const Place at = place_of<V>(g);
  const bool works = at.strip < at.high;
  const T* const from = x + at.base;
  const float shift = widen(*from);
  Moments own{0.0f, 0.0f, 0.0f};
  for (int c = at.vector; works && c < g.vectors; c += g.wide)
    for (long long pixel = at.strip; pixel < g.pixels; pixel += at.high) {
      float v[V];
      load_some<V>(from + pixel * g.channels + c * V, v);
      if constexpr (V == 1) {
        own.add(v[0] - shift);
      } else {
#pragma unroll
        for (int k = 0; k < V; k += 4) {
          Moments four{4.0f, 0.0f, 0.0f};
          four_moments(v[k] - shift, v[k + 1] - shift, v[k + 2] - shift, v[k + 3] - shift, four.mean,
                       four.m2);
          own = join(own, four);
        }
      }
    }
  const Moments all =
      block_reduce<kThreads>(
          Slot{own, 0.0f}, &slots[0],
          [](Slot a, Slot b) {
            return Slot{join(a.m, b.m), 0.0f};
          },
          [](Slot s, int step) {
            return Slot{{shuffle_xor(s.m.n, step), shuffle_xor(s.m.mean, step), shuffle_xor(s.m.m2, step)},
                        0.0f};
          })
          .m;
  const SplitMean mean = split_mean(shift, all.mean);
  const float rstd = 1.0f / sqrtf(all.m2 / all.n + p.eps);
  // y may lie over x: nobody reads the first element again, and each thread its own others.
  for (int c = at.vector; works && c < g.vectors; c += g.wide) {
    float gamma[V], beta[V];
    load_params<V, T>(p.gamma, p.kind == ParamKind::F32, at.first_channel + c * V, gamma);
    load_params<V, T>(p.beta, p.kind == ParamKind::F32, at.first_channel + c * V, beta);
    for (long long pixel = at.strip; pixel < g.pixels; pixel += at.high) {
      const long long e = pixel * g.channels + c * V;
      float v[V];
      load_some<V>(from + e, v);
#pragma unroll
      for (int k = 0; k < V; ++k) v[k] = ((v[k] - mean.high) - mean.low) * rstd * gamma[k] + beta[k];
      store_some<V>(y + at.base + e, v);
    }
  }
  if (threadIdx.x == 0) {
    write_param(p.mean, p.kind, blockIdx.x, mean.high);
    write_param(p.rstd, p.kind, blockIdx.x, rstd);
  }
}

// sums: D and E of each image and channel, D first.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    group_norm_grad_kernel(const T* dy, const T* x, T* dx, float* sums, long long half, Groups g, Params p) {
  GPU_SHARED(strips, float, [2 * V][kThreads]);
  GPU_SHARED(slots, SumPair, [kThreads / kWarpSize + 1]);
  const Place at = place_of<V>(g);
  const int thread = static_cast<int>(threadIdx.x);
  const bool inside = at.strip < at.high;
  const float mean = read_param(p.mean, p.kind, blockIdx.x), rstd = read_param(p.rstd, p.kind, blockIdx.x);
  const bool wide_params = p.kind == ParamKind::F32;
  SumPair own{0.0f, 0.0f};
  for (int tile = 0; tile < g.vectors; tile += g.wide) {
    const int c = tile + at.vector;
    const bool works = inside && c < g.vectors;
    float d[V] = {}, e[V] = {};
    for (long long pixel = at.strip; works && pixel < g.pixels; pixel += at.high) {
      const long long i = at.base + pixel * g.channels + c * V;
      float up[V], v[V];
      load_some<V>(dy + i, up);
      load_some<V>(x + i, v);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        d[k] += up[k];
        e[k] += up[k] * ((v[k] - mean) * rstd);
      }
    }
#pragma unroll
    for (int k = 0; k < V; ++k) {
      strips[k][thread] = d[k];
      strips[V + k][thread] = e[k];
    }
    __syncthreads();
    int step = 1;
    while (step * 2 < at.high) step *= 2;
    for (; step > 0; step /= 2) {
      if (works && at.strip < step && at.strip + step < at.high) {
#pragma unroll
        for (int k = 0; k < 2 * V; ++k) strips[k][thread] += strips[k][thread + step * g.wide];
      }
      __syncthreads();
    }
    if (works && at.strip == 0) {
      const int channel = at.first_channel + c * V;
      const long long to = static_cast<long long>(blockIdx.x / static_cast<unsigned>(g.groups)) * g.channels;
      float gamma[V];
      load_params<V, T>(p.gamma, wide_params, channel, gamma);
#pragma unroll
      for (int k = 0; k < V; ++k) {
        d[k] = strips[k][thread];
        e[k] = strips[V + k][thread];
        own.a += gamma[k] * d[k];
        own.b += gamma[k] * e[k];
      }
      store_floats<V>(sums + to + channel, d);
      store_floats<V>(sums + half + to + channel, e);
    }
    __syncthreads();
  }
  const SumPair total = block_sum<kThreads>(own, &slots[0]);
  const float n = static_cast<float>(g.vectors * V) * static_cast<float>(g.pixels);
  const float a = total.a / n, b = total.b / n;
  // dx may lie over dy or x: each thread reads its own elements before it writes them.
  for (int c = at.vector; inside && c < g.vectors; c += g.wide) {
    float gamma[V];
    load_params<V, T>(p.gamma, wide_params, at.first_channel + c * V, gamma);
    for (long long pixel = at.strip; pixel < g.pixels; pixel += at.high) {
      const long long i = at.base + pixel * g.channels + c * V;
      float up[V], v[V];
      load_some<V>(dy + i, up);
      load_some<V>(x + i, v);
#pragma unroll
      for (int k = 0; k < V; ++k) up[k] = rstd * (gamma[k] * up[k] - a - (v[k] - mean) * rstd * b);
      store_some<V>(dx + i, up);
    }
  }
}

// Thread c adds up channel c over the images.
// Bound by: latency: one number per image and channel.
__global__ void __launch_bounds__(kThreads)
    group_norm_params_kernel(const float* sums, long long half, long long images, int channels, void* dgamma,
                             void* dbeta, ParamKind kind) {
  const int c = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (c >= channels) return;
  float d = 0.0f, e = 0.0f;
  for (long long i = 0; i < images; ++i) {
    d += sums[i * channels + c];
    e += sums[half + i * channels + c];
  }
  write_param(dgamma, kind, c, e);
  write_param(dbeta, kind, c, d);
}

// Sums of one kind, padded so that the second begins on 16 bytes.
std::size_t half_of(const GroupNormShape& s) {
  return (static_cast<std::size_t>(s.images * s.channels) + 3) / 4 * 4;
}

void check(const char* what, const GroupNormShape& s) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  if (s.channels / s.groups * s.pixels > kMost || s.images * s.groups > kMost)
    throw ShapeError(cat(what, " on a GPU takes up to ", kMost, " groups of up to as many elements, got ",
                         s.images * s.groups, " of ", s.channels / s.groups * s.pixels));
}

Groups groups_of(const GroupNormShape& s, int vector) {
  Groups g{};
  g.pixels = s.pixels;
  g.channels = static_cast<int>(s.channels);
  g.groups = static_cast<int>(s.groups);
  g.vectors = static_cast<int>(s.channels / s.groups) / vector;
  g.wide = std::min(g.vectors, kThreads);
  return g;
}

dim3 grid_of(const GroupNormShape& s) {
  return dim3(static_cast<unsigned>(s.images * s.groups));
}

}  // namespace ingot::cuda::group_norm_kernels

namespace ingot::cuda {

void group_norm(const GroupNormConfig& config, const GroupNormShape& s, const GroupNormOperands& o,
                const Stream& stream) {
  namespace gn = group_norm_kernels;
  gn::check("group_norm", s);
  const gn::Params p{o.gamma,
                     o.beta,
                     o.mean,
                     o.rstd,
                     param_kind("group_norm", config.params, config.dtype),
                     static_cast<float>(config.eps)};
  for_floating("group_norm", config.dtype, [&]<class T>(T*) {
    if (s.images == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto start = [&](auto kernel, int vector) {
      launch(kernel, gn::grid_of(s), dim3(gn::kThreads), 0, stream, static_cast<const T*>(o.x),
             static_cast<T*>(o.y), gn::groups_of(s, vector), p);
    };
    if (s.channels / s.groups % kVector == 0 && on_16_bytes({o.x, o.gamma, o.beta, o.y}))
      start(gn::group_norm_kernel<T, kVector>, kVector);
    else
      start(gn::group_norm_kernel<T, 1>, 1);
  });
}

std::size_t group_norm_grad_workspace(const GroupNormShape& s) {
  return 2 * group_norm_kernels::half_of(s) * sizeof(float);
}

void group_norm_grad(const GroupNormConfig& config, const GroupNormShape& s, const GroupNormGradOperands& o,
                     void* workspace, const Stream& stream) {
  namespace gn = group_norm_kernels;
  gn::check("group_norm_grad", s);
  const gpu::ParamKind kind = param_kind("group_norm_grad", config.params, config.dtype);
  const gn::Params p{o.gamma, nullptr, const_cast<void*>(o.mean), const_cast<void*>(o.rstd), kind, 0.0f};
  auto* const sums = static_cast<float*>(workspace);
  const auto half = static_cast<long long>(gn::half_of(s));
  for_floating("group_norm_grad", config.dtype, [&]<class T>(T*) {
    if (s.images == 0) return;
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto start = [&](auto kernel, int vector) {
      launch(kernel, gn::grid_of(s), dim3(gn::kThreads), 0, stream, static_cast<const T*>(o.dy),
             static_cast<const T*>(o.x), static_cast<T*>(o.dx), sums, half, gn::groups_of(s, vector), p);
    };
    if (s.channels / s.groups % kVector == 0 && on_16_bytes({o.dy, o.x, o.gamma, o.dx, workspace}))
      start(gn::group_norm_grad_kernel<T, kVector>, kVector);
    else
      start(gn::group_norm_grad_kernel<T, 1>, 1);
  });
  if (s.channels == 0) return;
  launch(gn::group_norm_params_kernel, dim3(blocks_for(static_cast<std::size_t>(s.channels), gn::kThreads)),
         dim3(gn::kThreads), 0, stream, static_cast<const float*>(sums), half,
         static_cast<long long>(s.images), static_cast<int>(s.channels), o.dgamma, o.dbeta, kind);
}

}  // namespace ingot::cuda
