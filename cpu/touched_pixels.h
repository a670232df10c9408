// A strided 1x1 convolution as the dense one over the pixels it touches, one in stride^2.
//
// The shortcut of a residual block is such a convolution. oneDNN's strided kernels take several times as long
// for its data gradient, and its jit_1x1 kernels (3.2) write past their scratchpad when such an image is
// channels-last and its channels do not fill a block. So the touched pixels are copied into the workspace, or
// the result over them is spread into zeros, and the dense product does the rest.
//
//   return touched_pixels(std::move(product), Touched::Input, x, {2, 2}, threads);
#pragma once

#include <array>

#include "cpu/onednn.h"

namespace ingot::cpu {

enum class Touched : std::uint8_t { Input, Output };  // which operand 0 of the product is packed

// The channels-last type of the touched pixels of `image`.
TensorType touched_type(const TensorType& image, std::array<std::int64_t, 2> stride);

// `product` works on touched_type(image) where the result works on the channels-last `image`.
std::unique_ptr<Step> touched_pixels(std::unique_ptr<PrimitiveStep> product, Touched side,
                                     const TensorType& image, std::array<std::int64_t, 2> stride,
                                     int threads);

}  // namespace ingot::cpu
