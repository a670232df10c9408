#include "core/ops/pool.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(pool) {
  struct Max {
    std::string name;
    Shape x, y;
    MaxPool2dAttrs at;
  };
  const std::vector<Max> maxima{
      {"halve", {2, 3, 6, 4}, {2, 3, 3, 2}, {}},
      {"overlap", {2, 2, 7, 6}, {2, 2, 4, 3}, {.kernel = {3, 3}, .padding = {1, 1}}},
      {"odd_floor", {1, 2, 5, 7}, {1, 2, 2, 3}, {}},
      {"odd_ceil", {1, 2, 5, 7}, {1, 2, 3, 4}, {.ceil_mode = true}},
      {"ceil_drops_last", {1, 1, 4, 5}, {1, 1, 3, 3}, {.padding = {1, 1}, .ceil_mode = true}},
      {"uneven", {1, 2, 6, 7}, {1, 2, 5, 3}, {.kernel = {2, 3}, .stride = {1, 2}}},
      {"dilation",
       {1, 2, 8, 7},
       {1, 2, 6, 5},
       {.kernel = {3, 2}, .stride = {1, 1}, .padding = {1, 0}, .dilation = {2, 2}}},
      {"wide_window", {1, 1, 20, 20}, {1, 1, 4, 4}, {.kernel = {17, 17}, .stride = {1, 1}}},
  };
  for (const auto& m : maxima) {
    const DType offsets = m.at.kernel[0] * m.at.kernel[1] > 256 ? DType::I32 : DType::U8;
    add({.op = "max_pool2d",
         .name = m.name,
         .attrs = m.at,
         .inputs = {distinct(m.x, -4.0, 4.0)},
         .shapes = {m.y, m.y}});
    MaxPool2dGradAttrs g;
    g.kernel = m.at.kernel;
    g.stride = m.at.stride;
    g.padding = m.at.padding;
    g.dilation = m.at.dilation;
    g.ceil_mode = m.at.ceil_mode;
    g.input_shape = m.x;
    // Any offset is legal: one that points into padding adds nothing.
    add({.op = "max_pool2d_grad",
         .name = m.name,
         .attrs = g,
         .inputs = {uniform(m.y), integers(m.y, m.at.kernel[0] * m.at.kernel[1], offsets)},
         .shapes = {m.x}});
  }
  add({.op = "max_pool2d",
       .name = "first_of_equals",
       .attrs = MaxPool2dAttrs{},
       .inputs = {values({1, 1, 2, 4}, {1, 5, -1, -2, 5, 5, -1, -1}).no_gradient()},
       .shapes = {{1, 1, 1, 2}, {1, 1, 1, 2}},
       .expected = {{5, -1}, {1, 0}}});

  struct Average {
    std::string name;
    Shape x, y;
    AvgPool2dAttrs at;
  };
  const std::vector<Average> averages{
      {"halve", {2, 3, 6, 4}, {2, 3, 3, 2}, {}},
      {"padded", {1, 2, 5, 6}, {1, 2, 3, 3}, {.kernel = {3, 3}, .padding = {1, 1}}},
      {"padding_not_counted",
       {1, 2, 5, 6},
       {1, 2, 3, 3},
       {.kernel = {3, 3}, .padding = {1, 1}, .count_include_pad = false}},
      {"ceil", {1, 2, 5, 7}, {1, 2, 3, 4}, {.ceil_mode = true}},
      {"ceil_padded", {1, 1, 6, 6}, {1, 1, 4, 4}, {.kernel = {3, 3}, .padding = {1, 1}, .ceil_mode = true}},
      {"ceil_padding_not_counted",
       {1, 1, 6, 6},
       {1, 1, 4, 4},
       {.kernel = {3, 3}, .padding = {1, 1}, .ceil_mode = true, .count_include_pad = false}},
      {"uneven", {1, 2, 6, 7}, {1, 2, 5, 3}, {.kernel = {2, 3}, .stride = {1, 2}}},
  };
  for (const auto& a : averages) {
    add({.op = "avg_pool2d", .name = a.name, .attrs = a.at, .inputs = {uniform(a.x)}, .shapes = {a.y}});
    AvgPool2dGradAttrs g;
    g.kernel = a.at.kernel;
    g.stride = a.at.stride;
    g.padding = a.at.padding;
    g.ceil_mode = a.at.ceil_mode;
    g.count_include_pad = a.at.count_include_pad;
    g.input_shape = a.x;
    add({.op = "avg_pool2d_grad", .name = a.name, .attrs = g, .inputs = {uniform(a.y)}, .shapes = {a.x}});
  }
  // The corner window holds one cell and eight of padding.
  add({.op = "avg_pool2d",
       .name = "divisor",
       .attrs = AvgPool2dAttrs{.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true},
       .inputs = {values({1, 1, 2, 2}, {4, 8, 12, 16})},
       .shapes = {{1, 1, 2, 2}},
       .expected = {{1, 2, 3, 4}}});

  struct Adaptive {
    std::string name;
    Shape x;
    std::array<std::int64_t, 2> size;
  };
  const std::vector<Adaptive> adaptive{{"global", {2, 3, 4, 5}, {1, 1}},
                                       {"divides", {1, 2, 6, 8}, {3, 2}},
                                       {"overlaps", {1, 2, 7, 5}, {3, 4}},
                                       {"grows", {1, 1, 2, 3}, {4, 5}}};
  for (const auto& a : adaptive) {
    const Shape y{a.x[0], a.x[1], a.size[0], a.size[1]};
    add({.op = "adaptive_avg_pool2d",
         .name = a.name,
         .attrs = AdaptiveAvgPool2dAttrs{a.size},
         .inputs = {uniform(a.x)},
         .shapes = {y}});
    add({.op = "adaptive_avg_pool2d_grad",
         .name = a.name,
         .attrs = AdaptiveAvgPool2dGradAttrs{a.size, a.x},
         .inputs = {uniform(y)},
         .shapes = {a.x}});
  }

  add_error({.op = "max_pool2d", .name = "rank", .inputs = {f32({3, 8, 8})}, .message = "x [N, C, H, W]"});
  add_error({.op = "max_pool2d",
             .name = "padding",
             .attrs = MaxPool2dAttrs{.padding = {0, 2}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "padding of the width must be between 0 and half the window, 1, got 2"});
  add_error({.op = "max_pool2d",
             .name = "window",
             .attrs = MaxPool2dAttrs{.kernel = {9, 2}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "spans 9 pixels of height but the padded input [1, 3, 8, 8] has 8"});
  add_error({.op = "max_pool2d", .name = "integer", .inputs = {i64({1, 3, 8, 8})}, .message = "floating"});
  add_error({.op = "max_pool2d_grad",
             .name = "dy",
             .attrs = MaxPool2dGradAttrs{.input_shape = {1, 3, 8, 8}},
             .inputs = {f32({1, 3, 4, 5}), {DType::U8, {1, 3, 4, 5}}},
             .message = "[1, 3, 4, 4], got [1, 3, 4, 5]"});
  add_error({.op = "max_pool2d_grad",
             .name = "offset",
             .attrs = MaxPool2dGradAttrs{.input_shape = {1, 3, 8, 8}},
             .inputs = {f32({1, 3, 4, 4}), i32({1, 3, 4, 4})},
             .message = "offset must be u8"});
  add_error({.op = "avg_pool2d",
             .name = "stride",
             .attrs = AvgPool2dAttrs{.stride = {0, 2}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "1 or more, got (2, 2), (0, 2)"});
  add_error({.op = "avg_pool2d_grad",
             .name = "input_shape",
             .inputs = {f32({1, 3, 8, 8})},
             .message = "input_shape must have rank 4"});
  add_error({.op = "adaptive_avg_pool2d",
             .name = "output_size",
             .attrs = AdaptiveAvgPool2dAttrs{{0, 1}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "output_size must be 1 or more"});
  add_error({.op = "adaptive_avg_pool2d_grad",
             .name = "dy",
             .attrs = AdaptiveAvgPool2dGradAttrs{{2, 2}, {1, 3, 8, 8}},
             .inputs = {f32({1, 3, 1, 1})},
             .message = "[1, 3, 2, 2]"});
}

}  // namespace ingot
