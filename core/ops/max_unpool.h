// Max pooling with the places of the maxima, and its inverse (torch.nn.functional.max_pool2d with
// return_indices, max_unpool2d; ONNX MaxPool's second output and MaxUnpool).
//
// Indices are i64 and count the pixels of one channel's image row by row, row * W + column. They are worked
// out from the offsets that max_pool2d keeps anyway, in one fused pass over the pooled image.
//
//   const PooledWithIndices p = max_pool2d_with_indices(x, {.kernel = {2, 2}, .stride = {2, 2}});
//   Value y = max_unpool2d(decoder(p.values), p.indices, {.kernel = {2, 2}, .stride = {2, 2}});
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/op/builder.h"
#include "core/ops/pool.h"

namespace ingot {

struct PooledWithIndices {
  Value values, indices;
};
// A window that lies in padding altogether, as dilated ones may, has an index that means nothing.
PooledWithIndices max_pool2d_with_indices(Value x, const MaxPool2dAttrs& attrs,
                                          SourceLoc loc = SourceLoc::current());

struct MaxUnpool2dArgs {
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0};
  std::optional<std::array<std::int64_t, 2>> output_size{};  // default: (H - 1) stride - 2 padding + kernel
};
// x[N, C, H, W] and indices of that shape -> zeros [N, C, OH, OW] with x at the indices. Of several values
// for one place, which overlapping windows give, one stays, and which one is left open; the gradient reads at
// all. Throws ShapeError for other types, an index outside of the image is an error as in put_along_axis().
Value max_unpool2d(Value x, Value indices, const MaxUnpool2dArgs& args = {},
                   SourceLoc loc = SourceLoc::current());

}  // namespace ingot
