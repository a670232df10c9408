#include "core/ops/group_norm.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(group_norm) {
  struct Problem {
    std::string name;
    Shape x;
    std::int64_t groups;
    double lo = -2.0, hi = 2.0;
  };
  // Groups of 8 and 16 channels fill the vectors of a GPU's kernels, others do not.
  const std::vector<Problem> all{
      {"plain", {2, 6, 3, 3}, 3},
      {"vectors", {2, 16, 3, 4}, 2},
      {"one_group", {2, 8, 2, 3}, 1},
      {"each_channel", {2, 5, 4, 3}, 5},
      {"rows", {5, 12}, 3},
      {"sequence", {2, 8, 7}, 4},
      {"one_sample", {1, 32, 9, 8}, 2},
      {"two_pixels", {2, 4, 1, 2}, 4},
      {"far_from_zero", {2, 8, 3, 3}, 2, 99.5, 100.5},
  };
  for (const Problem& p : all) {
    const GroupNormAttrs at{p.groups, 1e-3};
    const Shape channels{p.x[1]}, rows{p.x[0], p.groups};
    const bool far = p.lo > 0.0;
    add({.op = "group_norm",
         .name = p.name,
         .attrs = at,
         .inputs = {uniform(p.x, p.lo, p.hi), positive(channels), uniform(channels)},
         .shapes = {p.x, rows, rows},
         .tolerance = far ? 1e-3 : 1e-5,  // f32 holds values of 100 to 4e-6, the spread is 0.3
         .grad_tolerance = far ? 1e-4 : 1e-6});
    if (far) continue;
    add({.op = "group_norm_grad",
         .name = p.name,
         .attrs = at,
         .inputs = {uniform(p.x), uniform(p.x), positive(channels), uniform(rows, -0.5, 0.5), positive(rows)},
         .shapes = {p.x, channels, channels},
         .rounded_terms = static_cast<int>(p.x.numel() / p.x[1])});
  }
  // Two groups: (1, 3) and (2, 6), whose deviations are 1 and 2.
  add({.op = "group_norm",
       .name = "values",
       .attrs = GroupNormAttrs{2, 0.0},
       .inputs = {values({1, 4, 1, 1}, {1, 3, 2, 6}), values({4}, {1, 1, 2, 3}), values({4}, {0, 0, 1, 10})},
       .expected = {{-1, 1, -1, 13}, {2, 4}, {1, 0.5}},
       .gradient = false});

  add_error({.op = "group_norm",
             .name = "groups",
             .attrs = GroupNormAttrs{4},
             .inputs = {f32({2, 6, 3, 3}), f32({6}), f32({6})},
             .message = "groups 4 must divide the 6 channels"});
  add_error(
      {.op = "group_norm", .name = "rank", .inputs = {f32({6}), f32({6}), f32({6})}, .message = "[N, C]"});
  add_error({.op = "group_norm",
             .name = "gamma",
             .inputs = {f32({2, 6}), f32({3}), f32({6})},
             .message = "gamma (one number per channel) must have shape [6]"});
  add_error({.op = "group_norm",
             .name = "gamma_type",
             .inputs = {f32({2, 6}), {DType::F16, {6}}, {DType::F16, {6}}},
             .message = "gamma must be f32 for x of f32, got f16"});
  add_error({.op = "group_norm",
             .name = "empty",
             .inputs = {f32({2, 6, 0}), f32({6}), f32({6})},
             .message = "are empty"});
  add_error({.op = "group_norm",
             .name = "eps",
             .attrs = GroupNormAttrs{1, -1.0},
             .inputs = {f32({2, 6}), f32({6}), f32({6})},
             .message = "eps must not be negative"});
  add_error({.op = "group_norm_grad",
             .name = "mean",
             .attrs = GroupNormAttrs{2},
             .inputs = {f32({2, 6}), f32({2, 6}), f32({6}), f32({2, 3}), f32({2, 2})},
             .message = "mean (one number per sample and group) must have shape [2, 2]"});
  add_error({.op = "group_norm_grad",
             .name = "dy",
             .attrs = GroupNormAttrs{2},
             .inputs = {f32({2, 4}), f32({2, 6}), f32({6}), f32({2, 2}), f32({2, 2})},
             .message = "dy (as x)"});
}

}  // namespace ingot
