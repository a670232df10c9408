#include "core/ops/concat_norm.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(concat_norm) {
  using test::InputSpec;
  using Inputs = std::vector<InputSpec>;
  const auto with = [](Inputs in, const Inputs& more) {
    in.insert(in.end(), more.begin(), more.end());
    return in;
  };
  // Pieces of [n, c, ...] for each c.
  const auto pieces = [](Shape x, std::initializer_list<std::int64_t> channels) {
    Inputs in;
    for (const std::int64_t c : channels) {
      x[1] = c;
      in.push_back(uniform(x));
    }
    return in;
  };
  // gamma, beta, mean, and a variance or a deviation.
  const auto params = [](std::int64_t c) {
    return Inputs{uniform({c}), uniform({c}), uniform({c}), positive({c})};
  };
  const InputSpec three_rows = scalar(3, DType::I32);

  // The numbers of batch_norm's own case, twice: a channel in each piece.
  add({.op = "concat_batch_norm",
       .name = "by_hand",
       .attrs = ConcatBatchNormAttrs{.eps = 0.0, .momentum = 0.5},
       .inputs = {values({2}, {2, 1}), values({2}, {1, 0}), values({2}, {0, 0}), values({2}, {1, 1}),
                  values({2, 1, 2}, {1, 3, 5, 7}), values({2, 1, 2}, {2, 6, 10, 14})},
       .shapes = {{2, 2, 2}, {2}, {2}, {2}, {2}},
       .expected = {
           {1 - 2 * 1.3416407864998738, 1 - 2 * 0.4472135954999579, -1.3416407864998738, -0.4472135954999579,
            1 + 2 * 0.4472135954999579, 1 + 2 * 1.3416407864998738, 0.4472135954999579, 1.3416407864998738},
           {4, 8},
           {0.4472135954999579, 0.22360679774997896},
           {2, 4},
           {0.5 + 10.0 / 3.0, 0.5 + 40.0 / 3.0}}});
  add({.op = "concat_batch_norm",
       .name = "one_piece",
       .inputs = with(params(4), pieces({3, 0, 2, 3}, {4})),
       .shapes = {{3, 4, 2, 3}, {4}, {4}, {4}, {4}}});
  // Periods of 48, 64 and more; as many pixels as fill blocks and do not.
  add({.op = "concat_batch_norm",
       .name = "images",
       .attrs = ConcatBatchNormAttrs{.eps = 0.1, .momentum = 0.3, .activation = "relu"},
       .inputs = with(params(124), pieces({3, 0, 7, 5}, {16, 3, 70, 1, 34})),
       .shapes = {{3, 124, 7, 5}, {124}, {124}, {124}, {124}}});
  add({.op = "concat_batch_norm",
       .name = "rows",
       .inputs = with(params(7), pieces({70, 0}, {2, 5})),
       .shapes = {{70, 7}, {7}, {7}, {7}, {7}}});
  add({.op = "concat_batch_norm",
       .name = "valid_rows",
       .attrs = ConcatBatchNormAttrs{.has_valid = true, .activation = "relu"},
       .inputs = with(params(5), with({three_rows}, pieces({5, 0, 2, 3}, {2, 3})))});
  add_error({.op = "concat_batch_norm",
             .name = "other_size",
             .inputs = {f32({5}), f32({5}), f32({5}), f32({5}), f32({2, 2, 3, 3}), f32({2, 3, 3, 4})},
             .message = "piece 2 is f32[2, 3, 3, 4], which does not continue f32[2, 2, 3, 3]"});
  add_error({.op = "concat_batch_norm",
             .name = "too_few_parameters",
             .inputs = {f32({4}), f32({4}), f32({4}), f32({4}), f32({2, 2, 3, 3}), f32({2, 3, 3, 3})},
             .message = "gamma [C]"});

  add({.op = "concat_batch_norm_apply",
       .name = "images",
       .attrs = ConcatBatchNormApplyAttrs{.activation = "relu"},
       .inputs = with(params(37), pieces({3, 0, 7, 5}, {32, 5})),
       .shapes = {{3, 37, 7, 5}}});
  add({.op = "concat_batch_norm_apply",
       .name = "valid_rows",
       .attrs = ConcatBatchNormApplyAttrs{.has_valid = true},
       .inputs = with(params(5), with({three_rows}, pieces({5, 0, 2, 3}, {2, 3})))});
  add_error({.op = "concat_batch_norm_apply",
             .name = "no_piece",
             .attrs = ConcatBatchNormApplyAttrs{.has_valid = true},
             .inputs = {f32({4}), f32({4}), f32({4}), f32({4}), {DType::I32, {}}},
             .message = "one piece x_1 or more"});

  // dy, gamma, mean, deviation
  const auto backward = [](const Shape& dy) {
    return Inputs{uniform(dy), uniform({dy[1]}), uniform({dy[1]}), positive({dy[1]})};
  };
  add({.op = "concat_batch_norm_grad",
       .name = "images",
       .inputs = with(backward({3, 124, 7, 5}), pieces({3, 0, 7, 5}, {16, 3, 70, 1, 34})),
       .shapes = {{3, 16, 7, 5}, {3, 3, 7, 5}, {3, 70, 7, 5}, {3, 1, 7, 5}, {3, 34, 7, 5}, {124}, {124}}});
  add({.op = "concat_batch_norm_grad",
       .name = "relu",
       .attrs = ConcatBatchNormGradAttrs{.activation = "relu"},
       .inputs =
           with(backward({3, 37, 7, 5}), with({uniform({37}, -1.0, 1.0)}, pieces({3, 0, 7, 5}, {32, 5}))),
       .shapes = {{3, 32, 7, 5}, {3, 5, 7, 5}, {37}, {37}}});
  add({.op = "concat_batch_norm_grad",
       .name = "relu6",
       .attrs = ConcatBatchNormGradAttrs{.activation = "relu6"},
       .inputs = with(backward({3, 7, 7, 5}), with({uniform({7}, 3.0, 6.0)}, pieces({3, 0, 7, 5}, {2, 5}))),
       .shapes = {{3, 2, 7, 5}, {3, 5, 7, 5}, {7}, {7}}});
  add({.op = "concat_batch_norm_grad",
       .name = "added",
       .attrs = ConcatBatchNormGradAttrs{.has_added = true},
       .inputs = with(backward({70, 7}), with(pieces({70, 0}, {2, 5}), pieces({70, 0}, {2, 5}))),
       .shapes = {{70, 2}, {70, 5}, {7}, {7}}});
  add({.op = "concat_batch_norm_grad",
       .name = "valid_relu_added",
       .attrs = ConcatBatchNormGradAttrs{.has_valid = true, .has_added = true, .activation = "relu"},
       .inputs = with(backward({5, 37, 3, 3}),
                      with({three_rows, uniform({37}, -1.0, 1.0)},
                           with(pieces({5, 0, 3, 3}, {32, 5}), pieces({5, 0, 3, 3}, {32, 5})))),
       .shapes = {{5, 32, 3, 3}, {5, 5, 3, 3}, {37}, {37}}});
  add_error({.op = "concat_batch_norm_grad",
             .name = "an_added_gradient_of_another_shape",
             .attrs = ConcatBatchNormGradAttrs{.has_added = true},
             .inputs = {f32({2, 5, 3, 3}), f32({5}), f32({5}), f32({5}), f32({2, 2, 3, 3}), f32({2, 3, 3, 3}),
                        f32({2, 2, 3, 3}), f32({2, 2, 3, 3})},
             .message = "an added gradient (as its piece)"});
  add_error({.op = "concat_batch_norm_grad",
             .name = "an_odd_number",
             .attrs = ConcatBatchNormGradAttrs{.has_added = true},
             .inputs = {f32({2, 5, 3, 3}), f32({5}), f32({5}), f32({5}), f32({2, 5, 3, 3}), f32({2, 5, 3, 3}),
                        f32({2, 5, 3, 3})},
             .message = "one added gradient for each of 1 pieces"});
}

}  // namespace ingot
