#include "core/ops/gather.h"
#include "tests/support/op_case.h"

INGOT_OP_CASES(gather) {
  using namespace ingot;
  add({.op = "gather",
       .name = "rows",
       .attrs = GatherAttrs{0},
       .inputs = {values({3, 2}, {0, 1, 10, 11, 20, 21}), values({4}, {2, 0, 2, -2}, DType::I64)},
       .shapes = {{4, 2}},
       .expected = {{20, 21, 0, 1, 20, 21, 10, 11}}});
  add({.op = "gather",
       .name = "middle",
       .attrs = GatherAttrs{-2},
       .inputs = {uniform({2, 5, 3}), integers({2, 3}, 5, DType::I32)},
       .shapes = {{2, 2, 3, 3}}});
  add({.op = "gather",
       .name = "one",
       .attrs = GatherAttrs{1},
       .inputs = {uniform({4, 6}), integers({}, 6)},
       .shapes = {{4}}});
  add({.op = "gather",
       .name = "none",
       .attrs = GatherAttrs{0},
       .inputs = {uniform({4, 6}), integers({0}, 4)},
       .shapes = {{0, 6}}});
  add({.op = "gather",
       .name = "integers",
       .attrs = GatherAttrs{0},
       .inputs = {integers({9}, 100), integers({5}, 9)}});
  add_error({.op = "gather",
             .name = "axis",
             .attrs = GatherAttrs{2},
             .inputs = {f32({3, 2}), i64({4})},
             .message = "axis 2 is out of range"});
  add_error({.op = "gather",
             .name = "index",
             .attrs = GatherAttrs{0},
             .inputs = {f32({3, 2}), f32({4})},
             .message = "i32 or i64"});

  add({.op = "scatter_add",
       .name = "repeated",
       .attrs = ScatterAddAttrs{0, {4}},
       .inputs = {values({5}, {1, 2, 3, 4, 5}), values({5}, {3, 0, 3, -1, 1}, DType::I64)},
       .expected = {{2, 5, 0, 8}}});
  add({.op = "scatter_add",
       .name = "middle",
       .attrs = ScatterAddAttrs{1, {2, 5, 3}},
       .inputs = {uniform({2, 2, 4, 3}), integers({2, 4}, 5)},
       .shapes = {{2, 5, 3}}});
  add({.op = "scatter_add",
       .name = "integers",
       .attrs = ScatterAddAttrs{0, {4}},
       .inputs = {integers({9}, 50), integers({9}, 4, DType::I32)}});
  add_error({.op = "scatter_add",
             .name = "shape",
             .attrs = ScatterAddAttrs{0, {4, 2}},
             .inputs = {f32({5, 3}), i64({5})},
             .message = "must have shape [5, 2]"});

  add({.op = "one_hot",
       .name = "labels",
       .attrs = OneHotAttrs{3},
       .inputs = {values({5}, {2, 0, -1, 3, -100}, DType::I64)},
       .shapes = {{5, 3}},
       .expected = {{0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}}});
  add({.op = "one_hot",
       .name = "booleans",
       .attrs = OneHotAttrs{4, DType::Bool},
       .inputs = {integers({2, 3}, 4, DType::I32)},
       .shapes = {{2, 3, 4}}});
  add_error(
      {.op = "one_hot", .name = "depth", .attrs = OneHotAttrs{0}, .inputs = {i64({2})}, .message = "depth"});
  add_error({.op = "one_hot",
             .name = "dtype",
             .attrs = OneHotAttrs{3},
             .inputs = {f32({2})},
             .message = "i32 or i64"});

  add({.op = "embedding",
       .name = "words",
       .attrs = EmbeddingAttrs{},
       .inputs = {uniform({7, 3}), integers({2, 5}, 7)},
       .shapes = {{2, 5, 3}}});
  // The gradient leaves the padding row out, which differences of the value cannot show: see embedding_grad.
  add({.op = "embedding",
       .name = "padding",
       .attrs = EmbeddingAttrs{0},
       .inputs = {values({2, 2}, {1, 2, 3, 4}), values({3}, {1, 0, 1}, DType::I32)},
       .expected = {{3, 4, 1, 2, 3, 4}},
       .gradient = false});
  add_error({.op = "embedding", .name = "rank", .inputs = {f32({7}), i64({2})}, .message = "rank 2"});
  add_error({.op = "embedding",
             .name = "padding",
             .attrs = EmbeddingAttrs{7},
             .inputs = {f32({7, 2}), i64({2})},
             .message = "padding_idx 7"});

  add({.op = "embedding_grad",
       .name = "repeated",
       .attrs = EmbeddingGradAttrs{3},
       .inputs = {values({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), values({4}, {2, 0, 2, 2}, DType::I64)},
       .shapes = {{3, 2}},
       .expected = {{3, 4, 0, 0, 13, 16}}});
  add({.op = "embedding_grad",
       .name = "padding",
       .attrs = EmbeddingGradAttrs{3, 2},
       .inputs = {values({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), values({4}, {2, 0, 1, 2}, DType::I64)},
       .expected = {{3, 4, 5, 6, 0, 0}}});
  add_error({.op = "embedding_grad",
             .name = "shape",
             .attrs = EmbeddingGradAttrs{3},
             .inputs = {f32({4, 2}), i64({5})},
             .message = "must have shape [5, 2]"});
}
