#include "core/ops/box_loss.h"

#include "core/ops/compose.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

Value generalized_box_iou_loss(Value boxes, Value target, const BoxLossOptions& o, SourceLoc loc) {
  const ops::Composed call(boxes, "generalized_box_iou_loss", loc);
  if (!(boxes.shape() == target.shape()) || boxes.dtype() != target.dtype())
    call.refuse(cat("boxes and target must have one type, got ", to_string(boxes.type()), " and ",
                    to_string(target.type())));
  call.require_floating(boxes, "boxes");
  const int axis = call.axis_of(boxes, o.axis);
  if (boxes.dim(axis) != 4)
    call.refuse(cat("axis ", axis, " must hold left, top, right and bottom, got ", to_string(boxes.type())));
  const auto corner = [&](Value v, std::int64_t i) { return slice(v, axis, i, i + 1); };
  const Value l1 = corner(boxes, 0), t1 = corner(boxes, 1), r1 = corner(boxes, 2), b1 = corner(boxes, 3);
  const Value l2 = corner(target, 0), t2 = corner(target, 1), r2 = corner(target, 2), b2 = corner(target, 3);
  const Value inter =
      mul(relu(sub(minimum(r1, r2), maximum(l1, l2))), relu(sub(minimum(b1, b2), maximum(t1, t2))));
  const Value areas = add(mul(sub(r1, l1), sub(b1, t1)), mul(sub(r2, l2), sub(b2, t2)));
  const Value both = sub(areas, inter);
  const Value around = mul(sub(maximum(r1, r2), minimum(l1, l2)), sub(maximum(b1, b2), minimum(t1, t2)));
  const Value giou = sub(div(inter, add(both, o.eps)), div(sub(around, both), add(around, o.eps)));
  const Value each = sub(1.0, giou);
  if (o.reduction == Reduction::None) return each;
  return o.reduction == Reduction::Sum ? sum(each) : mean(each);
}

}  // namespace ingot
