// Convolutions whose output has few channels, and their data gradients, by the planar kernel
// (cpu/simd/conv_kernels.h): stride 1, no dilation, one group, channels-last f32 images.
//
//   PlanarProblem q{p.in(0), p.in(1), p.out()};
//   q.top = q.left = 2;
//   if (auto step = make_planar(q, threads)) return step;   // else: a vector over channels is the better
//   choice
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

}  // namespace ingot::cpu
