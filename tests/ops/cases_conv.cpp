#include "core/ops/conv.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(conv) {
  // One geometry, checked for the three ops.
  struct Geometry {
    std::string name;
    Shape x, w, y;
    Conv2dAttrs at;
  };
  const std::vector<Geometry> geometries{
      {"plain", {2, 3, 5, 6}, {4, 3, 3, 3}, {2, 4, 3, 4}, {}},
      {"same", {1, 2, 5, 5}, {3, 2, 3, 3}, {1, 3, 5, 5}, {.padding = {1, 1}}},
      {"stride", {2, 2, 7, 8}, {3, 2, 3, 3}, {2, 3, 4, 4}, {.stride = {2, 2}, .padding = {1, 1}}},
      {"uneven", {1, 2, 6, 9}, {3, 2, 2, 5}, {1, 3, 3, 5}, {.stride = {2, 2}, .padding = {0, 2}}},
      {"dilation", {1, 2, 8, 7}, {2, 2, 3, 2}, {1, 2, 6, 5}, {.padding = {1, 0}, .dilation = {2, 2}}},
      {"groups", {2, 4, 5, 5}, {6, 2, 3, 3}, {2, 6, 3, 3}, {.groups = 2}},
      {"depthwise", {2, 3, 6, 5}, {3, 1, 3, 3}, {2, 3, 6, 5}, {.padding = {1, 1}, .groups = 3}},
      {"depthwise_twice",
       {1, 3, 6, 6},
       {6, 1, 3, 3},
       {1, 6, 3, 3},
       {.stride = {2, 2}, .padding = {1, 1}, .groups = 3}},
      {"pointwise", {2, 5, 4, 3}, {3, 5, 1, 1}, {2, 3, 4, 3}, {}},
      {"pointwise_stride", {2, 4, 5, 5}, {3, 4, 1, 1}, {2, 3, 3, 3}, {.stride = {2, 2}}},
      {"whole_image", {2, 3, 4, 5}, {4, 3, 4, 5}, {2, 4, 1, 1}, {}},
      {"mixed",
       {1, 4, 9, 8},
       {4, 2, 3, 2},
       {1, 4, 4, 9},
       {.stride = {2, 1}, .padding = {1, 1}, .dilation = {2, 1}, .groups = 2}},
  };
  for (const auto& g : geometries) {
    add({.op = "conv2d",
         .name = g.name,
         .attrs = g.at,
         .inputs = {uniform(g.x), uniform(g.w)},
         .shapes = {g.y}});
    Conv2dGradInputAttrs gi;
    gi.stride = g.at.stride;
    gi.padding = g.at.padding;
    gi.dilation = g.at.dilation;
    gi.groups = g.at.groups;
    gi.input_shape = g.x;
    add({.op = "conv2d_grad_input",
         .name = g.name,
         .attrs = gi,
         .inputs = {uniform(g.y), uniform(g.w)},
         .shapes = {g.x}});
    Conv2dGradWeightAttrs gw;
    gw.stride = g.at.stride;
    gw.padding = g.at.padding;
    gw.dilation = g.at.dilation;
    gw.groups = g.at.groups;
    gw.weight_shape = g.w;
    add({.op = "conv2d_grad_weight",
         .name = g.name,
         .attrs = gw,
         .inputs = {uniform(g.x), uniform(g.y)},
         .shapes = {g.w},
         .tolerance = 3e-5});
  }

  add({.op = "conv2d",
       .name = "by_hand",
       .attrs = Conv2dAttrs{.padding = {1, 0}},
       .inputs = {values({1, 1, 2, 2}, {1, 2, 3, 4}), values({1, 1, 2, 1}, {10, 1})},
       .shapes = {{1, 1, 3, 2}},
       .expected = {{1, 2, 13, 24, 30, 40}}});
  add({.op = "conv2d",
       .name = "bias",
       .attrs = Conv2dAttrs{.padding = {1, 1}, .has_bias = true},
       .inputs = {uniform({2, 3, 4, 4}), uniform({4, 3, 3, 3}), uniform({4})},
       .shapes = {{2, 4, 4, 4}}});
  add({.op = "conv2d",
       .name = "bias_residual",
       .attrs = Conv2dAttrs{.has_bias = true, .has_residual = true},
       .inputs = {uniform({1, 2, 4, 4}), uniform({3, 2, 3, 3}), uniform({3}), uniform({1, 3, 2, 2})},
       .shapes = {{1, 3, 2, 2}}});
  add({.op = "conv2d",
       .name = "bias_relu",
       .attrs = Conv2dAttrs{.has_bias = true, .activation = "relu"},
       .inputs = {uniform({1, 2, 4, 4}), uniform({3, 2, 3, 3}), uniform({3})},
       .shapes = {{1, 3, 2, 2}},
       .gradient = false});
  add({.op = "conv2d",
       .name = "residual_relu",
       .attrs = Conv2dAttrs{.stride = {2, 2}, .padding = {1, 1}, .has_residual = true, .activation = "relu"},
       .inputs = {uniform({2, 4, 6, 6}), uniform({5, 4, 3, 3}), uniform({2, 5, 3, 3})},
       .shapes = {{2, 5, 3, 3}},
       .gradient = false});
  add({.op = "conv2d",
       .name = "relu6_by_hand",
       .attrs = Conv2dAttrs{.has_bias = true, .activation = "relu6"},
       .inputs = {values({1, 1, 2, 2}, {-1, 1, 2, 3}), values({1, 1, 1, 1}, {2}), values({1}, {1})},
       .shapes = {{1, 1, 2, 2}},
       .expected = {{0, 3, 5, 6}},
       .gradient = false});
  // The channels of a GPU's own kernels for all channels, for each alone, and of its product.
  for (const std::int64_t groups : {1, 8})
    for (const std::int64_t kernel : {1, 3})
      for (const char* activation : {"relu6", "silu", "hard_swish"})
        add({.op = "conv2d",
             .name = cat("groups_", groups, "_kernel_", kernel, "_", activation),
             .attrs = Conv2dAttrs{.padding = {kernel / 2, kernel / 2},
                                  .groups = groups,
                                  .has_bias = true,
                                  .has_residual = true,
                                  .activation = activation},
             .inputs = {uniform({2, 8, 4, 5}), uniform({8, 8 / groups, kernel, kernel}),
                        uniform({8}, -1.0, 5.0), uniform({2, 8, 4, 5})},
             .shapes = {{2, 8, 4, 5}},
             .gradient = false});
  add({.op = "conv2d",
       .name = "residual_silu",
       .attrs = Conv2dAttrs{.has_residual = true, .activation = "silu"},
       .inputs = {uniform({1, 2, 4, 4}), uniform({3, 2, 3, 3}), uniform({1, 3, 2, 2})},
       .shapes = {{1, 3, 2, 2}},
       .gradient = false});

  add_error(
      {.op = "conv2d",
       .name = "channels",
       .inputs = {f32({1, 3, 8, 8}), f32({4, 2, 3, 3})},
       .message =
           "expects 2 input channels (2 x 1 groups), the input [1, 3, 8, 8] has 3; give a weight of shape "
           "[4, 3, 3, 3]"});
  add_error({.op = "conv2d",
             .name = "groups",
             .attrs = Conv2dAttrs{.groups = 2},
             .inputs = {f32({1, 3, 8, 8}), f32({4, 2, 3, 3})},
             .message = "groups 2 must divide"});
  add_error({.op = "conv2d",
             .name = "kernel",
             .attrs = Conv2dAttrs{.dilation = {1, 4}},
             .inputs = {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})},
             .message = "spans 9 pixels of width but the padded input has 8"});
  add_error({.op = "conv2d",
             .name = "rank",
             .inputs = {f32({3, 8, 8}), f32({4, 3, 3, 3})},
             .message = "x [N, C, H, W]"});
  add_error({.op = "conv2d",
             .name = "stride",
             .attrs = Conv2dAttrs{.stride = {0, 1}},
             .inputs = {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})},
             .message = "stride must be 1 or more, got (0, 1)"});
  add_error({.op = "conv2d",
             .name = "padding",
             .attrs = Conv2dAttrs{.padding = {0, -1}},
             .inputs = {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})},
             .message = "padding must be 0 or more"});
  add_error({.op = "conv2d",
             .name = "operands",
             .attrs = Conv2dAttrs{.has_bias = true},
             .inputs = {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})},
             .message = "expects 3 operands"});
  add_error({.op = "conv2d",
             .name = "dtype",
             .inputs = {f32({1, 3, 8, 8}), {DType::F64, {4, 3, 3, 3}}},
             .message = "must be f32, got f64"});
  add_error({.op = "conv2d_grad_input",
             .name = "dy",
             .attrs = Conv2dGradInputAttrs{.input_shape = {1, 3, 8, 8}},
             .inputs = {f32({1, 4, 5, 6}), f32({4, 3, 3, 3})},
             .message = "[1, 4, 6, 6], got [1, 4, 5, 6]"});
  add_error({.op = "conv2d_grad_weight",
             .name = "dy",
             .attrs = Conv2dGradWeightAttrs{.weight_shape = {4, 3, 3, 3}},
             .inputs = {f32({1, 3, 8, 8}), f32({1, 4, 5, 6})},
             .message = "[1, 4, 6, 6], got [1, 4, 5, 6]"});
}

}  // namespace ingot
