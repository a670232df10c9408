#include "core/ops/creation.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(creation) {
  using namespace ingot;
  add({.op = "full",
       .name = "matrix",
       .attrs = FullAttrs{0.25, DType::F32, {2, 3}},
       .shapes = {{2, 3}},
       .expected = {{0.25, 0.25, 0.25, 0.25, 0.25, 0.25}},
       .constant = true});
  add({.op = "full",
       .name = "integer_scalar",
       .attrs = FullAttrs{-3.0, DType::I64, {}},
       .shapes = {{}},
       .expected = {{-3}},
       .constant = true});
  add({.op = "full",
       .name = "empty",
       .attrs = FullAttrs{1.0, DType::F32, {0, 2}},
       .shapes = {{0, 2}},
       .constant = true});
  add({.op = "constant",
       .name = "line",
       .attrs = ConstantAttrs{Tensor::of({1, -2, 3.5f})},
       .shapes = {{3}},
       .expected = {{1, -2, 3.5}}});
  add_error({.op = "constant", .name = "nothing", .attrs = ConstantAttrs{}, .message = "no tensor"});
  add({.op = "iota", .name = "i64", .attrs = IotaAttrs{5}, .shapes = {{5}}, .expected = {{0, 1, 2, 3, 4}}});
  add({.op = "iota", .name = "f32", .attrs = IotaAttrs{3, DType::F32}, .expected = {{0, 1, 2}}});
  add({.op = "iota", .name = "none", .attrs = IotaAttrs{0}, .shapes = {{0}}});
  add_error({.op = "iota", .name = "negative", .attrs = IotaAttrs{-1}, .message = "negative"});
  add_error({.op = "iota", .name = "booleans", .attrs = IotaAttrs{2, DType::Bool}, .message = "numeric"});
}
