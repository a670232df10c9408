#include <limits>

#include "core/ops/scan.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(scan) {
  using namespace ingot;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  add({.op = "cumsum",
       .name = "last",
       .attrs = CumsumAttrs{-1},
       .inputs = {values({2, 4}, {1, 2, 3, 4, -1, 0.5, 0, 8})},
       .shapes = {{2, 4}},
       .expected = {{1, 3, 6, 10, -1, -0.5, -0.5, 7.5}}});
  add({.op = "cumsum",
       .name = "first_exclusive",
       .attrs = CumsumAttrs{0, true},
       .inputs = {values({3, 2}, {1, 2, 3, 4, 5, 6})},
       .expected = {{0, 0, 1, 2, 4, 6}}});
  add({.op = "cumsum",
       .name = "reverse",
       .attrs = CumsumAttrs{1, false, true},
       .inputs = {values({2, 3}, {1, 2, 3, 4, 5, 6})},
       .expected = {{6, 5, 3, 15, 11, 6}}});
  add({.op = "cumsum",
       .name = "reverse_exclusive",
       .attrs = CumsumAttrs{0, true, true},
       .inputs = {values({4}, {1, 2, 3, 4})},
       .expected = {{9, 7, 4, 0}}});
  add({.op = "cumsum", .name = "middle", .attrs = CumsumAttrs{1}, .inputs = {uniform({3, 5, 7})}});
  add({.op = "cumsum", .name = "image", .attrs = CumsumAttrs{2}, .inputs = {uniform({2, 3, 4, 5})}});
  add({.op = "cumsum",
       .name = "after_nan",
       .attrs = CumsumAttrs{0},
       .inputs = {values({4}, {1, nan, 2, 3})},
       .expected = {{1, nan, nan, nan}},
       .gradient = false});
  add({.op = "cumsum", .name = "none", .attrs = CumsumAttrs{1}, .inputs = {uniform({3, 0})}});
  add({.op = "cumsum",
       .name = "i32",
       .attrs = CumsumAttrs{1},
       .inputs = {values({1, 3}, {2147483647, 1, 5}, DType::I32)},
       .expected = {{2147483647, -2147483648.0, -2147483643.0}}});
  add({.op = "cumsum",
       .name = "i64",
       .attrs = CumsumAttrs{0, false, true},
       .inputs = {integers({40, 3}, 90)}});
  add({.op = "cumsum",
       .name = "u8",
       .attrs = CumsumAttrs{0},
       .inputs = {values({3}, {200, 100, 1}, DType::U8)},
       .expected = {{200, 44, 45}}});
  // Past the sizes from which a GPU cuts the axis into parts.
  add({.op = "cumsum",
       .name = "row_in_parts",
       .attrs = CumsumAttrs{1, true},
       .inputs = {uniform({2, 2100})},
       .tolerance = 2e-5});
  add({.op = "cumsum",
       .name = "columns_in_parts",
       .attrs = CumsumAttrs{0, false, true},
       .inputs = {uniform({150, 5})},
       .tolerance = 2e-5});
  add({.op = "cumsum",
       .name = "integers_in_parts",
       .attrs = CumsumAttrs{1},
       .inputs = {integers({3, 2100}, 1000, DType::I32)}});
  add({.op = "cumsum",
       .name = "integers_in_parts_reversed",
       .attrs = CumsumAttrs{1, true, true},
       .inputs = {integers({2, 2051}, 256, DType::U8)}});
  add_error({.op = "cumsum",
             .name = "axis",
             .attrs = CumsumAttrs{2},
             .inputs = {f32({3, 2})},
             .message = "axis 2 is out of range"});
  add_error({.op = "cumsum", .name = "booleans", .inputs = {boolean({3})}, .message = "cast()"});

  add({.op = "compress",
       .name = "rows",
       .attrs = CompressAttrs{0},
       .inputs = {values({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), values({4}, {0, 1, 0, 1}, DType::Bool)},
       .shapes = {{4, 2}, {}},
       .expected = {{3, 4, 7, 8, 0, 0, 0, 0}, {2}}});
  add({.op = "compress",
       .name = "columns",
       .attrs = CompressAttrs{-1},
       .inputs = {values({2, 3}, {1, 2, 3, 4, 5, 6}), values({3}, {1, 0, 1}, DType::Bool)},
       .expected = {{1, 3, 0, 4, 6, 0}, {2}}});
  add({.op = "compress",
       .name = "all",
       .attrs = CompressAttrs{1},
       .inputs = {uniform({2, 5, 3}), values({5}, {1}, DType::Bool)},
       .shapes = {{2, 5, 3}, {}}});
  add({.op = "compress",
       .name = "nothing",
       .attrs = CompressAttrs{0},
       .inputs = {uniform({5}), values({5}, {0}, DType::Bool)},
       .expected = {{0, 0, 0, 0, 0}, {0}},
       .constant = true});
  add({.op = "compress",
       .name = "none",
       .attrs = CompressAttrs{0},
       .inputs = {uniform({0, 2}), bools({0})},
       .shapes = {{0, 2}, {}}});
  add({.op = "compress",
       .name = "bytes",
       .attrs = CompressAttrs{1},
       .inputs = {integers({3, 9, 3}, 200, DType::U8), bools({9})}});
  add({.op = "compress",
       .name = "long",
       .attrs = CompressAttrs{0},
       .inputs = {integers({2600}, 1 << 20), bools({2600})}});
  add_error({.op = "compress",
             .name = "length",
             .attrs = CompressAttrs{1},
             .inputs = {f32({3, 2}), boolean({3})},
             .message = "must have shape [2]"});
  add_error({.op = "compress",
             .name = "mask",
             .inputs = {f32({3, 2}), i64({3})},
             .message = "the mask must be bool"});
}
