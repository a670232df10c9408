// Space and channels exchanged: pixel_shuffle and pixel_unshuffle (torch.nn.functional; ONNX DepthToSpace in
// mode CRD, and its inverse).
//
// Both are one transpose between two reshapes, so each is the other's gradient, and any dtype serves.
//
//   Value y = pixel_shuffle(conv(x), 2);        // [N, 4 C, H, W] -> [N, C, 2 H, 2 W]  (arXiv 1609.05158)
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

// x[N, C r^2, H, W] -> [N, C, H r, W r]: channel c r^2 + i r + j is pixel (i, j) of each square of channel c.
// Throws ShapeError where r^2 does not divide the channels.
Value pixel_shuffle(Value x, std::int64_t upscale_factor, SourceLoc loc = SourceLoc::current());
// x[N, C, H r, W r] -> [N, C r^2, H, W].
Value pixel_unshuffle(Value x, std::int64_t downscale_factor, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
