// The gradient of a strided convolution's input as convolutions of stride 1. For .cu files.
//
// Output pixel i reaches input pixel r = i s - p + k d. Of all taps k only those with r + p - k d a multiple
// of s count, and which they are depends on r mod s alone. So input pixels r = phase + s r' make a
// convolution of their own: its taps are every step-th from a first one on, and i = r' + shift - q dilation
// for tap number q. Taken together, nothing is computed that is known to be zero, which for stride 2 saves
// three quarters.
//
//   for (const ConvPhase& phase : grad_input_phases(g)) ...      // phase.geometry has stride 1
#pragma once

#include <numeric>
#include <vector>

#include "cuda/kernels/conv_geometry.h"

namespace ingot::cuda {

struct ConvPhase {
  ConvGeometry geometry;         // h, w: pixels of the phase; kh, kw: its taps (none: the gradient is zero)
  int top = 0, left = 0;         // its first pixel
  int first_h = 0, first_w = 0;  // its first tap
  int step_h = 1, step_w = 1;    // from one of its taps to the next
};

namespace detail {

struct AxisPhase {
  int pixels = 0, first = 0, step = 1, taps = 0, shift = 0, dilation = 1;
};
inline AxisPhase axis_phase(int phase, int size, int kernel, int stride, int pad, int dilation) {
  AxisPhase a;
  a.pixels = (size - phase + stride - 1) / stride;
  a.step = stride / std::gcd(stride, dilation);
  while (a.first < kernel && (phase + pad - a.first * dilation) % stride != 0) ++a.first;
  if (a.first == kernel) return a;
  a.taps = (kernel - a.first + a.step - 1) / a.step;
  a.shift = (phase + pad - a.first * dilation) / stride;
  a.dilation = a.step * dilation / stride;
  return a;
}

}  // namespace detail

// One phase, the whole, where the stride is 1 or has so many phases that launches would outweigh the sums.
inline std::vector<ConvPhase> grad_input_phases(const ConvGeometry& g) {
  constexpr int kMostPhases = 16;
  if (g.stride_h == 1 && g.stride_w == 1) return {{g}};
  if (static_cast<long long>(g.stride_h) * g.stride_w > kMostPhases) return {{g}};
  std::vector<ConvPhase> phases;
  for (int top = 0; top < g.stride_h && top < g.h; ++top)
    for (int left = 0; left < g.stride_w && left < g.w; ++left) {
      const auto h = detail::axis_phase(top, g.h, g.kh, g.stride_h, g.pad_h, g.dilation_h);
      const auto w = detail::axis_phase(left, g.w, g.kw, g.stride_w, g.pad_w, g.dilation_w);
      ConvPhase p{g, top, left, h.first, w.first, h.step, w.step};
      ConvGeometry& q = p.geometry;
      q.h = h.pixels, q.kh = h.taps, q.pad_h = h.shift, q.dilation_h = h.dilation;
      q.w = w.pixels, q.kw = w.taps, q.pad_w = w.shift, q.dilation_w = w.dilation;
      q.stride_h = q.stride_w = 1;
      phases.push_back(p);
    }
  return phases;
}

}  // namespace ingot::cuda
