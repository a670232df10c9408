// Channels-last images of another size, by nearest pixel or bilinear interpolation, and the gradient:
// launches of the kernels in resize.cu. What they compute is defined in core/ops/resize.h.
//
// x is [images, h.in, w.in, channels] in memory, y [images, h.out, w.out, channels]; both f32, f16 or bf16,
// computed in f32. Pointers are aligned to their element; 16 bytes move at a time where the number of
// channels and both pointers allow it. The gradient is gathered in a fixed order, without atomics.
//
//   const ResizeSide side{.in = 28, .out = 56, .scale = 0.5, .offset = 0.5};
//   resize(DType::BF16, {.images = 32, .channels = 64, .h = side, .w = side}, x, y, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// Output pixel o lies at (o + offset) * scale - offset of the input; offset is 0 or 0.5. Nearest takes pixel
// floor((o + offset) * scale), computed in double, so that it is the reference's.
struct ResizeSide {
  std::int64_t in = 1, out = 1;
  double scale = 1.0, offset = 0.0;
};

struct ResizeShape {
  std::int64_t images = 1, channels = 1;
  ResizeSide h{}, w{};
  bool nearest = false;
};

// Both throw UsageError for another dtype, and ShapeError for sides beyond 2^22 pixels or 2^20 channels.
void resize(DType dtype, const ResizeShape& shape, const void* x, void* y, const Stream& stream);
void resize_grad(DType dtype, const ResizeShape& shape, const void* dy, void* dx, const Stream& stream);

}  // namespace ingot::cuda
