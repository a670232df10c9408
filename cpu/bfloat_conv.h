// The weight gradient of a convolution in bf16, by the kernels of cpu/simd/conv_bf16_kernels.h: any stride,
// dilation and window, channels in whole vectors, one group, channels-last images. Null elsewhere.
//
//   if (auto step = make_bfloat_grad_weight(p.in(0), p.in(1), p.out(), window, threads)) return step;
#pragma once

#include <array>
#include <memory>

#include "core/runtime/step.h"

namespace ingot::cpu {

struct Window {
  std::array<std::int64_t, 2> stride, padding, dilation;
};

// Operands x and dy; dw in any layout.
std::unique_ptr<Step> make_bfloat_grad_weight(const TensorType& x, const TensorType& dy, const TensorType& dw,
                                              Window window, int threads);

}  // namespace ingot::cpu
