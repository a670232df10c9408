#include "core/ops/resize.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(resize) {
  struct Resize {
    std::string name;
    Shape x;
    std::array<std::int64_t, 2> size;
    std::string mode, coordinates;
    double scale = 0.0;
  };
  // Channels 8 and 16 fill the vectors of a GPU's kernels, 3 does not.
  const std::vector<Resize> all{
      {"nearest_twice", {2, 8, 3, 4}, {6, 8}, "nearest", "asymmetric"},
      {"nearest_uneven", {1, 3, 5, 7}, {8, 3}, "nearest", "asymmetric"},
      {"nearest_exact", {1, 16, 4, 5}, {7, 9}, "nearest", "half_pixel"},
      {"nearest_factor", {1, 3, 5, 5}, {7, 7}, "nearest", "asymmetric", 1.0 / 1.5},
      {"nearest_one", {1, 2, 3, 3}, {1, 1}, "nearest", "half_pixel"},
      {"bilinear_twice", {2, 8, 3, 4}, {6, 8}, "bilinear", "half_pixel"},
      {"bilinear_uneven", {1, 3, 5, 7}, {8, 3}, "bilinear", "half_pixel"},
      {"bilinear_down", {1, 16, 9, 8}, {4, 3}, "bilinear", "half_pixel"},
      {"bilinear_factor", {1, 3, 4, 5}, {6, 7}, "bilinear", "half_pixel", 1.0 / 1.6},
      {"bilinear_same", {1, 3, 4, 4}, {4, 4}, "bilinear", "half_pixel"},
      {"corners", {2, 8, 3, 4}, {5, 9}, "bilinear", "align_corners"},
      {"corners_down", {1, 3, 6, 7}, {3, 1}, "bilinear", "align_corners"},
      {"corners_of_one", {1, 3, 1, 4}, {3, 6}, "bilinear", "align_corners"},
      {"asymmetric", {1, 3, 4, 5}, {7, 8}, "bilinear", "asymmetric"},
      // Places beyond the last pixel, and none near the others.
      {"far_apart", {1, 2, 3, 3}, {4, 4}, "bilinear", "asymmetric", 2.5},
      {"far_apart_nearest", {1, 2, 3, 3}, {4, 4}, "nearest", "asymmetric", 2.5},
      {"large", {1, 4, 17, 40}, {40, 33}, "bilinear", "half_pixel"},
  };
  for (const auto& r : all) {
    const Shape y{r.x[0], r.x[1], r.size[0], r.size[1]};
    add({.op = "resize2d",
         .name = r.name,
         .attrs = Resize2dAttrs{r.size, r.mode, r.coordinates, r.scale, r.scale},
         .inputs = {uniform(r.x)},
         .shapes = {y}});
    add({.op = "resize2d_grad",
         .name = r.name,
         .attrs = Resize2dGradAttrs{r.x, r.mode, r.coordinates, r.scale, r.scale},
         .inputs = {uniform(y)},
         .shapes = {r.x}});
  }
  add({.op = "resize2d",
       .name = "values_nearest",
       .attrs = Resize2dAttrs{{2, 5}, "nearest", "asymmetric"},
       .inputs = {values({1, 1, 1, 3}, {1, 2, 3})},
       .expected = {{1, 1, 2, 2, 3, 1, 1, 2, 2, 3}}});
  add({.op = "resize2d",
       .name = "values_half_pixel",
       .attrs = Resize2dAttrs{{1, 4}, "bilinear", "half_pixel"},
       .inputs = {values({1, 1, 1, 2}, {4, 8})},
       .expected = {{4, 5, 7, 8}}});
  add({.op = "resize2d",
       .name = "values_corners",
       .attrs = Resize2dAttrs{{1, 5}, "bilinear", "align_corners"},
       .inputs = {values({1, 1, 1, 2}, {4, 8})},
       .expected = {{4, 5, 6, 7, 8}}});

  add_error({.op = "resize2d", .name = "rank", .inputs = {f32({3, 8, 8})}, .message = "x [N, C, H, W]"});
  add_error({.op = "resize2d", .name = "integer", .inputs = {i64({1, 3, 8, 8})}, .message = "floating"});
  add_error({.op = "resize2d",
             .name = "mode",
             .attrs = Resize2dAttrs{{2, 2}, "cubic"},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "'nearest' or 'bilinear', got 'cubic'"});
  add_error({.op = "resize2d",
             .name = "coordinates",
             .attrs = Resize2dAttrs{{2, 2}, "nearest", "align_corners"},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "for bilinear, 'align_corners', got 'align_corners'"});
  add_error({.op = "resize2d",
             .name = "size",
             .attrs = Resize2dAttrs{{0, 2}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "1 or more, got 0 x 2"});
  add_error({.op = "resize2d",
             .name = "scale",
             .attrs = Resize2dAttrs{{2, 2}, "nearest", "asymmetric", -1.0},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "or more, got -1"});
  add_error({.op = "resize2d", .name = "empty", .inputs = {f32({1, 3, 0, 8})}, .message = "is empty"});
  add_error({.op = "resize2d_grad",
             .name = "input_shape",
             .inputs = {f32({1, 3, 8, 8})},
             .message = "input_shape must have rank 4"});
  add_error({.op = "resize2d_grad",
             .name = "channels",
             .attrs = Resize2dGradAttrs{{1, 4, 8, 8}},
             .inputs = {f32({1, 3, 8, 8})},
             .message = "images and channels of input_shape [1, 4, 8, 8]"});
}

}  // namespace ingot
