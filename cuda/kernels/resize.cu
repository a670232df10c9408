// Channels-last images of another size, and the gradient.
//
//   bilinear  y = sum over the two rows and two columns around the place of weight * x, weight = 1 - distance
//   nearest   y = x of the pixel whose area holds the place
//   dx = sum over the pixels of y that read this one of weight * dy
//
// Bytes that must move: y once, x once where it has fewer pixels (neighbours share them in the cache), else
// what is read of it; dy once, dx once. A thread has 16 bytes of channels of one pixel of the result.
// The pixels of y that read one pixel are a run along each axis, since places rise: the gradient estimates
// its ends and moves them to where weights begin. Places are float, with a scale of two floats, so that the
// distance to a pixel keeps its digits far from the origin; which pixel is nearest is a decision, and made in
// double.
#include "cuda/kernels/resize.h"

#include <cmath>

#include "cuda/kernels/convert.h"
#include "cuda/kernels/pool_windows.h"

namespace ingot::cuda::resize_kernels {

using namespace gpu;
using pool_kernels::kThreads;
using pool_kernels::Lane;
using pool_kernels::Pixel;
using pool_kernels::Windows;

// Where pixels of y lie along one axis of x.
struct Map {
  double scale;
  float high, low;  // scale = high + low
  float inverse, offset;
  int in, out;
};

__device__ inline int nearest_of(const Map& m, int o) {
  const double place = floor((static_cast<double>(o) + static_cast<double>(m.offset)) * m.scale);
  return place < static_cast<double>(m.in) ? static_cast<int>(place) : m.in - 1;
}
// The place of o minus `from`, rounded once or twice whatever its size.
__device__ inline float distance(const Map& m, int o, int from) {
  const float at = static_cast<float>(o) + m.offset;
  return fmaf(at, m.high, -(static_cast<float>(from) + m.offset)) + at * m.low;
}
__device__ inline float between(float v, float low, float high) {
  return v < low ? low : v > high ? high : v;
}

// Output pixel o is (1 - weight) * x[first] + weight * x[last].
struct Tap {
  int first, last;
  float weight;
};
__device__ inline Tap tap_of(const Map& m, int o) {
  const float place = between(distance(m, o, 0), 0.0f, static_cast<float>(m.in - 1));
  const int first = static_cast<int>(place);
  return {first, first + 1 < m.in ? first + 1 : first, between(distance(m, o, first), 0.0f, 1.0f)};
}

// How much of pixel i output pixel o has; the places beyond the ends count as the ends.
__device__ inline float share(const Map& m, int o, int i) {
  const float d = distance(m, o, i);
  if ((i == 0 && d < 0.0f) || (i == m.in - 1 && d > 0.0f)) return 1.0f;
  const float s = 1.0f - fabsf(d);
  return s > 0.0f ? s : 0.0f;
}

// The output pixels [begin, end) that read pixel i.
struct Run {
  int begin, end;
};
__device__ inline int estimate(const Map& m, float place, float more) {
  const float o = (place + m.offset) * m.inverse - m.offset + more;
  return static_cast<int>(between(o, 0.0f, static_cast<float>(m.out)));
}
__device__ inline Run readers_of(const Map& m, int i, bool nearest) {
  // Bilinear: places between i - 1 and i + 1; nearest: from i to i + 1 of (o + offset) * scale. Two pixels of
  // slack: the estimate is off by less than one for up to 2^22 pixels.
  const float at = static_cast<float>(i);
  const float low = nearest ? at - m.offset : at - 1.0f, high = nearest ? at + 1.0f - m.offset : at + 1.0f;
  Run r{i == 0 ? 0 : estimate(m, low, -2.0f), i == m.in - 1 ? m.out : estimate(m, high, 3.0f)};
  if (nearest) {
    while (r.begin < r.end && nearest_of(m, r.begin) < i) ++r.begin;
    while (r.end > r.begin && nearest_of(m, r.end - 1) > i) --r.end;
  } else {
    while (r.begin < r.end && share(m, r.begin, i) == 0.0f) ++r.begin;
    while (r.end > r.begin && share(m, r.end - 1, i) == 0.0f) --r.end;
  }
  return r;
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void resize_kernel(const T* x, T* y, Windows g, Map h, Map w, bool nearest) {
  const Lane lane = pool_kernels::lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pool_kernels::pixel_of(lane.pixel, h.out, w.out);
  const T* const image = x + p.image * h.in * w.in * g.channels + lane.channel;
  const auto pixel = [&](int row, int column) {
    return image + (static_cast<long long>(row) * w.in + column) * g.channels;
  };
  float result[V];
  if (nearest) {
    load_some<V>(pixel(nearest_of(h, p.row), nearest_of(w, p.column)), result);
  } else {
    const Tap r = tap_of(h, p.row), c = tap_of(w, p.column);
    float a[V], b[V];
    load_some<V>(pixel(r.first, c.first), a);
    load_some<V>(pixel(r.first, c.last), b);
#pragma unroll
    for (int k = 0; k < V; ++k) result[k] = (1.0f - r.weight) * ((1.0f - c.weight) * a[k] + c.weight * b[k]);
    load_some<V>(pixel(r.last, c.first), a);
    load_some<V>(pixel(r.last, c.last), b);
#pragma unroll
    for (int k = 0; k < V; ++k) result[k] += r.weight * ((1.0f - c.weight) * a[k] + c.weight * b[k]);
  }
  store_some<V>(y + lane.pixel * g.channels + lane.channel, result);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void resize_grad_kernel(const T* dy, T* dx, Windows g, Map h, Map w, bool nearest) {
  const Lane lane = pool_kernels::lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pool_kernels::pixel_of(lane.pixel, h.in, w.in);
  const Run rows = readers_of(h, p.row, nearest), columns = readers_of(w, p.column, nearest);
  float sum[V] = {};
  for (int i = rows.begin; i < rows.end; ++i) {
    const float of_row = nearest ? 1.0f : share(h, i, p.row);
    const T* const from = dy + (p.image * h.out + i) * w.out * g.channels + lane.channel;
    for (int j = columns.begin; j < columns.end; ++j) {
      const float weight = nearest ? 1.0f : of_row * share(w, j, p.column);
      float up[V];
      load_some<V>(from + static_cast<long long>(j) * g.channels, up);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] += weight * up[k];
    }
  }
  store_some<V>(dx + lane.pixel * g.channels + lane.channel, sum);
}

Map map_of(const char* what, const ResizeSide& s) {
  constexpr std::int64_t kMost = std::int64_t{1} << 22;
  if (s.in > kMost || s.out > kMost)
    throw ShapeError(
        cat(what, " on a GPU takes images of up to ", kMost, " pixels a side, got ", s.in, " and ", s.out));
  Map m{};
  m.scale = s.scale;
  m.high = static_cast<float>(s.scale);
  m.low = static_cast<float>(s.scale - static_cast<double>(m.high));
  m.inverse = s.scale > 0.0 ? static_cast<float>(1.0 / s.scale) : 0.0f;
  m.offset = static_cast<float>(s.offset);
  m.in = static_cast<int>(s.in);
  m.out = static_cast<int>(s.out);
  return m;
}

// Threads for the pixels of y, or of x for gradients.
Windows threads_for(const char* what, const ResizeShape& s, bool gradient, int vector) {
  PoolShape p;
  p.images = s.images;
  p.channels = s.channels;
  p.h = {.in = s.h.in, .out = s.h.out};
  p.w = {.in = s.w.in, .out = s.w.out};
  return pool_kernels::windows_of(what, p, gradient, vector, kThreads);
}

template <class T, int V>
void start(const ResizeShape& s, bool gradient, const T* from, T* to, const Stream& stream) {
  const char* const what = gradient ? "resize2d_grad" : "resize2d";
  const Windows g = threads_for(what, s, gradient, V);
  if (g.pixels == 0 || g.channels == 0) return;
  launch(gradient ? resize_grad_kernel<T, V> : resize_kernel<T, V>,
         pool_kernels::grid_of(g, V, kThreads / g.wide), dim3(kThreads), 0, stream, from, to, g,
         map_of(what, s.h), map_of(what, s.w), s.nearest);
}

void start_any(DType dtype, const ResizeShape& s, bool gradient, const void* from, void* to,
               const Stream& stream) {
  for_floating(gradient ? "resize2d_grad" : "resize2d", dtype, [&]<class T>(T*) {
    constexpr int kVector = Vec16<T>::kSize;
    const auto* const x = static_cast<const T*>(from);
    if (s.channels % kVector == 0 && on_16_bytes({from, to}))
      start<T, kVector>(s, gradient, x, static_cast<T*>(to), stream);
    else
      start<T, 1>(s, gradient, x, static_cast<T*>(to), stream);
  });
}

}  // namespace ingot::cuda::resize_kernels

namespace ingot::cuda {

void resize(DType dtype, const ResizeShape& s, const void* x, void* y, const Stream& stream) {
  resize_kernels::start_any(dtype, s, false, x, y, stream);
}

void resize_grad(DType dtype, const ResizeShape& s, const void* dy, void* dx, const Stream& stream) {
  resize_kernels::start_any(dtype, s, true, dy, dx, stream);
}

}  // namespace ingot::cuda
