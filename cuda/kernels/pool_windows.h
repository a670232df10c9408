// What the pooling kernels share: windows along an axis, and which pixel and channels a thread has. For .cu
// files.
//
// Threads of a block lie `wide` side by side along the channels, V channels each, and over neighbouring
// pixels; so a warp's accesses lie side by side whatever the number of channels.
#pragma once

#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/pool.h"

namespace ingot::cuda::pool_kernels {

using namespace gpu;

constexpr int kThreads = 256;

struct Axis {
  int in, out, kernel, stride, padding, dilation;
};

struct Windows {
  Axis h, w;
  int channels, wide;
  long long pixels;  // that threads are for: those of the result
  bool count_include_pad, adaptive;
};

// ---- On the host ----------------------------------------------------------------------------------------

inline Axis axis_of(const char* what, const PoolAxis& a) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  for (const std::int64_t v : {a.in, a.out, a.kernel, a.stride, a.padding, a.dilation})
    if (v < 0 || v > kMost)
      throw ShapeError(cat(what, " on a GPU takes sizes up to ", kMost, " pixels, got ", v));
  if (a.in + 2 * a.padding + a.kernel * a.dilation > kMost)
    throw ShapeError(cat(what, " on a GPU takes a padded image and window of up to ", kMost,
                         " pixels together, got ", a.in + 2 * a.padding, " and ", a.kernel * a.dilation));
  return {static_cast<int>(a.in),     static_cast<int>(a.out),     static_cast<int>(a.kernel),
          static_cast<int>(a.stride), static_cast<int>(a.padding), static_cast<int>(a.dilation)};
}

// Threads for the pixels of y, or of x for gradients; at most `most` side by side.
inline Windows windows_of(const char* what, const PoolShape& s, bool gradient, int vector, int most) {
  constexpr std::int64_t kMostChannels = std::int64_t{1} << 20;
  if (s.channels > kMostChannels)
    throw ShapeError(cat(what, " on a GPU takes up to ", kMostChannels, " channels, got ", s.channels));
  Windows g{};
  g.h = axis_of(what, s.h);
  g.w = axis_of(what, s.w);
  g.channels = static_cast<int>(s.channels);
  const std::int64_t vectors = std::max<std::int64_t>(s.channels / vector, 1);
  const std::int64_t tiles = (vectors + most - 1) / most;
  g.wide = static_cast<int>((vectors + tiles - 1) / tiles);
  g.pixels = s.images * (gradient ? s.h.in * s.w.in : s.h.out * s.w.out);
  g.count_include_pad = s.count_include_pad;
  g.adaptive = s.adaptive;
  return g;
}

// `high` pixels to a block.
inline dim3 grid_of(const Windows& g, int vector, int high) {
  const int tile = g.wide * vector;
  return {blocks_for(static_cast<std::size_t>(g.pixels), static_cast<unsigned>(high)),
          static_cast<unsigned>((g.channels + tile - 1) / tile)};
}

// ---- On the device --------------------------------------------------------------------------------------

// A pixel of an image of `height` rows and `width` columns.
struct Pixel {
  long long image;
  int row, column;
};
__device__ inline Pixel pixel_of(long long number, int height, int width) {
  const auto n = static_cast<unsigned long long>(number);
  const unsigned long long line = n / static_cast<unsigned>(width);
  return {static_cast<long long>(line / static_cast<unsigned>(height)),
          static_cast<int>(line % static_cast<unsigned>(height)),
          static_cast<int>(n % static_cast<unsigned>(width))};
}

// The first channel of the running thread; works is false for those beyond the last.
struct Lane {
  long long pixel;
  int channel;
  bool works;
};
template <int V>
__device__ inline Lane lane_of(const Windows& g) {
  const int thread = static_cast<int>(threadIdx.x), high = kThreads / g.wide, y = thread / g.wide;
  const long long pixel = static_cast<long long>(blockIdx.x) * high + y;
  const int channel = (static_cast<int>(blockIdx.y) * g.wide + thread % g.wide) * V;
  return {pixel, channel, y < high && pixel < g.pixels && channel < g.channels};
}

// ceil(a / b) for b > 0, and 0 for negative a.
__device__ inline int cells_up_to(int a, int b) {
  return a <= 0 ? 0 : b == 1 ? a : (a + b - 1) / b;
}

}  // namespace ingot::cuda::pool_kernels
