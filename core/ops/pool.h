// Two-dimensional pooling and its gradients.
//
//   max_pool2d                x -> y, offset
//   max_pool2d_grad           (dy, offset) -> dx
//   avg_pool2d                x -> y                 avg_pool2d_grad           dy -> dx
//   adaptive_avg_pool2d       x -> y                 adaptive_avg_pool2d_grad  dy -> dx
//
// x[N, C, H, W], floating. Pairs are (height, width) in pixels. Windows and output sizes are PyTorch's: the
// output is floor((H + 2 p - d (K - 1) - 1) / s) + 1 high; with ceil_mode the division rounds up, but a
// window that would start beyond the input and its leading padding is dropped. Padding is at most half a
// window; it never wins a maximum, and it counts in the divisor of an average when count_include_pad is set
// (cells beyond the padding, which ceil_mode reaches, never do). Adaptive pooling averages rows floor(i H /
// OH) up to ceil((i + 1) H / OH) - 1.
//
// offset is the position of the maximum inside its window, row * KW + column: u8, or i32 when the window has
// more than 256 cells. The first maximum in row order wins, NaN wins over all. It makes the gradient a
// gather-free, deterministic sum.
//
// Average pooling is linear, so its gradients can be differentiated again; max_pool2d_grad cannot. Cost: one
// flop per window cell read, one per output of the gradients of maxima. Errors: ShapeError when ranks, dtypes
// or windows do not fit; UsageError for sizes below 1 or padding beyond half a window.
//
//   Value y = max_pool2d(x, {.kernel = {2, 2}, .stride = {2, 2}});
//   Value z = adaptive_avg_pool2d(x, {1, 1});
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

struct MaxPool2dAttrs {
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0}, dilation{1, 1};
  bool ceil_mode = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("kernel", s.kernel);
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("ceil_mode", s.ceil_mode);
  }
};

struct MaxPool2dGradAttrs {
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0}, dilation{1, 1};
  bool ceil_mode = false;
  Shape input_shape{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("kernel", s.kernel);
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("ceil_mode", s.ceil_mode);
    v("input_shape", s.input_shape);
  }
};

struct AvgPool2dAttrs {
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0};
  bool ceil_mode = false, count_include_pad = true;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("kernel", s.kernel);
    v("stride", s.stride);
    v("padding", s.padding);
    v("ceil_mode", s.ceil_mode);
    v("count_include_pad", s.count_include_pad);
  }
};

struct AvgPool2dGradAttrs {
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0};
  bool ceil_mode = false, count_include_pad = true;
  Shape input_shape{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("kernel", s.kernel);
    v("stride", s.stride);
    v("padding", s.padding);
    v("ceil_mode", s.ceil_mode);
    v("count_include_pad", s.count_include_pad);
    v("input_shape", s.input_shape);
  }
};

struct AdaptiveAvgPool2dAttrs {
  std::array<std::int64_t, 2> output_size{1, 1};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("output_size", s.output_size);
  }
};

struct AdaptiveAvgPool2dGradAttrs {
  std::array<std::int64_t, 2> output_size{1, 1};
  Shape input_shape{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("output_size", s.output_size);
    v("input_shape", s.input_shape);
  }
};

// The pooled values; the offsets are output 1 of the same node.
Value max_pool2d(Value x, const MaxPool2dAttrs& attrs, SourceLoc loc = SourceLoc::current());
Value max_pool2d_grad(Value dy, Value offset, const MaxPool2dGradAttrs& attrs,
                      SourceLoc loc = SourceLoc::current());
Value avg_pool2d(Value x, const AvgPool2dAttrs& attrs, SourceLoc loc = SourceLoc::current());
Value avg_pool2d_grad(Value dy, const AvgPool2dGradAttrs& attrs, SourceLoc loc = SourceLoc::current());
Value adaptive_avg_pool2d(Value x, std::array<std::int64_t, 2> output_size,
                          SourceLoc loc = SourceLoc::current());
Value adaptive_avg_pool2d_grad(Value dy, const AdaptiveAvgPool2dGradAttrs& attrs,
                               SourceLoc loc = SourceLoc::current());

// Windows along one axis; 0 or less when none fits.
std::int64_t pool_output_size(std::int64_t input, std::int64_t kernel, std::int64_t stride,
                              std::int64_t padding, std::int64_t dilation, bool ceil_mode);

}  // namespace ingot
