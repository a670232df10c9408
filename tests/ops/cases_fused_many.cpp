#include "core/ops/fused_many.h"

#include "tests/support/op_case.h"

INGOT_OP_CASES(fused_many) {
  using namespace ingot;
  ScalarExpr narrowed({DType::F32});
  narrowed.add_output(narrowed.emit_cast(0, DType::BF16));
  add({.op = "fused_many",
       .name = "casts",
       .attrs = FusedManyAttrs{3, 0, narrowed},
       .inputs = {values({3}, {1.0 + 1.0 / 512, 1.0 + 3.0 / 256, -3.14159}), values({}, {2.0}),
                  values({2, 1}, {0.5, -0.25})},
       .shapes = {{3}, {}, {2, 1}},
       .expected = {{1.0, 1.015625, -3.140625}, {2.0}, {0.5, -0.25}},
       .tolerance = 1e-2});

  ScalarExpr counted({DType::I64});
  counted.add_output(counted.emit(ScalarOp::Add, {0, counted.emit_const(1, DType::I64)}));
  add({.op = "fused_many",
       .name = "counters",
       .attrs = FusedManyAttrs{4, 0, counted},
       .inputs = {integers({}, 9), values({}, {41}).as(DType::I64), integers({5}, 9), integers({0}, 9)},
       .shapes = {{}, {}, {5}, {0}},
       .expected = {{}, {42}, {}, {}}});

  // A step that counts or does not: old and new statistics of several layers, chosen by one flag.
  ScalarExpr chosen({DType::Bool, DType::F32, DType::F32});
  chosen.add_output(chosen.emit(ScalarOp::Where, {0, 1, 2}));
  const auto choice = [&](double flag) {
    return std::vector<test::InputSpec>{values({}, {flag}).as(DType::Bool), values({2}, {1, 2}),
                                        values({3}, {3, 4, 5}), values({2}, {6, 7}), values({3}, {8, 9, 10})};
  };
  for (const bool taken : {true, false})
    add({.op = "fused_many",
         .name = taken ? "taken" : "kept",
         .attrs = FusedManyAttrs{2, 1, chosen},
         .inputs = choice(taken),
         .expected = taken ? std::vector<std::vector<double>>{{1, 2}, {3, 4, 5}}
                           : std::vector<std::vector<double>>{{6, 7}, {8, 9, 10}}});

  // Longer than a block's share, images among them, a shared factor, an operand that is read twice.
  ScalarExpr scaled({DType::F32, DType::F32, DType::F32});
  const auto product = scaled.emit(ScalarOp::Mul, {0, 1});
  scaled.add_output(scaled.emit(ScalarOp::Relu, {scaled.emit(ScalarOp::Sub, {product, 2})}));
  add({.op = "fused_many",
       .name = "long",
       .attrs = FusedManyAttrs{3, 1, scaled},
       .inputs = {scalar(0.75), uniform({5003}), uniform({2, 3, 8, 8}), uniform({4096}), uniform({5003}),
                  uniform({2, 3, 8, 8}), uniform({4096})},
       .shapes = {{5003}, {2, 3, 8, 8}, {4096}}});
  add({.op = "fused_many",
       .name = "empty",
       .attrs = FusedManyAttrs{1, 1, scaled},
       .inputs = {scalar(2.0), uniform({0, 2}), uniform({0, 2})},
       .shapes = {{0, 2}}});

  add_error({.op = "fused_many",
             .name = "operands",
             .attrs = FusedManyAttrs{2, 1, scaled},
             .inputs = {f32({}), f32({2}), f32({2})},
             .message = "expects 5 operands"});
  add_error({.op = "fused_many",
             .name = "dtype",
             .attrs = FusedManyAttrs{1, 1, scaled},
             .inputs = {f32({}), i64({2}), f32({2})},
             .message = "input 1 of the tape, operand 1, must be f32"});
  add_error({.op = "fused_many",
             .name = "group_shape",
             .attrs = FusedManyAttrs{1, 1, scaled},
             .inputs = {f32({}), f32({2}), f32({3})},
             .message = "operand 2, must have shape [2]"});
  add_error({.op = "fused_many",
             .name = "shared_rank",
             .attrs = FusedManyAttrs{1, 1, scaled},
             .inputs = {f32({1}), f32({2}), f32({2})},
             .message = "operand 0, must have rank 0"});
  add_error({.op = "fused_many",
             .name = "count",
             .attrs = FusedManyAttrs{0, 0, counted},
             .inputs = {i64({2})},
             .message = "'count' must be at least 1"});
  add_error({.op = "fused_many",
             .name = "all_shared",
             .attrs = FusedManyAttrs{1, 1, counted},
             .inputs = {i64({})},
             .message = "'shared' must lie in [0, 1)"});
}
