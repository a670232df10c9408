#include <limits>

#include "core/ops/reduce.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(reduce) {
  using namespace ingot;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const char* name : {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_var"}) {
    const std::string op = name;
    const auto attrs = [&](Axes axes, bool keepdim) -> Attrs {
      if (op == "reduce_var") return ReduceVarAttrs{std::move(axes), keepdim};
      return ReduceAttrs{std::move(axes), keepdim};
    };
    const auto operand = [&](const Shape& s) {
      return op == "reduce_max" || op == "reduce_min" ? distinct(s) : uniform(s);
    };
    add({.op = op,
         .name = "all",
         .attrs = attrs({}, false),
         .inputs = {operand({3, 5, 2})},
         .shapes = {{}},
         .constant = true});
    add({.op = op,
         .name = "all_kept",
         .attrs = attrs({}, true),
         .inputs = {operand({3, 5, 2})},
         .shapes = {{1, 1, 1}},
         .constant = true});
    add({.op = op,
         .name = "last",
         .attrs = attrs({-1}, false),
         .inputs = {operand({3, 7})},
         .shapes = {{3}}});
    add({.op = op,
         .name = "first_kept",
         .attrs = attrs({0}, true),
         .inputs = {operand({4, 7})},
         .shapes = {{1, 7}}});
    add({.op = op,
         .name = "middle",
         .attrs = attrs({1}, false),
         .inputs = {operand({3, 5, 2})},
         .shapes = {{3, 2}}});
    add({.op = op,
         .name = "outer",
         .attrs = attrs({2, 0}, false),
         .inputs = {operand({3, 5, 2})},
         .shapes = {{5}}});
    add({.op = op,
         .name = "channels",
         .attrs = attrs({0, 2, 3}, true),
         .inputs = {operand({2, 3, 4, 5})},
         .shapes = {{1, 3, 1, 1}}});
    add({.op = op,
         .name = "spatial",
         .attrs = attrs({2, 3}, false),
         .inputs = {operand({2, 3, 4, 5})},
         .shapes = {{2, 3}}});
    add({.op = op,
         .name = "no_rows",
         .attrs = attrs({1}, false),
         .inputs = {operand({0, 3})},
         .shapes = {{0}}});
    add_error({.op = op,
               .name = "range",
               .attrs = attrs({2}, false),
               .inputs = {f32({3, 5})},
               .message = "axis 2 is out of range"});
    add_error({.op = op,
               .name = "twice",
               .attrs = attrs({1, -1}, false),
               .inputs = {f32({3, 5})},
               .message = "named twice"});
    add_error({.op = op,
               .name = "booleans",
               .attrs = attrs({}, false),
               .inputs = {boolean({3})},
               .message = "cast()"});
    if (op == "reduce_mean" || op == "reduce_var") {
      add_error({.op = op,
                 .name = "integers",
                 .attrs = attrs({}, false),
                 .inputs = {i64({3})},
                 .message = "floating"});
    } else {
      add({.op = op, .name = "i64", .attrs = attrs({0}, false), .inputs = {integers({4, 5}, 90)}});
      add({.op = op, .name = "i32", .attrs = attrs({1}, true), .inputs = {integers({4, 5}, 90, DType::I32)}});
    }
  }
  add({.op = "reduce_sum",
       .name = "nothing",
       .attrs = ReduceAttrs{{0}},
       .inputs = {uniform({0, 3})},
       .shapes = {{3}},
       .expected = {{0, 0, 0}},
       .constant = true});
  add({.op = "reduce_sum",
       .name = "many",
       .attrs = ReduceAttrs{{1}},
       .inputs = {uniform({3, 4099})},
       .tolerance = 1e-4});
  add({.op = "reduce_max",
       .name = "nan",
       .attrs = ReduceAttrs{{1}},
       .inputs = {values({3, 2}, {nan, 1, 2, nan, 3, 4})},
       .expected = {{nan, nan, 4}},
       .gradient = false});
  add({.op = "reduce_min",
       .name = "nan",
       .attrs = ReduceAttrs{{1}},
       .inputs = {values({3, 2}, {nan, 1, 2, nan, 3, 4})},
       .expected = {{nan, nan, 3}},
       .gradient = false});
  add({.op = "reduce_var",
       .name = "population",
       .attrs = ReduceVarAttrs{{1}, false, 0.0},
       .inputs = {values({2, 4}, {1, 2, 3, 4, 10, 10, 10, 14})},
       .expected = {{1.25, 3.0}}});
  add({.op = "reduce_var",
       .name = "far_from_zero",
       .attrs = ReduceVarAttrs{{}},
       .inputs = {values({4}, {4097, 4098, 4099, 4100})},
       .expected = {{5.0 / 3.0}},
       .constant = true});
  for (const char* op : {"reduce_max", "reduce_min"})
    add_error({.op = op,
               .name = "nothing",
               .attrs = ReduceAttrs{{0}},
               .inputs = {f32({0, 3})},
               .message = "zero elements"});

  add({.op = "argmax",
       .name = "last",
       .attrs = ArgmaxAttrs{-1},
       .inputs = {distinct({5, 7})},
       .shapes = {{5}}});
  add({.op = "argmax",
       .name = "middle_kept",
       .attrs = ArgmaxAttrs{1, true},
       .inputs = {distinct({2, 6, 3})},
       .shapes = {{2, 1, 3}}});
  add({.op = "argmax",
       .name = "ties_and_nan",
       .attrs = ArgmaxAttrs{1},
       .inputs = {values({3, 3}, {1, 5, 5, 7, nan, 9, nan, nan, 0})},
       .expected = {{1, 1, 0}}});
  add({.op = "argmax", .name = "integers", .attrs = ArgmaxAttrs{0}, .inputs = {integers({9, 4}, 100)}});
  add_error({.op = "argmax",
             .name = "range",
             .attrs = ArgmaxAttrs{2},
             .inputs = {f32({3, 5})},
             .message = "axis 2 is out of range"});
  add_error({.op = "argmax",
             .name = "nothing",
             .attrs = ArgmaxAttrs{1},
             .inputs = {f32({3, 0})},
             .message = "no element"});
}
