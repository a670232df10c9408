#include <limits>

#include "core/ops/sort.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(sort) {
  using namespace ingot;
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  add({.op = "sort",
       .name = "rising",
       .inputs = {values({2, 4}, {3, -1, 2, 0.5, 1, 1.5, -2, 7})},
       .shapes = {{2, 4}, {2, 4}},
       .expected = {{-1, 0.5, 2, 3, -2, 1, 1.5, 7}, {1, 3, 2, 0, 2, 0, 1, 3}}});
  // Of equal elements the first comes first, whichever way they are sorted.
  add({.op = "sort",
       .name = "ties",
       .attrs = SortAttrs{0},
       .inputs = {values({6}, {2, 1, 2, 0.0, 1, -0.0})},
       .expected = {{0, 0, 1, 1, 2, 2}, {3, 5, 1, 4, 0, 2}},
       .gradient = false});
  add({.op = "sort",
       .name = "ties_falling",
       .attrs = SortAttrs{0, true},
       .inputs = {values({6}, {2, 1, 2, 0.0, 1, -0.0})},
       .expected = {{2, 2, 1, 1, 0, 0}, {0, 2, 1, 4, 3, 5}},
       .gradient = false});
  add({.op = "sort",
       .name = "nan",
       .inputs = {values({6}, {nan, inf, 1, nan, -inf, -nan})},
       .expected = {{-inf, 1, inf, nan, nan, nan}, {4, 2, 1, 0, 3, 5}},
       .gradient = false});
  add({.op = "sort",
       .name = "nan_falling",
       .attrs = SortAttrs{-1, true},
       .inputs = {values({6}, {nan, inf, 1, nan, -inf, -nan})},
       .expected = {{nan, nan, nan, inf, 1, -inf}, {0, 3, 5, 1, 2, 4}},
       .gradient = false});
  add({.op = "sort", .name = "middle", .attrs = SortAttrs{1}, .inputs = {distinct({3, 6, 5})}});
  add({.op = "sort", .name = "image", .attrs = SortAttrs{-2, true}, .inputs = {distinct({2, 3, 5, 4})}});
  add({.op = "sort", .name = "one", .attrs = SortAttrs{1}, .inputs = {distinct({4, 1})}});
  add({.op = "sort", .name = "none", .attrs = SortAttrs{1}, .inputs = {uniform({4, 0})}});
  add({.op = "sort", .name = "i32", .inputs = {integers({3, 70}, 9, DType::I32)}});
  add({.op = "sort",
       .name = "i64",
       .attrs = SortAttrs{0, true},
       .inputs = {values({5, 2}, {-3, 1e15, 4, -1e15, -3, 0, 4, 1e15, 9, 5}, DType::I64)},
       .expected = {{9, 1e15, 4, 1e15, 4, 5, -3, 0, -3, -1e15}, {4, 0, 1, 3, 3, 4, 0, 2, 2, 1}}});
  add({.op = "sort", .name = "u8", .inputs = {integers({2, 9}, 256, DType::U8)}});
  add_error(
      {.op = "sort", .name = "axis", .attrs = SortAttrs{2}, .inputs = {f32({3, 2})}, .message = "axis 2"});
  add_error({.op = "sort", .name = "booleans", .inputs = {boolean({3})}, .message = "cast()"});

  add({.op = "topk",
       .name = "greatest",
       .attrs = TopkAttrs{2},
       .inputs = {values({2, 4}, {3, -1, 2, 0.5, 1, 1.5, -2, 7})},
       .shapes = {{2, 2}, {2, 2}},
       .expected = {{3, 2, 7, 1.5}, {0, 2, 3, 1}}});
  add({.op = "topk",
       .name = "least",
       .attrs = TopkAttrs{3, 0, false},
       .inputs = {values({5}, {3, -1, 2, -1, 1})},
       .expected = {{-1, -1, 1}, {1, 3, 4}},
       .gradient = false});
  add({.op = "topk",
       .name = "nan",
       .attrs = TopkAttrs{2},
       .inputs = {values({2, 3}, {1, nan, inf, -inf, 5, -1})},
       .expected = {{nan, inf, 5, -1}, {1, 2, 1, 2}},
       .gradient = false});
  add({.op = "topk", .name = "middle", .attrs = TopkAttrs{3, 1}, .inputs = {distinct({2, 9, 4})}});
  add({.op = "topk", .name = "all", .attrs = TopkAttrs{5, -1, false}, .inputs = {distinct({3, 5})}});
  add({.op = "topk",
       .name = "nothing",
       .attrs = TopkAttrs{0},
       .inputs = {uniform({3, 5})},
       .shapes = {{3, 0}, {3, 0}}});
  add({.op = "topk", .name = "i64", .attrs = TopkAttrs{4}, .inputs = {integers({3, 40}, 12)}});
  add_error({.op = "topk",
             .name = "k",
             .attrs = TopkAttrs{6},
             .inputs = {f32({3, 5})},
             .message = "k must lie in [0, 5]"});
}
