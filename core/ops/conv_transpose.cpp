#include "core/ops/conv_transpose.h"

#include <algorithm>

#include "core/ops/compose.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

void check(const ops::Composed& call, Value x, Value w, Value bias, const ConvTranspose2dArgs& a) {
  if (x.rank() != 4 || w.rank() != 4)
    call.refuse(cat("x [N, C, H, W] and weight [C, O/groups, KH, KW] must have rank 4, got ",
                    to_string(x.type()), " and ", to_string(w.type())));
  for (const std::size_t i : {0u, 1u}) {
    if (a.stride[i] < 1 || a.dilation[i] < 1 || a.padding[i] < 0 || a.output_padding[i] < 0)
      call.refuse_use(cat("stride (", join(a.stride), ") and dilation (", join(a.dilation),
                          ") must be 1 or more, padding (", join(a.padding), ") and output_padding (",
                          join(a.output_padding), ") 0 or more"));
    if (a.output_padding[i] >= std::max(a.stride[i], a.dilation[i]))
      call.refuse_use(cat("output_padding (", join(a.output_padding), ") must be smaller than the stride (",
                          join(a.stride), ") or the dilation (", join(a.dilation), ")"));
  }
  if (a.groups < 1) call.refuse_use(cat("groups must be 1 or more, got ", a.groups));
  if (w.dim(0) != x.dim(1) || x.dim(1) % a.groups != 0)
    call.refuse(cat("weight ", to_string(w.shape()), " expects ", w.dim(0), " input channels in ", a.groups,
                    " groups, the input ", to_string(x.shape()), " has ", x.dim(1),
                    "; a weight is [C, O/groups, KH, KW]"));
  const TensorType expected{x.dtype(), {w.dim(1) * a.groups}};
  if (bias.defined() && bias.type() != expected)
    call.refuse(cat("bias must be ", to_string(expected), ", one number per output channel, got ",
                    to_string(bias.type())));
}

}  // namespace

Value conv_transpose2d(Value x, Value weight, const ConvTranspose2dArgs& args, SourceLoc loc) {
  return conv_transpose2d(x, weight, Value{}, args, std::move(loc));
}

Value conv_transpose2d(Value x, Value weight, Value bias, const ConvTranspose2dArgs& a, SourceLoc loc) {
  const ops::Composed call(x, "conv_transpose2d", loc);
  check(call, x, weight, bias, a);
  Conv2dGradInputAttrs at;
  at.stride = a.stride;
  at.padding = a.padding;
  at.dilation = a.dilation;
  at.groups = a.groups;
  at.input_shape = Shape{x.dim(0), weight.dim(1) * a.groups, 0, 0};
  // A convolution of the output would see more than x's pixels where output_padding reaches a whole stride:
  // that many rows of zeros behind x make up for it.
  std::vector<std::int64_t> none(4, 0), behind(4, 0);
  for (const std::size_t i : {0u, 1u}) {
    const int axis = static_cast<int>(i) + 2;
    behind[i + 2] = a.output_padding[i] / a.stride[i];
    at.input_shape[axis] = (x.dim(axis) - 1) * a.stride[i] - 2 * a.padding[i] +
                           a.dilation[i] * (weight.dim(axis) - 1) + a.output_padding[i] + 1;
    if (x.dim(axis) < 1 || at.input_shape[axis] < 1)
      call.refuse(cat("nothing is left of the output, ", to_string(at.input_shape), ", of input ",
                      to_string(x.shape()), " and weight ", to_string(weight.shape()),
                      "; use less padding or a larger kernel"));
  }
  if (behind != none) x = pad(x, none, behind);
  const Value y = conv2d_grad_input(x, weight, at);
  return bias.defined() ? add(y, reshape(bias, {at.input_shape[1], 1, 1})) : y;
}

}  // namespace ingot
