// Vector kernels of pooling and of convolutions with few output channels. Serial, f32, channels-last images;
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

// Window i along an axis starts at start[i] (which may lie in the padding) and covers the pixels [begin[i],
// end[i]); pixel h lies in the windows [first[h], last[h]).
struct WindowAxis {
  const std::int64_t *start = nullptr, *begin = nullptr, *end = nullptr, *first = nullptr, *last = nullptr;
};
struct MaxPooling {
  std::int64_t c = 0, w = 0, ow = 0, kw = 0;  // channels, columns in and out, columns of the window
  WindowAxis rows, columns;
  bool columns_apart = false;  // no column lies in two windows
};

// Row i of the output: y and offset, the cell of the window that was taken. Larger wins, then the first; the
// first NaN wins over all. [image, image_end) is what may be read, the image first.
template <class Offset>
using MaxRow = void (*)(const MaxPooling& p, const float* image, const float* image_end, std::int64_t i,
                        float* y, Offset* offset);
// Row h of the gradient of the input, from the gradient and the offsets of one image; `readable` elements of
// each may be read.
template <class Offset>
using MaxGradRow = void (*)(const MaxPooling& p, const float* dy, const Offset* offset, std::int64_t readable,
                            std::int64_t h, float* dx);

struct ConvKernels {
  std::int64_t width;  // floats of a vector
  void (*planar)(const PlanarConv& p, const float* x, const float* weight, const float* bias, bool relu,
                 float* y, float* scratch);
  MaxRow<std::uint8_t> max_row_u8;
  MaxRow<std::int32_t> max_row_i32;
  MaxGradRow<std::uint8_t> max_grad_row_u8;
  MaxGradRow<std::int32_t> max_grad_row_i32;
};

const ConvKernels& conv_kernels(CpuLevel level);

}  // namespace ingot::cpu
