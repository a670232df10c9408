// The gradients of max pooled convolutions (core/ops/unpooled_conv.h) by the kernels of
// cpu/simd/conv_unpool_kernels.h: stride 1, no dilation, one group, channels-last f32 images, windows that
// lie inside the convolution's result. Each function returns null where unpooling first is the better choice.
//
//   if (auto step = make_unpooled_grad_weight(x, dy, dw, attrs, threads)) return step;
#pragma once

#include <memory>

#include "core/ops/unpooled_conv.h"
#include "core/runtime/step.h"

namespace ingot::cpu {

// Operands dy, offset and weight (in any layout); the result is dx.
std::unique_ptr<Step> make_unpooled_grad_input(const TensorType& dy, const TensorType& offset,
                                               const TensorType& weight, const TensorType& dx,
                                               const UnpooledConvAttrs& attrs, int threads);

// Operands x, dy and offset; the result, in any layout, is the weight's gradient.
std::unique_ptr<Step> make_unpooled_grad_weight(const TensorType& x, const TensorType& dy,
                                                const TensorType& offset, const TensorType& dw,
                                                const UnpooledConvAttrs& attrs, int threads);

}  // namespace ingot::cpu
