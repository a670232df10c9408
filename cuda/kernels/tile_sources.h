// Where the elements of a tile come from: matrices, and images and weights read as matrices (implicit GEMM,
// so no im2col matrix is ever stored). For .cu files.
//
// A source is a matrix source[row][k] that may lie anywhere. It splits an address into a part of the row and
// a part of k, each worked out once and k's advanced by a constant step without a division:
//
//   row(r)            what a row contributes; r may lie outside
//   depth(k, step)    what k contributes, to be advanced by `step`
//   advance(depth)
//   at(row, depth)    the element's address, or null outside (padding included), which reads as zero
//   shift(offset)     moves to another batch entry or group, in elements
//
// Vectors of several elements along the row or along k are read at once when the caller knows that they lie
// in a row and are aligned: channel counts that the vector's length divides.
//
// Sources: Matrix; ForwardImage x[pixel][tap, c] and PixelImage x[tap, c][pixel] (convolution and gradient of
// its weight); GradImage dy[input pixel][tap, o] and TapWeight w[c][tap, o] (gradient of its input).
#pragma once

#include "cuda/base/kernel.h"
#include "cuda/kernels/conv_geometry.h"

namespace ingot::cuda::tile {

using namespace gpu;

// v = (high * mid_radix + mid) * low_radix + low.
struct Digits {
  int high, mid, low;
};

__device__ inline Digits digits(long long v, int mid_radix, int low_radix) {
  const long long rest = v / low_radix;
  return {static_cast<int>(rest / mid_radix), static_cast<int>(rest % mid_radix),
          static_cast<int>(v - rest * low_radix)};
}

// A number that is advanced by a constant: one carry a digit, since a step's digit is below its radix.
struct Counter {
  Digits at, step;

  __device__ void advance(int mid_radix, int low_radix) {
    at.low += step.low;
    at.mid += step.mid;
    at.high += step.high;
    if (at.low >= low_radix) at.low -= low_radix, ++at.mid;
    if (at.mid >= mid_radix) at.mid -= mid_radix, ++at.high;
  }
};

__device__ inline Counter counter(long long v, int step, int mid_radix, int low_radix) {
  return {digits(v, mid_radix, low_radix), digits(step, mid_radix, low_radix)};
}

// A row outside: far below every size, and still so after adding any kernel offset (each is below 2^30).
constexpr int kOutside = -(1 << 30);

template <class T>
struct Matrix {
  using Element = T;
  const T* p;
  long long rows, k, row_stride, k_stride;

  struct Row {
    long long offset;  // -1 outside
  };
  struct Depth {
    long long k, offset;
    int step;
  };
  __device__ Row row(long long r) const { return {r < rows ? r * row_stride : -1}; }
  __device__ Depth depth(long long at, int step) const { return {at, at * k_stride, step}; }
  __device__ void advance(Depth& d) const {
    d.k += d.step;
    d.offset += d.step * k_stride;
  }
  __device__ const T* at(const Row& r, const Depth& d) const {
    return r.offset >= 0 && d.k < k ? p + r.offset + d.offset : nullptr;
  }
  __device__ void shift(long long offset) { p += offset; }
};

template <class T>
struct ForwardImage {
  using Element = T;
  const T* p;
  ConvGeometry g;

  struct Row {
    long long image;
    int top, left;
  };
  using Depth = Counter;  // kernel row, kernel column, channel
  __device__ Row row(long long r) const {
    const Digits pixel = digits(r, g.oh, g.ow);
    if (pixel.high >= g.images) return {0, kOutside, 0};
    return {pixel.high * g.h * static_cast<long long>(g.w), pixel.mid * g.stride_h - g.pad_h,
            pixel.low * g.stride_w - g.pad_w};
  }
  __device__ Depth depth(long long at, int step) const { return counter(at, step, g.kw, g.cg); }
  __device__ void advance(Depth& d) const { d.advance(g.kw, g.cg); }
  __device__ const T* at(const Row& r, const Depth& d) const {
    if (d.at.high >= g.kh) return nullptr;
    const int y = r.top + d.at.high * g.dilation_h, x = r.left + d.at.mid * g.dilation_w;
    const bool inside = y >= 0 && y < g.h && x >= 0 && x < g.w;
    return inside ? p + (r.image + static_cast<long long>(y) * g.w + x) * g.c + d.at.low : nullptr;
  }
  __device__ void shift(long long offset) { p += offset; }
};

template <class T>
struct PixelImage {
  using Element = T;
  const T* p;
  ConvGeometry g;

