// Convolutions with few channels by the kernels of cpu/simd/conv_kernels.h: stride 1, no dilation, one group,
// channels-last f32 images. Each function returns null where another kernel is the better choice.
//
//   PlanarProblem q{p.in(0), p.in(1), p.out()};
//   q.top = q.left = 2;
//   if (auto step = make_planar(q, threads)) return step;
#pragma once

#include <memory>

#include "core/runtime/step.h"

namespace ingot::cpu {

struct PlanarProblem {
  const TensorType &from, &weight, &to;  // operands 0 and 1 and the result; the weight in any layout
  std::int64_t top = 0, left = 0;        // zeros before the first pixel of `from`
  bool gradient = false;  // weight is [from channels, to channels, ...] and turned by half a circle
  bool has_bias = false;  // operand 2
  bool relu = false;
};

std::unique_ptr<Step> make_planar(const PlanarProblem& q, int threads);

// The gradient of the weight: operands x and dy, the result in any layout; `top` and `left` are the padding.
std::unique_ptr<Step> make_planar_grad_weight(const TensorType& x, const TensorType& dy, const TensorType& dw,
                                              std::int64_t top, std::int64_t left, int threads);

// The data gradient by spreading each pixel of dy: operands dy and the forward weight; `top` and `left` are
// the padding.
std::unique_ptr<Step> make_spread(const TensorType& dy, const TensorType& weight, const TensorType& dx,
                                  std::int64_t top, std::int64_t left, int threads);

}  // namespace ingot::cpu
