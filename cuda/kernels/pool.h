// Two-dimensional pooling of channels-last images and its gradients: launches of the kernels in
// max_pool.cu and average_pool.cu. What they compute is defined in core/ops/pool.h.
//
// x is [images, h.in, w.in, channels] in memory, y [images, h.out, w.out, channels]; both f32, f16 or bf16,
// computed in f32. Offsets are u8 where the window has up to 256 cells, else i32. Pointers are aligned to
// their element; 16 bytes move at a time where the number of channels and all pointers allow it. Results and
// operands do not overlap. Gradients are gathered, window by window in a fixed order, without atomics.
//
//   const PoolAxis side{.in = 112, .out = 56, .kernel = 3, .stride = 2, .padding = 1};
//   max_pool(DType::BF16, {.images = 32, .channels = 64, .h = side, .w = side}, x, y, offset, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// One axis of the windows, in pixels; `out` as pool_output_size() gives it.
struct PoolAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
};

struct PoolShape {
  std::int64_t images = 1, channels = 1;
  PoolAxis h{}, w{};
  bool count_include_pad = true;  // averages: the divisor counts padding
  bool adaptive = false;          // averages: windows follow from in and out alone
};

// All throw UsageError for another dtype, and ShapeError for sizes, windows included, beyond
// 2^30 pixels or 2^20 channels.
void max_pool(DType dtype, const PoolShape& shape, const void* x, void* y, void* offset,
              const Stream& stream);
void max_pool_grad(DType dtype, const PoolShape& shape, const void* dy, const void* offset, void* dx,
                   const Stream& stream);
void average_pool(DType dtype, const PoolShape& shape, const void* x, void* y, const Stream& stream);
void average_pool_grad(DType dtype, const PoolShape& shape, const void* dy, void* dx, const Stream& stream);

}  // namespace ingot::cuda
