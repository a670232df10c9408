// Two-dimensional convolution (cross-correlation, as torch.nn.functional.conv2d) and its two gradients.
//
//   conv2d             y[n, o, i, j] = act(b[o] + sum_{c, k, l} w[o, c, k, l]
//                        x[n, g C/G + c, i s - p + k d, j s - p + l d] + residual[n, o, i, j]),  g = o /
//                        (O/G)
//   conv2d_grad_input  dx from (dy, w)
//   conv2d_grad_weight dw from (x, dy)
//
// x[N, C, H, W], w[O, C/groups, KH, KW], bias[O], residual of y's shape; one floating dtype. Reads outside of
// x are zero. The output is floor((H + 2 p - d (KH - 1) - 1) / s) + 1 high. stride, padding and dilation are
// pairs (height, width) in pixels. groups == C == O is depthwise convolution. bias, residual and activation
// (core/ops/activation.h) are present only when the attributes say so; gradients must be taken before an
// activation is set. The gradient of the bias is the sum of dy over axes 0, 2 and 3.
//
// The three ops are linear in each operand, and each is made of the other two when differentiated, so second
// derivatives exist.
//
// Cost: 2 N O OH OW (C/groups) KH KW flops for each of the three. Errors: ShapeError when ranks, dtypes or
// channels do not fit or the kernel is larger than the padded input; UsageError for a stride, dilation or
// group count below 1 or a negative padding.
//
//   Value y = conv2d(x, w, {.stride = {2, 2}, .padding = {1, 1}});
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct Conv2dAttrs {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool has_bias = false, has_residual = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("groups", s.groups);
    v("has_bias", s.has_bias);
    v("has_residual", s.has_residual);
    v("activation", s.activation);
  }
};

struct Conv2dGradInputAttrs {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  Shape input_shape{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("groups", s.groups);
    v("input_shape", s.input_shape);
  }
};

struct Conv2dGradWeightAttrs {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  Shape weight_shape{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("groups", s.groups);
    v("weight_shape", s.weight_shape);
  }
};

// The epilogue flags of `attrs` are set from the operands given; an empty bias means none.
Value conv2d(Value x, Value weight, Conv2dAttrs attrs = {}, SourceLoc loc = SourceLoc::current());
Value conv2d(Value x, Value weight, Value bias, Conv2dAttrs attrs, SourceLoc loc = SourceLoc::current());
Value conv2d_grad_input(Value dy, Value weight, const Conv2dGradInputAttrs& attrs,
                        SourceLoc loc = SourceLoc::current());
Value conv2d_grad_weight(Value x, Value dy, const Conv2dGradWeightAttrs& attrs,
                         SourceLoc loc = SourceLoc::current());

// Pixels that a convolution yields along one axis; 0 or less when the kernel does not fit.
std::int64_t conv_output_size(std::int64_t input, std::int64_t kernel, std::int64_t stride,
                              std::int64_t padding, std::int64_t dilation);

}  // namespace ingot
