#include "core/ops/unpooled_conv.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(unpooled_conv) {
  struct Case {
    std::string name;
    Shape x, weight;
    Conv2dAttrs conv;
    MaxPool2dAttrs pool;
  };
  const std::vector<Case> convolutions{
      {"halve", {2, 2, 8, 7}, {3, 2, 3, 3}, {}, {}},
      {"padded", {1, 1, 6, 6}, {2, 1, 5, 5}, {.padding = {2, 2}}, {}},
      {"runs_of_vectors", {1, 6, 8, 8}, {17, 6, 3, 3}, {.padding = {1, 1}}, {}},
      {"overlap", {1, 2, 7, 8}, {3, 2, 2, 3}, {}, {.kernel = {3, 2}, .stride = {2, 1}}},
      {"padded_windows", {1, 2, 5, 5}, {2, 2, 3, 3}, {.padding = {1, 1}}, {.padding = {1, 1}}},
      {"hanging_windows", {1, 2, 7, 7}, {2, 2, 3, 3}, {}, {.ceil_mode = true}},
      {"strides_and_groups", {1, 4, 9, 8}, {4, 2, 3, 2}, {.stride = {2, 1}, .groups = 2}, {}},
      {"dilations", {1, 1, 9, 9}, {2, 1, 2, 2}, {.dilation = {2, 1}}, {.kernel = {2, 2}, .dilation = {2, 1}}},
  };
  for (const auto& c : convolutions) {
    UnpooledConvAttrs at;
    at.set_conv(c.conv);
    Shape y{c.x[0], c.weight[0], 0, 0}, pooled = y;
    for (const int i : {0, 1}) {
      const auto u = static_cast<std::size_t>(i);
      y[2 + i] = conv_output_size(c.x[2 + i], c.weight[2 + i], c.conv.stride[u], c.conv.padding[u],
                                  c.conv.dilation[u]);
      pooled[2 + i] = pool_output_size(y[2 + i], c.pool.kernel[u], c.pool.stride[u], c.pool.padding[u],
                                       c.pool.dilation[u], c.pool.ceil_mode);
    }
    at.set_pool({c.pool.kernel, c.pool.stride, c.pool.padding, c.pool.dilation, c.pool.ceil_mode, y});
    const auto offset = integers(pooled, c.pool.kernel[0] * c.pool.kernel[1], DType::U8);
    add({.op = "conv2d_grad_input_unpooled",
         .name = c.name,
         .attrs = Conv2dGradInputUnpooledAttrs{at, c.x},
         .inputs = {uniform(pooled), offset, uniform(c.weight)},
         .shapes = {c.x}});
    add({.op = "conv2d_grad_weight_unpooled",
         .name = c.name,
         .attrs = Conv2dGradWeightUnpooledAttrs{at, c.weight},
         .inputs = {uniform(c.x), uniform(pooled), offset},
         .shapes = {c.weight}});
  }
  // A 4 x 4 image, a 1 x 1 kernel of 10 and one window of the four that took its last pixel.
  UnpooledConvAttrs at;
  at.pool_input_shape = {1, 1, 4, 4};
  add({.op = "conv2d_grad_input_unpooled",
       .name = "by_hand",
       .attrs = Conv2dGradInputUnpooledAttrs{at, {1, 1, 4, 4}},
       .inputs = {values({1, 1, 2, 2}, {1, 2, 3, 0}), values({1, 1, 2, 2}, {3, 0, 1, 2}, DType::U8),
                  values({1, 1, 1, 1}, {10})},
       .expected = {{0, 0, 20, 0, 0, 10, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0}}});
  const auto u8 = [](const Shape& s) { return TensorType{DType::U8, s}; };
  add_error({.op = "conv2d_grad_input_unpooled",
             .name = "windows_do_not_fit",
             .attrs = Conv2dGradInputUnpooledAttrs{at, {1, 1, 4, 4}},
             .inputs = {f32({1, 1, 3, 2}), u8({1, 1, 3, 2}), f32({1, 1, 1, 1})},
             .message = "dy (as the pooled image)"});
  add_error({.op = "conv2d_grad_weight_unpooled",
             .name = "image_does_not_fit",
             .attrs = Conv2dGradWeightUnpooledAttrs{at, {1, 1, 1, 1}},
             .inputs = {f32({1, 1, 5, 4}), f32({1, 1, 2, 2}), u8({1, 1, 2, 2})},
             .message = "dy must have the shape"});
}

}  // namespace ingot
