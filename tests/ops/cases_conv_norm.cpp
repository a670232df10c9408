#include "core/ops/conv_norm.h"
#include "core/ops/norm.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(conv_norm) {
  using test::InputSpec;
  add({.op = "conv2d_sums",
       .name = "by_hand",
       .inputs = {values({2, 1, 1, 2}, {1, 3, 5, 7}), values({2, 1, 1, 1}, {1, -2})},
       .shapes = {{2, 2, 1, 2}, {2}, {2}},
       .expected = {{1, 3, -2, -6, 5, 7, -10, -14}, {16, -32}, {84, 336}}});
  add({.op = "conv2d_sums",
       .name = "stride_and_padding",
       .attrs = Conv2dAttrs{.stride = {2, 1}, .padding = {1, 0}},
       .inputs = {uniform({3, 8, 5, 4}), uniform({16, 8, 3, 3})},
       .shapes = {{3, 16, 3, 2}, {16}, {16}},
       .rounded_terms = 18});
  add({.op = "conv2d_sums",
       .name = "groups",
       .attrs = Conv2dAttrs{.groups = 2},
       .inputs = {uniform({2, 6, 4, 4}), uniform({4, 3, 1, 1})},
       .shapes = {{2, 4, 4, 4}, {4}, {4}},
       .rounded_terms = 32});
  add_error({.op = "conv2d_sums",
             .name = "epilogue",
             .attrs = Conv2dAttrs{.activation = "relu"},
             .inputs = {f32({2, 3, 4, 4}), f32({4, 3, 1, 1})},
             .message = "a plain convolution's result"});

  const auto sums = [](std::int64_t c) {
    return std::vector<InputSpec>{uniform({c}), positive({c}, 1.0, 3.0), uniform({c}), positive({c})};
  };
  const auto with = [](std::vector<InputSpec> in, std::initializer_list<InputSpec> more) {
    in.insert(in.end(), more);
    return in;
  };
  add({.op = "batch_norm_statistics",
       .name = "by_hand",
       .attrs = BatchNormStatisticsAttrs{.rows = 2, .pixels = 2, .eps = 0.0, .momentum = 0.5},
       .inputs = {values({1}, {16}), values({1}, {84}), values({1}, {0}), values({1}, {1})},
       .shapes = {{1}, {1}, {1}, {1}},
       // of 1, 3, 5 and 7: mean 4, biased variance 5, unbiased 20/3
       .expected = {{4}, {0.4472135954999579}, {2}, {0.5 + 10.0 / 3.0}}});
  add({.op = "batch_norm_statistics",
       .name = "channels",
       .attrs = BatchNormStatisticsAttrs{.rows = 3, .pixels = 4, .eps = 0.1, .momentum = 0.3},
       .inputs = sums(300)});
  // The sums of two rows; then of none, where nothing moves.
  for (const int valid : {2, 0, -1, 9})
    add({.op = "batch_norm_statistics",
         .name = valid < 0 ? "valid_rows_less_than_none" : cat("valid_rows_", valid),
         .attrs = BatchNormStatisticsAttrs{.rows = 3, .pixels = 4, .has_valid = true},
         .inputs = with(sums(17), {scalar(valid, DType::I32)}),
         .constant = valid <= 0});
  add_error({.op = "batch_norm_statistics",
             .name = "one_value",
             .attrs = BatchNormStatisticsAttrs{.rows = 1},
             .inputs = {f32({3}), f32({3}), f32({3}), f32({3})},
             .message = "two values or more"});

  // dy, w, x, gamma, beta, mean, rstd
  const auto backward = [](const Shape& dy, const Shape& w, const Shape& x) {
    return std::vector<InputSpec>{uniform(dy),     uniform(w),      uniform(x),      uniform({x[1]}),
                                  uniform({x[1]}), uniform({x[1]}), positive({x[1]})};
  };
  const auto to = [](const Shape& x, bool residual, std::array<std::int64_t, 2> stride = {1, 1},
                     std::array<std::int64_t, 2> padding = {0, 0}) {
    Conv2dGradInputSumsAttrs a;
    a.stride = stride, a.padding = padding, a.input_shape = x, a.has_residual = residual;
    return a;
  };
  // h is x, and flat where 2 x - 1 is not above 0.
  add({.op = "conv2d_grad_input_sums",
       .name = "by_hand",
       .attrs = to({2, 1, 1, 2}, false),
       .inputs = {values({2, 1, 1, 2}, {1, 2, 3, 4}), values({1, 1, 1, 1}, {10}),
                  values({2, 1, 1, 2}, {1, -1, 0.25, 3}), values({1}, {2}), values({1}, {-1}),
                  values({1}, {0}), values({1}, {1})},
       .shapes = {{2, 1, 1, 2}, {1}, {1}},
       .expected = {{10, 0, 0, 40}, {130}, {50}}});
  // The residual lifts the second above 0.
  add({.op = "conv2d_grad_input_sums",
       .name = "residual_by_hand",
       .attrs = to({2, 1, 1, 2}, true),
       .inputs = {values({2, 1, 1, 2}, {1, 2, 3, 4}), values({1, 1, 1, 1}, {10}),
                  values({2, 1, 1, 2}, {1, -1, 0.25, 3}), values({1}, {2}), values({1}, {-1}),
                  values({1}, {0}), values({1}, {1}), values({2, 1, 1, 2}, {1, 1, 1, 2}),
                  values({2, 1, 1, 2}, {0, 4, 0, -9})},
       .expected = {{11, 21, 0, 0}, {-10}, {32}}});
  add({.op = "conv2d_grad_input_sums",
       .name = "stride_and_padding",
       .attrs = to({3, 8, 5, 4}, false, {2, 1}, {1, 0}),
       .inputs = backward({3, 16, 3, 2}, {16, 8, 3, 3}, {3, 8, 5, 4}),
       .rounded_terms = 60});
  for (const std::int64_t c : {3, 16, 70})
    add({.op = "conv2d_grad_input_sums",
         .name = cat("residual_", c),
         .attrs = to({2, c, 4, 3}, true, {1, 1}, {1, 1}),
         .inputs = with(backward({2, 8, 4, 3}, {8, c, 3, 3}, {2, c, 4, 3}),
                        {uniform({2, c, 4, 3}), uniform({2, c, 4, 3})}),
         .rounded_terms = 24});

  const auto second = [&](const Shape& x) {
    Conv2dGradInputSumsAttrs a = to(x, false);
    a.has_second = true;
    return a;
  };
  // As above, the residual being 4 h2 + 2, which is 2 x2.
  add({.op = "conv2d_grad_input_sums",
       .name = "second_by_hand",
       .attrs = second({2, 1, 1, 2}),
       .inputs = {values({2, 1, 1, 2}, {1, 2, 3, 4}), values({1, 1, 1, 1}, {10}),
                  values({2, 1, 1, 2}, {1, -1, 0.25, 3}), values({1}, {2}), values({1}, {-1}),
                  values({1}, {0}), values({1}, {1}), values({2, 1, 1, 2}, {1, 1, 1, 2}),
                  values({2, 1, 1, 2}, {0, 2, 0, -4}), values({1}, {4}), values({1}, {2}), values({1}, {1}),
                  values({1}, {0.5})},
       .shapes = {{2, 1, 1, 2}, {1}, {1}, {1}, {1}},
       // h2 = (x2 - 1) / 2, of the first two -0.5 and 0.5
       .expected = {{11, 21, 0, 0}, {-10}, {32}, {5}, {32}}});
  for (const std::int64_t c : {5, 16})
    add({.op = "conv2d_grad_input_sums",
         .name = cat("second_", c),
         .attrs = second({2, c, 4, 3}),
         .inputs = with(backward({2, 8, 4, 3}, {8, c, 1, 1}, {2, c, 4, 3}),
                        {uniform({2, c, 4, 3}), uniform({2, c, 4, 3}), uniform({c}), uniform({c}),
                         uniform({c}), positive({c})}),
         .rounded_terms = 24});
  Conv2dGradInputSumsAttrs both = second({2, 5, 4, 4});
  both.has_residual = true;
  add_error({.op = "conv2d_grad_input_sums",
             .name = "residual_and_second",
             .attrs = both,
             .inputs = {f32({2, 3, 4, 4}), f32({3, 5, 1, 1}), f32({2, 5, 4, 4}), f32({5}), f32({5}), f32({5}),
                        f32({5})},
             .message = "not both"});

  const auto apply = [](const Shape& x) {
    return std::vector<InputSpec>{uniform(x),       uniform(x),      uniform({x[1]}), uniform({x[1]}),
                                  positive({x[1]}), uniform({x[1]}), uniform({x[1]})};
  };
  // count 4: 2 * 0.5 * (u - (8 + h 4) / 4), h = (x - 1) / 2
  add({.op = "batch_norm_grad_apply",
       .name = "by_hand",
       .inputs = {values({2, 1, 2}, {1, 2, 3, 5}), values({2, 1, 2}, {1, 3, 5, 7}), values({1}, {2}),
                  values({1}, {1}), values({1}, {0.5}), values({1}, {4}), values({1}, {8})},
       .shapes = {{2, 1, 2}},
       .expected = {{-1, -1, -1, 0}}});
  for (const Shape& x : {Shape{4, 3, 3, 2}, Shape{5, 4}, Shape{3, 16, 2, 3}, Shape{2, 70, 3}})
    add({.op = "batch_norm_grad_apply", .name = cat("channels_", x[1]), .inputs = apply(x), .shapes = {x}});
  for (const int valid : {3, 0})
    add({.op = "batch_norm_grad_apply",
         .name = cat("valid_rows_", valid),
         .attrs = BatchNormGradApplyAttrs{.has_valid = true},
         .inputs = with(apply({5, 16, 2, 3}), {scalar(valid, DType::I32)}),
         .shapes = {{5, 16, 2, 3}},
         .constant = valid == 0});
  const auto two = [&](const Shape& x) {
    return with(apply(x), {uniform(x), uniform({x[1]}), uniform({x[1]}), positive({x[1]}), uniform({x[1]}),
                           uniform({x[1]})});
  };
  for (const Shape& x : {Shape{4, 3, 3, 2}, Shape{3, 16, 2, 3}})
    add({.op = "batch_norm_grad_apply",
         .name = cat("second_", x[1]),
         .attrs = BatchNormGradApplyAttrs{.has_second = true},
         .inputs = two(x),
         .shapes = {x, x}});
  add({.op = "batch_norm_grad_apply",
       .name = "second_valid_rows",
       .attrs = BatchNormGradApplyAttrs{.has_valid = true, .has_second = true},
       .inputs = with(two({5, 16, 2, 3}), {scalar(3, DType::I32)})});

  const auto sum = [](const Shape& x) {
    std::vector<InputSpec> in;
    for (int i = 0; i < 2; ++i)
      in.insert(in.end(), {uniform(x), uniform({x[1]}), uniform({x[1]}), uniform({x[1]}), positive({x[1]})});
    return in;
  };
  add({.op = "batch_norm_apply_two",
       .name = "by_hand",
       .inputs = {values({2, 1}, {1, 3}), values({1}, {2}), values({1}, {1}), values({1}, {2}),
                  values({1}, {0.5}), values({2, 1}, {5, 7}), values({1}, {1}), values({1}, {10}),
                  values({1}, {5}), values({1}, {2})},
       .shapes = {{2, 1}},
       .expected = {{0 + 10, 2 + 14}}});
  for (const Shape& x : {Shape{4, 3, 3, 2}, Shape{5, 4}, Shape{2, 70, 3}})
    add({.op = "batch_norm_apply_two", .name = cat("channels_", x[1]), .inputs = sum(x), .shapes = {x}});
  add({.op = "batch_norm_apply_two",
       .name = "valid_relu",
       .attrs = BatchNormApplyAttrs{.has_valid = true, .activation = "relu"},
       .inputs = with(sum({5, 16, 2, 3}), {scalar(3, DType::I32)})});
  std::vector<InputSpec> high = sum({5, 16, 2, 3});
  high[2] = uniform({16}, 2.0, 6.0);
  add({.op = "batch_norm_apply_two",
       .name = "relu6",
       .attrs = BatchNormApplyAttrs{.activation = "relu6"},
       .inputs = high});
  add_error({.op = "batch_norm_apply_two",
             .name = "residual",
             .attrs = BatchNormApplyAttrs{.has_residual = true},
             .inputs = std::vector<TensorType>(10, f32({2, 3})),
             .message = "is the residual"});

  add_error({.op = "batch_norm_grad_apply",
             .name = "sums",
             .inputs = {f32({2, 3, 4}), f32({2, 3, 4}), f32({3}), f32({3}), f32({3}), f32({3}), f32({4})},
             .message = "operand 6"});
}

}  // namespace ingot
