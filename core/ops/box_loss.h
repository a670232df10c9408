// Losses between boxes, composed from ops, with the semantics of torchvision.ops.
//
//   Value loss = generalized_box_iou_loss(boxes, target, {.reduction = Reduction::Mean});
#pragma once

#include <cstdint>

#include "core/op/builder.h"
#include "core/ops/loss.h"

namespace ingot {

struct BoxLossOptions {
  std::int64_t axis = -1;  // along which the four corners lie: left, top, right, bottom
  double eps = 1e-7;       // added to both denominators
  Reduction reduction = Reduction::None;
};

// 1 - GIoU, one loss a box; the axis of the corners stays with size 1. With I and U the areas of intersection
// and union and C that of the least box around both, GIoU = I / U - (C - U) / C (Rezatofighi et al., arXiv
// 1902.09630; torchvision.ops.generalized_box_iou_loss). Both operands have one floating type, and boxes have
// right >= left and bottom >= top. Differentiable in both. Throws ShapeError where the axis has no four
// elements.
Value generalized_box_iou_loss(Value boxes, Value target, const BoxLossOptions& options = {},
                               SourceLoc loc = SourceLoc::current());

}  // namespace ingot
