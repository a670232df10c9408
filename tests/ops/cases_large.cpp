// Problems just past the sizes from which a backend's kernels take another way: rows that no longer fit the
// registers of a warp (1,024 elements) or of a block, axes that are cut into parts, indices that are sorted,
// windows that a warp shares. On the CPU they are problems like any other.
#include <utility>

#include "core/ops/gather.h"
#include "core/ops/norm.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/sort.h"
#include "core/ops/view.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(large) {
  for (const std::string op : {"softmax", "log_softmax"})
    for (const std::int64_t length : {1096, 1099})  // of whole 16 bytes, and not
      add({.op = op,
           .name = cat("row_of_", length),
           .inputs = {uniform({2, length})},
           .shapes = {{2, length}},
           .tolerance = 5e-5});

  for (const std::int64_t cells : {2051, 8200})
    add({.op = "layer_norm",
         .name = cat("row_of_", cells),
         .inputs = {uniform({3, cells}), uniform({cells}), uniform({cells})},
         .shapes = {{3, cells}, {3}, {3}},
         .tolerance = 1e-4});

  const auto images = [](const Shape& x) {
    return std::vector<test::InputSpec>{uniform(x), uniform({x[1]}), uniform({x[1]}),
                                        uniform({x[1]}).no_gradient(), positive({x[1]}).no_gradient()};
  };
  for (const std::int64_t channels : {3, 8})
    add({.op = "batch_norm",
         .name = cat("many_pixels_", channels),
         .inputs = images({5, channels, 16, 17}),
         .shapes = {{5, channels, 16, 17}, {channels}, {channels}, {channels}, {channels}},
         .tolerance = 1e-4});

  add({.op = "argmax",
       .name = "long_rows",
       .attrs = ArgmaxAttrs{1},
       .inputs = {distinct({2, 1100})},
       .shapes = {{2}}});
  add({.op = "argmax",
       .name = "row_in_parts",
       .attrs = ArgmaxAttrs{0},
       .inputs = {distinct({8200})},
       .shapes = {{}}});
  add({.op = "argmax",
       .name = "columns_in_parts",
       .attrs = ArgmaxAttrs{0},
       .inputs = {distinct({150, 5})},
       .shapes = {{5}}});

  add({.op = "transpose",
       .name = "tiles",
       .attrs = TransposeAttrs{{0, 2, 1}},
       .inputs = {uniform({2, 35, 18})}});

  add({.op = "adaptive_avg_pool2d",
       .name = "large_windows",
       .attrs = AdaptiveAvgPool2dAttrs{{1, 1}},
       .inputs = {uniform({2, 5, 7, 6})},
       .shapes = {{2, 5, 1, 1}}});

  add({.op = "embedding",
       .name = "many_indices",
       .inputs = {uniform({6, 4}), integers({3, 700}, 6)},
       .shapes = {{3, 700, 4}}});
  add({.op = "scatter_add",
       .name = "many_indices",
       .attrs = ScatterAddAttrs{1, {2, 300, 3}},
       .inputs = {uniform({2, 2100, 3}), integers({2100}, 300)},
       .shapes = {{2, 300, 3}}});

  // More than a block sorts.
  add({.op = "sort", .name = "long_row", .attrs = SortAttrs{1}, .inputs = {distinct({2, 5000})}});
  add({.op = "sort",
       .name = "long_columns",
       .attrs = SortAttrs{0, true},
       .inputs = {integers({2100, 3}, 50, DType::I32)}});
  add({.op = "sort", .name = "long_i64", .attrs = SortAttrs{1, true}, .inputs = {integers({2, 4100}, 300)}});
  add({.op = "topk", .name = "few_of_many", .attrs = TopkAttrs{7}, .inputs = {distinct({2, 9000})}});
  add({.op = "topk",
       .name = "few_of_many_i64",
       .attrs = TopkAttrs{300, 0, false},
       .inputs = {integers({4200, 2}, 1000)}});
  add({.op = "topk",
       .name = "many_of_many",
       .attrs = TopkAttrs{3000, 0, false},
       .inputs = {distinct({6200, 2})}});
}

}  // namespace ingot