  struct Row {
    int down, right, channel;
  };
  using Depth = Counter;  // image, output row, output column
  __device__ Row row(long long r) const {
    const Digits tap = digits(r, g.kw, g.cg);
    if (tap.high >= g.kh) return {kOutside, 0, 0};
    return {tap.high * g.dilation_h - g.pad_h, tap.mid * g.dilation_w - g.pad_w, tap.low};
  }
  __device__ Depth depth(long long at, int step) const { return counter(at, step, g.oh, g.ow); }
  __device__ void advance(Depth& d) const { d.advance(g.oh, g.ow); }
  __device__ const T* at(const Row& r, const Depth& d) const {
    // A row outside makes y negative: stride times an output row stays below 2^30.
    const int y = d.at.mid * g.stride_h + r.down, x = d.at.low * g.stride_w + r.right;
    const bool inside = d.at.high < g.images && y >= 0 && y < g.h && x >= 0 && x < g.w;
    return inside ? p + ((static_cast<long long>(d.at.high) * g.h + y) * g.w + x) * g.c + r.channel : nullptr;
  }
  __device__ void shift(long long offset) { p += offset; }
};

template <class T>
struct GradImage {
  using Element = T;
  const T* p;
  ConvGeometry g;

  struct Row {
    long long image;
    int bottom, right;  // the input pixel, plus the padding
  };
  using Depth = Counter;  // kernel row, kernel column, output channel
  __device__ Row row(long long r) const {
    const Digits pixel = digits(r, g.h, g.w);
    if (pixel.high >= g.images) return {0, kOutside, 0};
    return {pixel.high * g.oh * static_cast<long long>(g.ow), pixel.mid + g.pad_h, pixel.low + g.pad_w};
  }
  __device__ Depth depth(long long at, int step) const { return counter(at, step, g.kw, g.og); }
  __device__ void advance(Depth& d) const { d.advance(g.kw, g.og); }
  __device__ const T* at(const Row& r, const Depth& d) const {
    if (d.at.high >= g.kh) return nullptr;
    const int down = r.bottom - d.at.high * g.dilation_h, right = r.right - d.at.mid * g.dilation_w;
    if (down < 0 || right < 0) return nullptr;
    int y = down, x = right;
    if (g.stride_h != 1) {
      y = static_cast<int>(g.by_stride_h.quotient(down));
      if (y * g.stride_h != down) return nullptr;
    }
    if (g.stride_w != 1) {
      x = static_cast<int>(g.by_stride_w.quotient(right));
      if (x * g.stride_w != right) return nullptr;
    }
    const bool inside = y < g.oh && x < g.ow;
    return inside ? p + (r.image + static_cast<long long>(y) * g.ow + x) * g.o + d.at.low : nullptr;
  }
  __device__ void shift(long long offset) { p += offset; }
};

template <class T>
struct TapWeight {
  using Element = T;
  const T* p;
  ConvGeometry g;
  // From one output channel, kernel row and kernel column to the next.
  long long o_stride, down, across;

  struct Row {
    int channel;  // -1 outside
  };
  using Depth = Counter;  // kernel row, kernel column, output channel
  __device__ Row row(long long r) const { return {r < g.cg ? static_cast<int>(r) : -1}; }
  __device__ Depth depth(long long at, int step) const { return counter(at, step, g.kw, g.og); }
  __device__ void advance(Depth& d) const { d.advance(g.kw, g.og); }
  __device__ const T* at(const Row& r, const Depth& d) const {
    if (r.channel < 0 || d.at.high >= g.kh) return nullptr;
    return p + d.at.low * o_stride + d.at.high * down + d.at.mid * across + r.channel;
  }
  __device__ void shift(long long offset) { p += offset; }
};

}  // namespace ingot::cuda::tile
