// Average over windows of channels-last images, given or adaptive, and its gradient.
//
//   y = sum of the window's cells on the image / cells that count
//   dx = sum over the windows that cover the pixel of dy / their cells that count
//
// Bytes that must move: x once, y once; dy once, dx once. A thread has 16 bytes of channels of one pixel of
// the result and goes through its window, or for the gradient through the windows that cover the pixel. Large
// windows, as of a global average, leave few pixels: there a block has a pixel and its strips of threads
// share the window. The order of all sums is fixed.
//
// Occupancy: average_grad_kernel from 25%: ranges and divisors of windows along two axes beside 16 bytes
//   of sums; at 64 registers it spills.
#include "cuda/kernels/pool.h"
#include "cuda/kernels/pool_windows.h"

namespace ingot::cuda::pool_kernels {

constexpr std::int64_t kLargeWindow = 32;  // cells from which a block shares a window

// Cells [begin, end) of one axis that window o adds up, and how many the divisor counts.
struct Range {
  int begin, end, counted;
};
__device__ inline Range range_of(const Axis& a, const Windows& g, int o) {
  if (g.adaptive) {
    const long long in = a.in, out = a.out;
    const int begin = static_cast<int>(o * in / out);
    const int end = static_cast<int>(((o + 1) * in + out - 1) / out);
    return {begin, end, end - begin};
  }
  const int first = o * a.stride - a.padding, full = first + a.kernel, most = a.in + a.padding;
  const int last = full < most ? full : most;
  const int begin = first > 0 ? first : 0, end = last < a.in ? last : a.in;
  return {begin, end, g.count_include_pad ? last - first : end - begin};
}
// The windows [begin, end) that cover cell i.
__device__ inline Range covering(const Axis& a, const Windows& g, int i) {
  if (g.adaptive) {
    const long long in = a.in, out = a.out;
    return {static_cast<int>(i * out / in), static_cast<int>(((i + 1) * out + in - 1) / in), 0};
  }
  const int place = i + a.padding, end = place / a.stride + 1;
  return {cells_up_to(place - a.kernel + 1, a.stride), end < a.out ? end : a.out, 0};
}
__device__ inline float divisor(const Range& rows, const Range& columns) {
  return static_cast<float>(static_cast<long long>(rows.counted) * columns.counted);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void average_kernel(const T* x, T* y, Windows g) {
  const Lane lane = lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pixel_of(lane.pixel, g.h.out, g.w.out);
  const Range rows = range_of(g.h, g, p.row), columns = range_of(g.w, g, p.column);
  float sum[V] = {};
  for (int row = rows.begin; row < rows.end; ++row) {
    const T* const from = x + (p.image * g.h.in + row) * g.w.in * g.channels + lane.channel;
    for (int column = columns.begin; column < columns.end; ++column) {
      float v[V];
      load_some<V>(from + static_cast<long long>(column) * g.channels, v);
#pragma unroll
      for (int c = 0; c < V; ++c) sum[c] += v[c];
    }
  }
  const float count = divisor(rows, columns);
#pragma unroll
  for (int c = 0; c < V; ++c) sum[c] = sum[c] / count;
  store_some<V>(y + lane.pixel * g.channels + lane.channel, sum);
}

// Block (pixel, tile of channels); strip s of its threads adds up the cells s, s + strips ... of the window.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void large_average_kernel(const T* x, T* y, Windows g) {
  GPU_SHARED(sums, float, [V][kThreads]);
  const int thread = static_cast<int>(threadIdx.x), strips = kThreads / g.wide, strip = thread / g.wide;
  const int channel = (static_cast<int>(blockIdx.y) * g.wide + thread % g.wide) * V;
  const bool works = strip < strips && channel < g.channels;
  const Pixel p = pixel_of(blockIdx.x, g.h.out, g.w.out);
  const Range rows = range_of(g.h, g, p.row), columns = range_of(g.w, g, p.column);
  const int width = columns.end - columns.begin;
  const long long cells =
      works && rows.end > rows.begin ? static_cast<long long>(rows.end - rows.begin) * width : 0;
  float sum[V] = {};
#pragma unroll 4
  for (long long cell = strip; cell < cells; cell += strips) {
    const long long line = p.image * g.h.in + rows.begin + cell / width;
    float v[V];
    load_some<V>(x + (line * g.w.in + columns.begin + cell % width) * g.channels + channel, v);
#pragma unroll
    for (int c = 0; c < V; ++c) sum[c] += v[c];
  }
#pragma unroll
  for (int c = 0; c < V; ++c) sums[c][thread] = sum[c];
  __syncthreads();
  if (!works || strip != 0) return;
  for (int s = 1; s < strips; ++s) {
#pragma unroll
    for (int c = 0; c < V; ++c) sum[c] += sums[c][thread + s * g.wide];
  }
  const float count = divisor(rows, columns);
#pragma unroll
  for (int c = 0; c < V; ++c) sum[c] = sum[c] / count;
  store_some<V>(y + static_cast<long long>(blockIdx.x) * g.channels + channel, sum);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void average_grad_kernel(const T* dy, T* dx, Windows g) {
  const Lane lane = lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pixel_of(lane.pixel, g.h.in, g.w.in);
  const Range is = covering(g.h, g, p.row), js = covering(g.w, g, p.column);
  float sum[V] = {};
  for (int i = is.begin; i < is.end; ++i) {
    const Range rows = range_of(g.h, g, i);
    const T* const from = dy + (p.image * g.h.out + i) * g.w.out * g.channels + lane.channel;
    for (int j = js.begin; j < js.end; ++j) {
      const float count = divisor(rows, range_of(g.w, g, j));
      float up[V];
      load_some<V>(from + static_cast<long long>(j) * g.channels, up);
#pragma unroll
      for (int c = 0; c < V; ++c) sum[c] += up[c] / count;
    }
  }
  store_some<V>(dx + lane.pixel * g.channels + lane.channel, sum);
}

// The cells of the largest window.
std::int64_t window_cells(const PoolShape& s) {
  const auto cells = [&](const PoolAxis& a) {
    return s.adaptive ? (a.in + a.out - 1) / std::max<std::int64_t>(a.out, 1) : std::min(a.kernel, a.in);
  };
  return cells(s.h) * cells(s.w);
}

template <class T, int V>
void launch_average(const PoolShape& s, const T* x, T* y, const Stream& stream) {
  const bool large = window_cells(s) >= kLargeWindow;
  const Windows g = windows_of("avg_pool2d", s, false, V, large ? kWarpSize : kThreads);
  if (g.pixels == 0 || g.channels == 0) return;
  if (large)
    launch(large_average_kernel<T, V>, grid_of(g, V, 1), dim3(kThreads), 0, stream, x, y, g);
  else
    launch(average_kernel<T, V>, grid_of(g, V, kThreads / g.wide), dim3(kThreads), 0, stream, x, y, g);
}

template <class T, int V>
void launch_average_grad(const PoolShape& s, const T* dy, T* dx, const Stream& stream) {
  const Windows g = windows_of("avg_pool2d_grad", s, true, V, kThreads);
  if (g.pixels == 0 || g.channels == 0) return;
  launch(average_grad_kernel<T, V>, grid_of(g, V, kThreads / g.wide), dim3(kThreads), 0, stream, dy, dx, g);
}

}  // namespace ingot::cuda::pool_kernels

namespace ingot::cuda {

void average_pool(DType dtype, const PoolShape& s, const void* x, void* y, const Stream& stream) {
  for_floating("avg_pool2d", dtype, [&]<class T>(T*) {
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto* const from = static_cast<const T*>(x);
    if (s.channels % kVector == 0 && on_16_bytes({x, y}))
      pool_kernels::launch_average<T, kVector>(s, from, static_cast<T*>(y), stream);
    else
      pool_kernels::launch_average<T, 1>(s, from, static_cast<T*>(y), stream);
  });
}

void average_pool_grad(DType dtype, const PoolShape& s, const void* dy, void* dx, const Stream& stream) {
  for_floating("avg_pool2d_grad", dtype, [&]<class T>(T*) {
    constexpr int kVector = gpu::Vec16<T>::kSize;
    const auto* const from = static_cast<const T*>(dy);
    if (s.channels % kVector == 0 && on_16_bytes({dy, dx}))
      pool_kernels::launch_average_grad<T, kVector>(s, from, static_cast<T*>(dx), stream);
    else
      pool_kernels::launch_average_grad<T, 1>(s, from, static_cast<T*>(dx), stream);
  });
}

}  // namespace ingot::cuda
