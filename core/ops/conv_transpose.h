// Transposed convolution (torch.nn.functional.conv_transpose2d, ONNX ConvTranspose).
//
//   y[n, g O/G + o, i s - p + k d, j s - p + l d] += w[g C/G + c, o, k, l] x[n, g C/G + c, i, j], then + b
//
// x[N, C, H, W], weight[C, O/groups, KH, KW], bias[O] -> y[N, O, OH, OW], OH = (H - 1) s - 2 p + d (KH - 1) +
// output_padding + 1. It is the gradient of conv2d by its input, so no op of its own: one conv2d_grad_input,
// whose gradients are conv2d and conv2d_grad_weight, and where there is a bias an addition, which fuses with
// what follows. output_padding is smaller than the stride or the dilation, as in PyTorch.
//
// Errors: ShapeError when ranks, dtypes or channels do not fit or nothing is left of the output, UsageError
// for a stride, dilation or group count below 1, a negative padding, or too much output_padding.
//
//   Value y = conv_transpose2d(x, w, {.stride = {2, 2}, .padding = {1, 1}, .output_padding = {1, 1}});
#pragma once

#include <array>
#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct ConvTranspose2dArgs {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, output_padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
};

Value conv_transpose2d(Value x, Value weight, const ConvTranspose2dArgs& args = {},
                       SourceLoc loc = SourceLoc::current());
// An empty bias means none.
Value conv_transpose2d(Value x, Value weight, Value bias, const ConvTranspose2dArgs& args,
                       SourceLoc loc = SourceLoc::current());

}  // namespace ingot
