// Vector kernels of convolutions with few channels. Serial, f32, channels-last images;
// threads are the callers' matter.
//
// A convolution whose output has fewer channels than a vector has lanes wastes most of each vector when the
// lanes are channels. Here the lanes are neighbouring columns: the image is split into zero-padded planes,
// one per channel, and each tap multiplies a shifted row with one number.
//
//   const ConvKernels& k = conv_kernels(cpu_level());
//   k.planar(shape, image, weight, bias, true, y, scratch);
#pragma once

#include <cstdint>

#include "cpu/simd/level.h"

namespace ingot::cpu {

// One image: y[o, i, j] = sum over c, a, b of x[c, i + a - top, j + b - left] weight[c, a, b, o]; pixels
// outside the image are 0. o is 1 to 8 and oh at least kRows.
struct PlanarConv {
  static constexpr std::int64_t kRows = 4;  // output rows computed together, at most
  static constexpr std::int64_t kMaxOutputs = 8;
  static constexpr std::int64_t kMaxWidth = 16;  // lanes of the widest vector
  std::int64_t c = 0, h = 0, w = 0;
  std::int64_t o = 0, oh = 0, ow = 0;
  std::int64_t kh = 0, kw = 0, top = 0, left = 0;

  std::int64_t plane_rows() const { return oh + kh - 1; }
  std::int64_t pitch() const { return (ow + kMaxWidth - 1) / kMaxWidth * kMaxWidth + kw - 1; }
  std::int64_t scratch_floats() const { return c * plane_rows() * pitch(); }
};

struct ConvKernels {
  std::int64_t width;  // floats of a vector
  void (*planar)(const PlanarConv& p, const float* x, const float* weight, const float* bias, bool relu,
                 float* y, float* scratch);
};

const ConvKernels& conv_kernels(CpuLevel level);

}  // namespace ingot::cpu
