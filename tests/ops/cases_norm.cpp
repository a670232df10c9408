#include "core/ops/norm.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(norm) {
  using test::InputSpec;
  const auto running = [](std::int64_t c) {
    return std::vector<InputSpec>{uniform({c}).no_gradient(), positive({c}).no_gradient()};
  };
  const auto forward = [&](const Shape& x) {
    std::vector<InputSpec> in{uniform(x), uniform({x[1]}), uniform({x[1]})};
    for (const auto& r : running(x[1])) in.push_back(r);
    return in;
  };
  const auto with = [](std::vector<InputSpec> in, std::initializer_list<InputSpec> more) {
    in.insert(in.end(), more);
    return in;
  };
  const InputSpec three_rows = scalar(3, DType::I32);

  add({.op = "batch_norm",
       .name = "by_hand",
       .attrs = BatchNormAttrs{.eps = 0.0, .momentum = 0.5},
       .inputs = {values({2, 1, 2}, {1, 3, 5, 7}), values({1}, {2}), values({1}, {1}),
                  values({1}, {0}).no_gradient(), values({1}, {1}).no_gradient()},
       .shapes = {{2, 1, 2}, {1}, {1}, {1}, {1}},
       // mean 4, biased variance 5, unbiased 20/3
       .expected = {{1 - 2 * 1.3416407864998738, 1 - 2 * 0.4472135954999579, 1 + 2 * 0.4472135954999579,
                     1 + 2 * 1.3416407864998738},
                    {4},
                    {0.4472135954999579},
                    {2},
                    {0.5 + 10.0 / 3.0}}});
  add({.op = "batch_norm",
       .name = "images",
       .inputs = forward({4, 3, 3, 2}),
       .shapes = {{4, 3, 3, 2}, {3}, {3}, {3}, {3}}});
  add({.op = "batch_norm",
       .name = "rows",
       .inputs = forward({5, 4}),
       .shapes = {{5, 4}, {4}, {4}, {4}, {4}}});
  add({.op = "batch_norm",
       .name = "attributes",
       .attrs = BatchNormAttrs{.eps = 0.1, .momentum = 0.3},
       .inputs = forward({3, 2, 4})});
  add({.op = "batch_norm",
       .name = "valid_rows",
       .attrs = BatchNormAttrs{.has_valid = true},
       .inputs = with(forward({5, 2, 2, 3}), {three_rows})});
  add({.op = "batch_norm",
       .name = "residual",
       .attrs = BatchNormAttrs{.has_residual = true},
       .inputs = with(forward({3, 2, 2, 2}), {uniform({3, 2, 2, 2})})});
  add({.op = "batch_norm",
       .name = "relu",
       .attrs = BatchNormAttrs{.activation = "relu"},
       .inputs = forward({3, 2, 2, 3})});
  add({.op = "batch_norm",
       .name = "valid_residual_relu",
       .attrs = BatchNormAttrs{.has_valid = true, .has_residual = true, .activation = "relu"},
       .inputs = with(forward({5, 2, 2, 2}), {three_rows, uniform({5, 2, 2, 2})})});

  // Scaled so that results reach over 6.
  const auto high = [&](const Shape& x) {
    std::vector<InputSpec> in = forward(x);
    in[1] = uniform({x[1]}, 2.0, 4.0);
    in[2] = uniform({x[1]}, 1.0, 5.0);
    return in;
  };
  for (const std::int64_t c : {2, 17, 70})
    add({.op = "batch_norm",
         .name = cat("relu6_", c),
         .attrs = BatchNormAttrs{.activation = "relu6"},
         .inputs = high({3, c, 2, 3})});
  add({.op = "batch_norm",
       .name = "valid_residual_relu6",
       .attrs = BatchNormAttrs{.has_valid = true, .has_residual = true, .activation = "relu6"},
       .inputs = with(high({5, 2, 2, 2}), {three_rows, uniform({5, 2, 2, 2})})});

  const auto backward = [](const Shape& x) {
    return std::vector<InputSpec>{uniform(x), uniform(x), uniform({x[1]}), uniform({x[1]}), positive({x[1]})};
  };
  add({.op = "batch_norm_grad",
       .name = "relu6_by_hand",  // of x's sum alone, at y below, at and between its bounds
       .attrs = BatchNormGradAttrs{.activation = "relu6", .has_residual = true},
       .inputs = {values({6, 1}, {1, 2, 4, 8, 16, 32}), values({6, 1}, {0, 0, 0, 0, 0, 0}), values({1}, {1}),
                  values({1}, {0}), values({1}, {1}), values({6, 1}, {0, 0.5, 5.5, 6, 1, 0})},
       .expected = {{-22.0 / 6, 2 - 22.0 / 6, 4 - 22.0 / 6, -22.0 / 6, 16 - 22.0 / 6, -22.0 / 6},
                    {0},
                    {22},
                    {0, 2, 4, 0, 16, 0}}});
  const auto beyond = [](const Shape& x) { return uniform(x, -3.0, 9.0); };
  for (const std::int64_t c : {2, 17, 70}) {
    add({.op = "batch_norm_grad",
         .name = cat("relu6_", c),
         .attrs = BatchNormGradAttrs{.activation = "relu6"},
         .inputs = with(backward({3, c, 2, 3}), {beyond({3, c, 2, 3})})});
    std::vector<InputSpec> from_x = backward({3, c, 2, 3});
    from_x[2] = uniform({c}, 2.0, 4.0);
    from_x.push_back(uniform({c}, 1.0, 5.0));
    add({.op = "batch_norm_grad",
         .name = cat("relu6_mask_from_x_", c),
         .attrs = BatchNormGradAttrs{.activation = "relu6", .mask_from_x = true},
         .inputs = from_x});
    add({.op = "batch_norm_grad",
         .name = cat("relu6_mask_from_x_two_gradients_", c),
         .attrs = BatchNormGradAttrs{.activation = "relu6", .has_dy2 = true, .mask_from_x = true},
         .inputs = with(from_x, {uniform({3, c, 2, 3})})});
  }
  add({.op = "batch_norm_grad",
       .name = "valid_residual_relu6",
       .attrs = BatchNormGradAttrs{.has_valid = true, .activation = "relu6", .has_residual = true},
       .inputs = with(backward({5, 2, 2, 2}), {three_rows, beyond({5, 2, 2, 2})})});
  add({.op = "batch_norm_grad",
       .name = "valid_two_gradients_residual_relu6",
       .attrs =
           BatchNormGradAttrs{
               .has_valid = true, .activation = "relu6", .has_residual = true, .has_dy2 = true},
       .inputs = with(backward({5, 2, 2, 2}), {three_rows, beyond({5, 2, 2, 2}), uniform({5, 2, 2, 2})})});
  // A kernel may take the sum of two gradients from dresidual, where it is rounded: eighths add up exactly.
  const auto eighths = [](const Shape& shape, int step) {
    std::vector<double> v;
    for (int k = 0; k < 33; ++k) v.push_back((k * step % 33 - 16) / 8.0);
    return values(shape, v);
  };
  std::vector<InputSpec> from_eighths = backward({5, 16, 5, 3});
  from_eighths[0] = eighths({5, 16, 5, 3}, 5);
  add({.op = "batch_norm_grad",
       .name = "valid_two_gradients_residual_relu6_16",
       .attrs =
           BatchNormGradAttrs{
               .has_valid = true, .activation = "relu6", .has_residual = true, .has_dy2 = true},
       .inputs = with(from_eighths, {three_rows, beyond({5, 16, 5, 3}), eighths({5, 16, 5, 3}, 7)})});
  add({.op = "batch_norm_grad",
       .name = "images",
       .inputs = backward({4, 3, 3, 2}),
       .shapes = {{4, 3, 3, 2}, {3}, {3}}});
  add({.op = "batch_norm_grad", .name = "rows", .inputs = backward({5, 4}), .shapes = {{5, 4}, {4}, {4}}});
  add({.op = "batch_norm_grad",
       .name = "valid_rows",
       .attrs = BatchNormGradAttrs{.has_valid = true},
       .inputs = with(backward({5, 2, 2, 2}), {three_rows}),
       .shapes = {{5, 2, 2, 2}, {2}, {2}}});
  add({.op = "batch_norm_grad",
       .name = "relu",
       .attrs = BatchNormGradAttrs{.activation = "relu"},
       .inputs = with(backward({3, 2, 2, 3}), {uniform({3, 2, 2, 3}, -1.0, 1.0)}),
       .shapes = {{3, 2, 2, 3}, {2}, {2}}});
  add({.op = "batch_norm_grad",
       .name = "valid_residual_relu",
       .attrs = BatchNormGradAttrs{.has_valid = true, .activation = "relu", .has_residual = true},
       .inputs = with(backward({5, 2, 2, 2}), {three_rows, uniform({5, 2, 2, 2}, -1.0, 1.0)}),
       .shapes = {{5, 2, 2, 2}, {2}, {2}, {5, 2, 2, 2}}});
  add({.op = "batch_norm_grad",
       .name = "two_gradients",
       .attrs = BatchNormGradAttrs{.has_dy2 = true},
       .inputs = with(backward({4, 3, 3, 2}), {uniform({4, 3, 3, 2})}),
       .shapes = {{4, 3, 3, 2}, {3}, {3}}});
  add({.op = "batch_norm_grad",
       .name = "two_gradients_relu",
       .attrs = BatchNormGradAttrs{.activation = "relu", .has_dy2 = true},
       .inputs = with(backward({3, 16, 2, 3}), {uniform({3, 16, 2, 3}, -1.0, 1.0), uniform({3, 16, 2, 3})}),
       .shapes = {{3, 16, 2, 3}, {16}, {16}}});
  add({.op = "batch_norm_grad",
       .name = "two_gradients_valid_residual_relu",
       .attrs =
           BatchNormGradAttrs{.has_valid = true, .activation = "relu", .has_residual = true, .has_dy2 = true},
       .inputs = with(backward({5, 2, 2, 2}),
                      {three_rows, uniform({5, 2, 2, 2}, -1.0, 1.0), uniform({5, 2, 2, 2})}),
       .shapes = {{5, 2, 2, 2}, {2}, {2}, {5, 2, 2, 2}}});

  // 17 channels: no power of two; 70: more than a table's period.
  for (const std::int64_t c : {2, 17, 70})
    add({.op = "batch_norm_grad",
         .name = cat("mask_from_x_", c),
         .attrs = BatchNormGradAttrs{.activation = "relu", .mask_from_x = true},
         .inputs = with(backward({3, c, 2, 3}), {uniform({c}, -1.0, 1.0)}),
         .shapes = {{3, c, 2, 3}, {c}, {c}}});
  add({.op = "batch_norm_grad",
       .name = "mask_from_x_valid_residual_two_gradients",
       .attrs = BatchNormGradAttrs{.has_valid = true,
                                   .activation = "relu",
                                   .has_residual = true,
                                   .has_dy2 = true,
                                   .mask_from_x = true},
       .inputs = with(backward({5, 2, 2, 2}), {three_rows, uniform({2}, -1.0, 1.0), uniform({5, 2, 2, 2})}),
       .shapes = {{5, 2, 2, 2}, {2}, {2}, {5, 2, 2, 2}}});
  add({.op = "batch_norm_grad",
       .name = "mask_from_x_two_gradients",
       .attrs = BatchNormGradAttrs{.activation = "relu", .has_dy2 = true, .mask_from_x = true},
       .inputs = with(backward({3, 16, 2, 3}), {uniform({16}, -1.0, 1.0), uniform({3, 16, 2, 3})}),
       .shapes = {{3, 16, 2, 3}, {16}, {16}}});

  const auto inference = [](const Shape& x) {
    return std::vector<InputSpec>{uniform(x), uniform({x[1]}), uniform({x[1]}), uniform({x[1]}),
                                  positive({x[1]})};
  };
  add({.op = "batch_norm_infer",
       .name = "images",
       .inputs = inference({2, 3, 4, 3}),
       .shapes = {{2, 3, 4, 3}}});
  add({.op = "batch_norm_infer",
       .name = "rows",
       .attrs = BatchNormInferAttrs{0.5},
       .inputs = inference({3, 4}),
       .shapes = {{3, 4}}});

  add({.op = "batch_norm_apply",
       .name = "images",
       .inputs = inference({2, 3, 4, 3}),
       .shapes = {{2, 3, 4, 3}}});
  add({.op = "batch_norm_apply",
       .name = "residual_relu",
       .attrs = BatchNormApplyAttrs{.has_residual = true, .activation = "relu"},
       .inputs = with(inference({3, 16, 2, 2}), {uniform({3, 16, 2, 2})}),
       .shapes = {{3, 16, 2, 2}}});
  add({.op = "batch_norm_apply",
       .name = "valid_residual_relu",
       .attrs = BatchNormApplyAttrs{.has_valid = true, .has_residual = true, .activation = "relu"},
       .inputs = with(inference({5, 16, 2, 2}), {three_rows, uniform({5, 16, 2, 2})}),
       .shapes = {{5, 16, 2, 2}}});
  add({.op = "batch_norm_apply",
       .name = "residual_relu6",
       .attrs = BatchNormApplyAttrs{.has_residual = true, .activation = "relu6"},
       .inputs = with(inference({3, 16, 2, 2}), {beyond({3, 16, 2, 2})}),
       .shapes = {{3, 16, 2, 2}}});
  add({.op = "batch_norm_apply",
       .name = "by_hand",
       .inputs = {values({2, 1}, {1, 3}), values({1}, {2}), values({1}, {1}), values({1}, {2}),
                  values({1}, {0.5})},
       .expected = {{0, 2}}});

  const auto layer = [](const Shape& x, const Shape& cells) {
    return std::vector<InputSpec>{uniform(x), uniform(cells), uniform(cells)};
  };
  // The statistics are checked as values; only y is differentiable.
  add({.op = "layer_norm", .name = "last_axis", .inputs = layer({4, 6}, {6}), .shapes = {{4, 6}, {4}, {4}}});
  add({.op = "layer_norm",
       .name = "two_axes",
       .attrs = LayerNormAttrs{1, 1e-3},
       .inputs = layer({3, 2, 5}, {2, 5}),
       .shapes = {{3, 2, 5}, {3}, {3}}});
  add({.op = "layer_norm",
       .name = "negative_axis",
       .attrs = LayerNormAttrs{-2, 1e-5},
       .inputs = layer({2, 3, 2, 4}, {2, 4}),
       .shapes = {{2, 3, 2, 4}, {2, 3}, {2, 3}}});
  add({.op = "layer_norm",
       .name = "by_hand",
       .attrs = LayerNormAttrs{1, 0.0},
       .inputs = {values({1, 2}, {1, 3}), values({2}, {1, 2}), values({2}, {0, 5})},
       .expected = {{-1, 7}, {2}, {1}},
       .gradient = false,  // two values: the normalised x is constant
       .constant = true});
  add({.op = "layer_norm_grad",
       .name = "last_axis",
       .inputs = {uniform({4, 6}), uniform({4, 6}), uniform({6}), uniform({4}), positive({4})},
       .shapes = {{4, 6}, {6}, {6}}});
  add({.op = "layer_norm_grad",
       .name = "two_axes",
       .attrs = LayerNormAttrs{1, 1e-3},
       .inputs = {uniform({3, 2, 5}), uniform({3, 2, 5}), uniform({2, 5}), uniform({3}), positive({3})},
       .shapes = {{3, 2, 5}, {2, 5}, {2, 5}}});

  const TensorType c3 = f32({3});
  add_error({.op = "batch_norm",
             .name = "channels",
             .inputs = {f32({2, 3, 4}), f32({4}), c3, c3, c3},
             .message = "gamma [C] must have shape [3], got [4]"});
  add_error({.op = "batch_norm",
             .name = "one_value",
             .inputs = {f32({1, 3, 1, 1}), c3, c3, c3, c3},
             .message = "more than one value per channel"});
  add_error({.op = "batch_norm",
             .name = "activation",
             .attrs = BatchNormAttrs{.activation = "gelu"},
             .inputs = {f32({2, 3}), c3, c3, c3, c3},
             .message = "activation must be 'relu', 'relu6' or '' (none), got 'gelu'"});
  add_error({.op = "batch_norm",
             .name = "valid_rows",
             .attrs = BatchNormAttrs{.has_valid = true},
             .inputs = {f32({2, 3}), c3, c3, c3, c3, i64({})},
             .message = "valid_rows must be i32"});
  add_error({.op = "batch_norm",
             .name = "dtype",
             .inputs = {f32({2, 3}), {DType::F64, {3}}, c3, c3, c3},
             .message = "must be f32 for x of f32, got f64"});
  add_error({.op = "batch_norm_grad",
             .name = "operands",
             .attrs = BatchNormGradAttrs{.activation = "relu"},
             .inputs = {f32({2, 3}), f32({2, 3}), c3, c3, c3},
             .message = "expects 6 operands"});
  add_error({.op = "batch_norm_infer",
             .name = "eps",
             .attrs = BatchNormInferAttrs{-1.0},
             .inputs = {f32({2, 3}), c3, c3, c3, c3},
             .message = "eps must be 0 or more"});
  add_error({.op = "layer_norm",
             .name = "gamma",
             .inputs = {f32({2, 4}), c3, c3},
             .message = "gamma (over the normalised axes) must have shape [4], got [3]"});
  add_error({.op = "layer_norm_grad",
             .name = "mean",
             .inputs = {f32({2, 3}), f32({2, 3}), c3, c3, c3},
             .message = "mean (over the axes before) must have shape [2]"});
}

}  // namespace ingot
