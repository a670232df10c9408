#include "core/ops/update.h"

#include "tests/support/op_case.h"

INGOT_OP_CASES(update) {
  using namespace ingot;
  // Two parameters of different shapes: (lr, step, grad_scale), p, g, then the states.
  const auto operands = [](double step, int states, bool squares_first) {
    std::vector<test::InputSpec> in{scalar(0.1), scalar(step), scalar(0.5)};
    for (int kind = 0; kind < 2 + states; ++kind)
      for (const Shape& s : {Shape{3, 5}, Shape{7}})
        // Second moments are positive, and larger than any square of a mean kept beside them.
        in.push_back(kind == (squares_first ? 2 : 3) && states > (squares_first ? 0 : 1)
                         ? positive(s, 1.5, 3.0)
                     : kind > 1 ? uniform(s, -1, 1)
                                : uniform(s));
    return in;
  };
  add({.op = "sgd",
       .name = "plain",
       .attrs = SgdAttrs{2},
       .inputs = operands(1, 0, false),
       .shapes = {{3, 5}, {7}}});
  add({.op = "sgd",
       .name = "first",
       .attrs = SgdAttrs{2, 0.9, 0.1, 0.01},
       .inputs = operands(1, 1, false),
       .shapes = {{3, 5}, {7}, {3, 5}, {7}}});
  add({.op = "sgd", .name = "later", .attrs = SgdAttrs{2, 0.9, 0.1, 0.01}, .inputs = operands(4, 1, false)});
  add({.op = "sgd",
       .name = "nesterov",
       .attrs = SgdAttrs{2, 0.9, 0.0, 0.01, true},
       .inputs = operands(2, 1, false)});
  add({.op = "adam",
       .name = "first",
       .attrs = AdamAttrs{2},
       .inputs = operands(1, 2, false),
       .shapes = {{3, 5}, {7}, {3, 5}, {7}, {3, 5}, {7}},
       .tolerance = 2e-5});
  add({.op = "adam",
       .name = "decay",
       .attrs = AdamAttrs{2, 0.8, 0.95, 1e-6, 0.1},
       .inputs = operands(7, 2, false),
       .tolerance = 2e-5});
  add({.op = "adam",
       .name = "decoupled",
       .attrs = AdamAttrs{2, 0.8, 0.95, 1e-6, 0.1, true},
       .inputs = operands(7, 2, false),
       .tolerance = 2e-5});
  add({.op = "rmsprop",
       .name = "plain",
       .attrs = RmspropAttrs{2},
       .inputs = operands(1, 1, true),
       .shapes = {{3, 5}, {7}, {3, 5}, {7}}});
  add({.op = "rmsprop",
       .name = "momentum",
       .attrs = RmspropAttrs{2, 0.9, 1e-6, 0.01, 0.5},
       .inputs = operands(3, 2, true)});
  add({.op = "rmsprop",
       .name = "centered",
       .attrs = RmspropAttrs{2, 0.9, 1e-6, 0.01, 0.5, true},
       .inputs = operands(3, 3, true)});

  // Step 0: nothing moves.
  add({.op = "sgd",
       .name = "no_step",
       .attrs = SgdAttrs{2, 0.9, 0.1, 0.01},
       .inputs = operands(0, 1, false)});
  add({.op = "adam",
       .name = "no_step",
       .attrs = AdamAttrs{2, 0.8, 0.95, 1e-6, 0.1, true},
       .inputs = operands(0, 2, false)});
  add({.op = "rmsprop",
       .name = "no_step",
       .attrs = RmspropAttrs{2, 0.9, 1e-6, 0.01, 0.5},
       .inputs = operands(0, 2, true)});

  add({.op = "global_norm",
       .name = "two",
       .inputs = {values({1}, {3}), values({2, 2}, {2, 2, 2, 2})},
       .shapes = {{}},
       .expected = {{5}},
       .constant = true});
  add({.op = "global_norm",
       .name = "many",
       .inputs = {uniform({4, 999}), uniform({3}), uniform({0})},
       .constant = true});
  add_error({.op = "global_norm", .name = "integers", .inputs = {i64({2})}, .message = "floating"});
  const TensorType s = f32({});
  add_error({.op = "sgd",
             .name = "count",
             .attrs = SgdAttrs{2},
             .inputs = {s, s, s, f32({2}), f32({2})},
             .message = "expects 7 operands"});
  add_error({.op = "sgd",
             .name = "gradient",
             .attrs = SgdAttrs{1},
             .inputs = {s, s, s, f32({2}), f32({3})},
             .message = "gradient 0 must have shape [2]"});
  add_error({.op = "sgd",
             .name = "nesterov",
             .attrs = SgdAttrs{1, 0.0, 0.0, 0.0, true},
             .inputs = {s, s, s, f32({2}), f32({2})},
             .message = "nesterov"});
  add_error({.op = "adam",
             .name = "beta",
             .attrs = AdamAttrs{1, 1.0},
             .inputs = {s, s, s, f32({2}), f32({2}), f32({2}), f32({2})},
             .message = "beta1"});
  add_error({.op = "rmsprop",
             .name = "state",
             .attrs = RmspropAttrs{1},
             .inputs = {s, s, s, f32({2}), f32({2}), f32({4})},
             .message = "must have shape [2]"});
  add_error({.op = "rmsprop",
             .name = "lr",
             .attrs = RmspropAttrs{1},
             .inputs = {f32({1}), s, s, f32({2}), f32({2}), f32({2})},
             .message = "lr must have rank 0"});
}
