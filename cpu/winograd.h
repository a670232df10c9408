// 3x3 convolutions with stride 1 and their gradients by Winograd's F(4x4, 3x3); see
// cpu/simd/conv_winograd_kernels.h for the method. Channels-last images in f32 or bf16, channels in multiples
// of 16, no dilation, one group; the functions return null for others, and below AVX2.
//
//   WinogradProblem q{p.in(0), p.in(1), p.out()};
//   q.top = q.left = 1;
//   if (winograd_share(x, y, dtype) < 1) return make_winograd(q, threads);
//
// The taps are evaluated in every run: 7 times as long as reading them, but they change with each training
// step, and kept evaluated they would need four times their memory.
#pragma once

#include <memory>

#include "core/runtime/step.h"

namespace ingot::cpu {

struct WinogradProblem {
  const TensorType &from, &weight, &to;  // operands 0 and 1 and the result; the weight in any layout
  std::int64_t top = 0, left = 0;        // zeros before the first pixel of `from`
  bool gradient = false;  // weight is [from channels, to channels, ...] and turned by half a circle
  bool has_bias = false;  // operand 2
  bool relu = false;
  const TensorType* residual = nullptr;  // the operand after those
};

// What such a convolution between images of x's and y's shape, or a gradient of it, computes of what a direct
// one does, transforms included. Below 1 it is the better choice.
double winograd_share(const Shape& x, const Shape& y, DType dtype);
// The layout in which weights are evaluated fastest, in both directions.
Layout winograd_weight_layout();

std::unique_ptr<Step> make_winograd(const WinogradProblem& q, int threads);

// The gradient of the weight: operands x and dy, the result in any layout; `top` and `left` are the padding.
std::unique_ptr<Step> make_winograd_grad_weight(const TensorType& x, const TensorType& dy,
                                                const TensorType& dw, std::int64_t top, std::int64_t left,
                                                int threads);

}  // namespace ingot::cpu
