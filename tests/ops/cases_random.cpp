#include "core/ops/random.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(random) {
  using namespace ingot;
  // 32 bits of a draw differ between f32 and f64 arithmetic by a rounding only.
  add({.op = "uniform",
       .name = "matrix",
       .attrs = UniformAttrs{{3, 7}, -1.0, 2.0, 5},
       .inputs = {rng()},
       .shapes = {{3, 7}}});
  add({.op = "uniform",
       .name = "images",
       .attrs = UniformAttrs{{2, 3, 4, 5}},
       .inputs = {rng(-1, 0)},
       .shapes = {{2, 3, 4, 5}}});
  add({.op = "uniform", .name = "none", .attrs = UniformAttrs{{0}}, .inputs = {rng()}, .shapes = {{0}}});
  add_error({.op = "uniform",
             .name = "state",
             .attrs = UniformAttrs{{2}},
             .inputs = {i64({3})},
             .message = "{seed, offset}"});
  add_error({.op = "uniform",
             .name = "dtype",
             .attrs = UniformAttrs{{2}, 0, 1, 0, DType::I32},
             .inputs = {i64({2})},
             .message = "floating"});
  add_error({.op = "uniform",
             .name = "order",
             .attrs = UniformAttrs{{2}, 1, 0},
             .inputs = {i64({2})},
             .message = "lo must not exceed hi"});
  add_error({.op = "uniform",
             .name = "stream",
             .attrs = UniformAttrs{{2}, 0, 1, -1},
             .inputs = {i64({2})},
             .message = "stream"});

  add({.op = "normal",
       .name = "odd",
       .attrs = NormalAttrs{{3, 5}, 1.0, 2.0, 9},
       .inputs = {rng()},
       .shapes = {{3, 5}}});
  add({.op = "normal",
       .name = "images",
       .attrs = NormalAttrs{{2, 3, 4, 5}},
       .inputs = {rng(5, 1)},
       .shapes = {{2, 3, 4, 5}}});
  add_error({.op = "normal",
             .name = "stddev",
             .attrs = NormalAttrs{{2}, 0, -1},
             .inputs = {i64({2})},
             .message = "stddev"});

  add({.op = "dropout",
       .name = "half",
       .attrs = DropoutAttrs{0.5, 3},
       .inputs = {uniform({5, 7}), rng()},
       .shapes = {{5, 7}, {5, 7}}});
  add({.op = "dropout",
       .name = "images",
       .attrs = DropoutAttrs{0.1},
       .inputs = {uniform({2, 3, 4, 5}), rng()},
       .shapes = {{2, 3, 4, 5}, {2, 3, 4, 5}}});
  add({.op = "dropout",
       .name = "nothing_dropped",
       .attrs = DropoutAttrs{0.0},
       .inputs = {values({3}, {1, 2, 3}), rng()},
       .expected = {{1, 2, 3}, {1, 1, 1}},
       .constant = true});
  add({.op = "dropout",
       .name = "all_dropped",
       .attrs = DropoutAttrs{1.0},
       .inputs = {values({3}, {1, 2, 3}), rng()},
       .expected = {{0, 0, 0}, {0, 0, 0}},
       .constant = true});
  add_error({.op = "dropout",
             .name = "probability",
             .attrs = DropoutAttrs{1.5},
             .inputs = {f32({2}), i64({2})},
             .message = "p must lie in [0, 1]"});
  add_error({.op = "dropout",
             .name = "state",
             .attrs = DropoutAttrs{},
             .inputs = {f32({2}), f32({2})},
             .message = "must be i64"});

  add({.op = "dropout_grad",
       .name = "quarter",
       .attrs = DropoutGradAttrs{0.25},
       .inputs = {values({4}, {3, 3, 6, 6}), values({4}, {1, 0, 1, 0}, DType::Bool)},
       .expected = {{4, 0, 8, 0}}});
  add_error({.op = "dropout_grad",
             .name = "mask",
             .attrs = DropoutGradAttrs{},
             .inputs = {f32({4}), boolean({3})},
             .message = "must have shape [4]"});
}
