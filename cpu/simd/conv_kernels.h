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

// One image of a data gradient, stride 1: dx[i + a - top, j + b - left, c] += sum over o of dy[i, j, o]
// weight[a, o, b * c + c']. The lanes are the run of kw * c floats that one pixel of dy adds to, `vectors` of
// them; the weight's rows are filled up to whole vectors with zeros. `block` pixels of dy are multiplied
// together.
struct SpreadConv {
  static constexpr std::int64_t kMaxVectors = 4, kMaxWidth = 16;
  std::int64_t o = 0, h = 0, w = 0;    // dy
  std::int64_t c = 0, xh = 0, xw = 0;  // dx
  std::int64_t kh = 0, kw = 0, top = 0, left = 0;
  std::int64_t vectors = 0, block = 0;

  // A row of sums: every column that a pixel of dy reaches, the padding's too.
  std::int64_t row_floats() const { return ((w + kw - 1) * c + kMaxWidth - 1) / kMaxWidth * kMaxWidth; }
  // A pixel's run with a vector of zeros before it and after it.
  std::int64_t run_floats() const { return (vectors + 2) * kMaxWidth; }
  std::int64_t scratch_floats() const { return xh * row_floats() + w * run_floats(); }
};

// The weight gradient of a PlanarConv: sums[o, c, a, b] += sum over i, j of dy[i, j, o] x[c, i + a - top, j +
// b - left], where each sum is a vector of kMaxWidth floats, to be added up in the end.
struct PlanarGradScratch {
  static std::int64_t dy_pitch(const PlanarConv& p) {
    return (p.ow + PlanarConv::kMaxWidth - 1) / PlanarConv::kMaxWidth * PlanarConv::kMaxWidth;
  }
  static std::int64_t floats(const PlanarConv& p) { return p.scratch_floats() + p.o * p.oh * dy_pitch(p); }
};

struct ConvKernels {
  std::int64_t width;  // floats of a vector
  void (*planar)(const PlanarConv& p, const float* x, const float* weight, const float* bias, bool relu,
                 float* y, float* scratch);
  void (*planar_grad_weight)(const PlanarConv& p, const float* x, const float* dy, float* sums,
                             float* scratch);
  // Pixels that may be multiplied together with so many vectors a run; 0: the kernel is not made for it.
  std::int64_t (*spread_block)(std::int64_t vectors, std::int64_t w);
  void (*spread)(const SpreadConv& p, const float* dy, const float* weight, float* dx, float* scratch);
  // sums[rows][lanes] += sum over pixels p of a[p][row] b[p][lane]. Rows are a multiple of outer_rows, lanes
  // of the width.
  std::int64_t outer_rows;
  void (*outer_sums)(const float* a, std::int64_t rows, const float* b, std::int64_t lanes,
                     std::int64_t pixels, float* sums);
};

const ConvKernels& conv_kernels(CpuLevel level);

}  // namespace ingot::cpu
