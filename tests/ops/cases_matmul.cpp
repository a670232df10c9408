#include "core/ops/matmul.h"
#include "tests/support/op_case.h"

namespace ingot {

namespace {

MatmulAttrs transposed(bool a, bool b) {
  MatmulAttrs at;
  at.transpose_a = a;
  at.transpose_b = b;
  return at;
}

MatmulAttrs epilogue(bool bias, bool residual, std::string activation) {
  MatmulAttrs at;
  at.has_bias = bias;
  at.has_residual = residual;
  at.activation = std::move(activation);
  return at;
}

}  // namespace

INGOT_OP_CASES(matmul) {
  add({.op = "matmul",
       .name = "by_hand",
       .inputs = {values({2, 2}, {1, 2, 3, 4}), values({2, 2}, {5, 6, 7, 8})},
       .shapes = {{2, 2}},
       .expected = {{19, 22, 43, 50}}});
  add({.op = "matmul", .name = "odd", .inputs = {uniform({5, 7}), uniform({7, 3})}, .shapes = {{5, 3}}});
  add({.op = "matmul",
       .name = "transpose_a",
       .attrs = transposed(true, false),
       .inputs = {uniform({7, 5}), uniform({7, 3})},
       .shapes = {{5, 3}}});
  add({.op = "matmul",
       .name = "transpose_b",
       .attrs = transposed(false, true),
       .inputs = {uniform({5, 7}), uniform({3, 7})},
       .shapes = {{5, 3}}});
  add({.op = "matmul",
       .name = "transpose_both",
       .attrs = transposed(true, true),
       .inputs = {uniform({4, 5}), uniform({3, 4})},
       .shapes = {{5, 3}}});
  add({.op = "matmul",
       .name = "batched",
       .inputs = {uniform({3, 2, 4}), uniform({3, 4, 5})},
       .shapes = {{3, 2, 5}}});
  add({.op = "matmul",
       .name = "batch_broadcast",
       .attrs = transposed(false, true),
       .inputs = {uniform({2, 1, 3, 4}), uniform({3, 2, 4})},
       .shapes = {{2, 3, 3, 2}}});
  add({.op = "matmul",
       .name = "batch_broadcast_transpose_both",
       .attrs = transposed(true, true),
       .inputs = {uniform({2, 4, 3}), uniform({3, 1, 2, 4})},
       .shapes = {{3, 2, 3, 2}}});
  add({.op = "matmul",
       .name = "rows_times_matrix",
       .inputs = {uniform({2, 3, 4}), uniform({4, 5})},
       .shapes = {{2, 3, 5}}});
  add({.op = "matmul",
       .name = "rows_times_transposed_matrix",
       .attrs = transposed(false, true),
       .inputs = {uniform({2, 3, 4}), uniform({5, 4})},
       .shapes = {{2, 3, 5}}});
  add({.op = "matmul",
       .name = "outer_product",
       .inputs = {uniform({6, 1}), uniform({1, 4})},
       .shapes = {{6, 4}}});
  add({.op = "matmul",
       .name = "bias",
       .attrs = epilogue(true, false, ""),
       .inputs = {uniform({3, 4}), uniform({4, 5}), uniform({5})},
       .shapes = {{3, 5}}});
  add({.op = "matmul",
       .name = "bias_residual",
       .attrs = epilogue(true, true, ""),
       .inputs = {uniform({2, 3, 4}), uniform({4, 5}), uniform({5}), uniform({2, 3, 5})},
       .shapes = {{2, 3, 5}}});
  add({.op = "matmul",
       .name = "residual_relu",
       .attrs = epilogue(false, true, "relu"),
       .inputs = {uniform({3, 4}), uniform({4, 5}), uniform({3, 5})},
       .shapes = {{3, 5}},
       .gradient = false});
  add({.op = "matmul",
       .name = "bias_gelu",
       .attrs = epilogue(true, false, "gelu"),
       .inputs = {uniform({3, 4}), uniform({4, 5}), uniform({5})},
       .shapes = {{3, 5}},
       .gradient = false});
  add({.op = "matmul",
       .name = "large",
       .inputs = {uniform({65, 130}), uniform({130, 33})},
       .shapes = {{65, 33}},
       .tolerance = 5e-5});

  add_error({.op = "matmul",
             .name = "inner",
             .inputs = {f32({2, 3}), f32({4, 5})},
             .message = "a [2, 3] has 3 on axis -1 and b [4, 5] has 4 on axis -2"});
  add_error({.op = "matmul", .name = "vector", .inputs = {f32({3}), f32({3, 5})}, .message = "2 or more"});
  add_error({.op = "matmul", .name = "integer", .inputs = {i64({2, 3}), i64({3, 5})}, .message = "floating"});
  add_error({.op = "matmul",
             .name = "batch",
             .inputs = {f32({2, 2, 3}), f32({3, 3, 5})},
             .message = "batch axes [2] of a and [3] of b do not broadcast"});
  add_error({.op = "matmul",
             .name = "bias_size",
             .attrs = epilogue(true, false, ""),
             .inputs = {f32({2, 3}), f32({3, 5}), f32({4})},
             .message = "bias must have shape [5]"});
  add_error({.op = "matmul",
             .name = "activation",
             .attrs = epilogue(false, false, "add"),
             .inputs = {f32({2, 3}), f32({3, 5})},
             .message = "activation 'add'"});
}

}  // namespace ingot
