#include "core/ops/softmax.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(softmax) {
  for (const std::string op : {"softmax", "log_softmax"}) {
    add({.op = op, .name = "rows", .inputs = {uniform({4, 7})}, .shapes = {{4, 7}}});
    add({.op = op,
         .name = "middle_axis",
         .attrs = SoftmaxAttrs{1},
         .inputs = {uniform({2, 5, 3})},
         .shapes = {{2, 5, 3}}});
    add({.op = op,
         .name = "first_of_four",
         .attrs = SoftmaxAttrs{-4},
         .inputs = {uniform({3, 2, 2, 3})},
         .shapes = {{3, 2, 2, 3}}});
    add({.op = op, .name = "long_row", .inputs = {uniform({2, 300})}, .tolerance = 2e-5});
    add({.op = op + "_grad",
         .name = "rows",
         .inputs = {uniform({4, 7}), uniform({4, 7})},
         .shapes = {{4, 7}}});
    add({.op = op + "_grad",
         .name = "middle_axis",
         .attrs = SoftmaxAttrs{1},
         .inputs = {uniform({2, 5, 3}), uniform({2, 5, 3})},
         .shapes = {{2, 5, 3}}});
    add_error(
        {.op = op, .name = "axis", .attrs = SoftmaxAttrs{2}, .inputs = {f32({2, 3})}, .message = "axis 2"});
    add_error({.op = op, .name = "integer", .inputs = {i64({2, 3})}, .message = "floating"});
    add_error({.op = op + "_grad",
               .name = "shapes",
               .inputs = {f32({2, 3}), f32({3, 2})},
               .message = "y (as dy) must have shape [2, 3], got [3, 2]"});
  }
  // No overflow, and the differences are kept: logits far from 0.
  add({.op = "softmax",
       .name = "large",
       .inputs = {values({2, 2}, {1000, 1000, -1000, 1000}).no_gradient()},
       .expected = {{0.5, 0.5, 0, 1}}});
  add({.op = "log_softmax",
       .name = "large",
       .inputs = {values({2, 2}, {1000, 1000, -1000, 1000}).no_gradient()},
       .expected = {{-0.6931471805599453, -0.6931471805599453, -2000, 0}}});
}

}  // namespace ingot
