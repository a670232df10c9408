#include "core/ops/max_unpool.h"

#include "core/ops/compose.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/view.h"

namespace ingot {

PooledWithIndices max_pool2d_with_indices(Value x, const MaxPool2dAttrs& a, SourceLoc loc) {
  const ops::Composed call(x, "max_pool2d_with_indices", loc);
  const Value operands[] = {x};
  const std::vector<Value> pooled = apply("max_pool2d", operands, a);
  const Value place = cast(pooled[1], DType::I64);  // in its window, row * kernel width + column
  const auto width = static_cast<double>(a.kernel[1]);
  const Value k = div(place, width), l = sub(place, mul(k, width));
  // Where window i starts along one axis.
  const auto starts = [&](std::size_t axis) {
    const Value i = iota(x.graph(), pooled[0].dim(static_cast<int>(axis) + 2));
    return sub(mul(i, static_cast<double>(a.stride[axis])), static_cast<double>(a.padding[axis]));
  };
  const Value row = add(unsqueeze(starts(0), 1), mul(k, static_cast<double>(a.dilation[0])));
  const Value column = add(starts(1), mul(l, static_cast<double>(a.dilation[1])));
  return {pooled[0], add(mul(row, static_cast<double>(x.dim(3))), column)};
}

Value max_unpool2d(Value x, Value indices, const MaxUnpool2dArgs& a, SourceLoc loc) {
  const ops::Composed call(x, "max_unpool2d", loc);
  if (x.rank() != 4 || !(indices.shape() == x.shape()))
    call.refuse(cat("x [N, C, H, W] and indices must have one shape of rank 4, got ", to_string(x.type()),
                    " and ", to_string(indices.type())));
  std::array<std::int64_t, 2> size{};
  for (const std::size_t i : {0u, 1u})
    size[i] = (x.dim(static_cast<int>(i) + 2) - 1) * a.stride[i] - 2 * a.padding[i] + a.kernel[i];
  if (a.output_size) size = *a.output_size;
  const std::int64_t pixels = x.dim(2) * x.dim(3);
  if (size[0] < 1 || size[1] < 1 || size[0] * size[1] < pixels)
    call.refuse(cat("an image of ", size[0], " x ", size[1], " pixels has no place for the ", pixels, " of ",
                    to_string(x.type()), "; give the output_size that was pooled"));
  const Shape planes{x.dim(0), x.dim(1), pixels};
  const Value y = put_along_axis(reshape(x, planes), reshape(indices, planes), 2, size[0] * size[1]);
  return reshape(y, {x.dim(0), x.dim(1), size[0], size[1]});
}

}  // namespace ingot
