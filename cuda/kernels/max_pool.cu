// Maximum over windows of channels-last images, and its gradient.
//
//   y = max of the window's cells; offset = row * kernel_w + column of the first maximum, NaN above all
//   dx = sum of dy over the windows whose offset names this pixel
//
// Bytes that must move: x once (windows overlap in the cache), y and the offsets once; dy and the offsets
// once, dx once. A thread has 16 bytes of channels of one pixel of the result, and goes through the window,
// or for the gradient through the windows that cover the pixel: nothing is scattered.
#include "cuda/kernels/pool.h"
#include "cuda/kernels/pool_windows.h"

namespace ingot::cuda::pool_kernels {

// V offsets in a row as one access, or two; V is 1, or at * sizeof(O) is a multiple of the access.
template <int V, class O>
struct Offsets {
  static constexpr int kBytes = V * static_cast<int>(sizeof(O));
  O at[V];

  __device__ void load(const O* from) {
    if constexpr (V == 1) {
      at[0] = *from;
    } else if constexpr (kBytes == 4) {
      const unsigned raw = *reinterpret_cast<const unsigned*>(from);
      __builtin_memcpy(at, &raw, 4);
    } else if constexpr (kBytes == 8) {
      const uint2 raw = *reinterpret_cast<const uint2*>(from);
      __builtin_memcpy(at, &raw, 8);
    } else {
#pragma unroll
      for (int i = 0; i < kBytes / 16; ++i) {
        const Vec16<O> raw = load16(from + i * Vec16<O>::kSize);
#pragma unroll
        for (int k = 0; k < Vec16<O>::kSize; ++k) at[i * Vec16<O>::kSize + k] = raw.at[k];
      }
    }
  }
  __device__ void store(O* to) const {
    if constexpr (V == 1) {
      *to = at[0];
    } else if constexpr (kBytes == 4) {
      unsigned raw;
      __builtin_memcpy(&raw, at, 4);
      *reinterpret_cast<unsigned*>(to) = raw;
    } else if constexpr (kBytes == 8) {
      uint2 raw;
      __builtin_memcpy(&raw, at, 8);
      *reinterpret_cast<uint2*>(to) = raw;
    } else {
#pragma unroll
      for (int i = 0; i < kBytes / 16; ++i) {
        Vec16<O> raw;
#pragma unroll
        for (int k = 0; k < Vec16<O>::kSize; ++k) raw.at[k] = at[i * Vec16<O>::kSize + k];
        store16(to + i * Vec16<O>::kSize, raw);
      }
    }
  }
};

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, class O>
__global__ void max_kernel(const T* x, T* y, O* offset, Windows g) {
  const Lane lane = lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pixel_of(lane.pixel, g.h.out, g.w.out);
  const int row = p.row * g.h.stride - g.h.padding, column = p.column * g.w.stride - g.w.padding;
  // The cells of the window that lie on the image.
  const int k_begin = cells_up_to(-row, g.h.dilation), l_begin = cells_up_to(-column, g.w.dilation);
  const int k_most = cells_up_to(g.h.in - row, g.h.dilation);
  const int l_most = cells_up_to(g.w.in - column, g.w.dilation);
  const int k_end = k_most < g.h.kernel ? k_most : g.h.kernel;
  const int l_end = l_most < g.w.kernel ? l_most : g.w.kernel;
  float best[V];
  int where[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    best[k] = -INFINITY;
    where[k] = -1;
  }
  for (int k = k_begin; k < k_end; ++k) {
    const long long line = p.image * g.h.in + (row + k * g.h.dilation);
    const T* const from = x + (line * g.w.in + column) * g.channels + lane.channel;
    for (int l = l_begin; l < l_end; ++l) {
      float v[V];
      load_some<V>(from + static_cast<long long>(l * g.w.dilation) * g.channels, v);
#pragma unroll
      for (int c = 0; c < V; ++c)
        if (where[c] < 0 || v[c] > best[c] || (v[c] != v[c] && best[c] == best[c])) {
          best[c] = v[c];
          where[c] = k * g.w.kernel + l;
        }
    }
  }
  Offsets<V, O> found;
#pragma unroll
  for (int c = 0; c < V; ++c) found.at[c] = static_cast<O>(where[c] < 0 ? 0 : where[c]);
  const long long to = lane.pixel * g.channels + lane.channel;
  store_some<V>(y + to, best);
  found.store(offset + to);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, class O>
__global__ void max_grad_kernel(const T* dy, const O* offset, T* dx, Windows g) {
  const Lane lane = lane_of<V>(g);
  if (!lane.works) return;
  const Pixel p = pixel_of(lane.pixel, g.h.in, g.w.in);
  // In the padded image; window o covers the pixel when this minus o * stride is a cell's place in it.
  const int row = p.row + g.h.padding, column = p.column + g.w.padding;
  const int i_begin = cells_up_to(row - g.h.dilation * (g.h.kernel - 1), g.h.stride);
  const int j_begin = cells_up_to(column - g.w.dilation * (g.w.kernel - 1), g.w.stride);
  const int i_last = row / g.h.stride, j_last = column / g.w.stride;
  float sum[V] = {};
  for (int i = i_begin; i <= i_last && i < g.h.out; ++i) {
    const int k = (row - i * g.h.stride) / g.h.dilation;
    if (k * g.h.dilation != row - i * g.h.stride) continue;
    const long long line = (p.image * g.h.out + i) * g.w.out;
    for (int j = j_begin; j <= j_last && j < g.w.out; ++j) {
      const int l = (column - j * g.w.stride) / g.w.dilation;
      if (l * g.w.dilation != column - j * g.w.stride) continue;
      const long long at = (line + j) * g.channels + lane.channel;
      Offsets<V, O> found;
      float up[V];
      found.load(offset + at);
      load_some<V>(dy + at, up);
#pragma unroll
      for (int c = 0; c < V; ++c)
        if (static_cast<int>(found.at[c]) == k * g.w.kernel + l) sum[c] += up[c];
    }
  }
  store_some<V>(dx + lane.pixel * g.channels + lane.channel, sum);
}

template <class T, int V, class O>
void launch_max(const PoolShape& s, const T* x, T* y, O* offset, const Stream& stream) {
  const Windows g = windows_of("max_pool2d", s, false, V, kThreads);
  if (g.pixels == 0 || g.channels == 0) return;
  launch(max_kernel<T, V, O>, grid_of(g, V, kThreads / g.wide), dim3(kThreads), 0, stream, x, y, offset, g);
}

template <class T, int V, class O>
void launch_max_grad(const PoolShape& s, const T* dy, const O* offset, T* dx, const Stream& stream) {
  const Windows g = windows_of("max_pool2d_grad", s, true, V, kThreads);
  if (g.pixels == 0 || g.channels == 0) return;
  launch(max_grad_kernel<T, V, O>, grid_of(g, V, kThreads / g.wide), dim3(kThreads), 0, stream, dy, offset,
         dx, g);
}

// Calls run.template operator()<V>() and gives it a null pointer of the offsets' type.
template <int Vector, class Run>
void for_offsets(const PoolShape& s, bool aligned, Run&& run) {
  const bool vectors = aligned && s.channels % Vector == 0;
  const auto typed = [&]<class O>(O* type) {
    if (vectors)
      run.template operator()<Vector>(type);
    else
      run.template operator()<1>(type);
  };
  if (s.h.kernel * s.w.kernel <= 256)
    typed(static_cast<std::uint8_t*>(nullptr));
  else
    typed(static_cast<std::int32_t*>(nullptr));
}

}  // namespace ingot::cuda::pool_kernels

namespace ingot::cuda {

void max_pool(DType dtype, const PoolShape& s, const void* x, void* y, void* offset, const Stream& stream) {
  for_floating("max_pool2d", dtype, [&]<class T>(T*) {
    pool_kernels::for_offsets<gpu::Vec16<T>::kSize>(s, on_16_bytes({x, y, offset}), [&]<int V, class O>(O*) {
      pool_kernels::launch_max<T, V>(s, static_cast<const T*>(x), static_cast<T*>(y), static_cast<O*>(offset),
                                     stream);
    });
  });
}

void max_pool_grad(DType dtype, const PoolShape& s, const void* dy, const void* offset, void* dx,
                   const Stream& stream) {
  for_floating("max_pool2d_grad", dtype, [&]<class T>(T*) {
    pool_kernels::for_offsets<gpu::Vec16<T>::kSize>(
        s, on_16_bytes({dy, dx, offset}), [&]<int V, class O>(O*) {
          pool_kernels::launch_max_grad<T, V>(s, static_cast<const T*>(dy), static_cast<const O*>(offset),
                                              static_cast<T*>(dx), stream);
        });
  });
}

}  // namespace ingot::cuda
