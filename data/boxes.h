// Boxes around objects: overlaps, non-maximum suppression, and what detectors give and are told.
//
// Corners are in pixels, x to the right and y down, as points of the plane: a box of width 1 covers one
// pixel, and no corner belongs to a pixel (COCO's and torchvision's reading; Pascal VOC's devkit counts both
// corners as pixels). All of it runs on the CPU over plain arrays.
//
//   std::vector<std::int64_t> kept = nms(boxes, scores, 0.5f);            // torchvision.ops.nms
//   draw_box(image, boxes[kept[0]], {255, 0, 0});
//   write_png("found.png", image);
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/ir/tensor.h"

namespace ingot {

struct BoundingBox {
  float left = 0.0f, top = 0.0f, right = 0.0f, bottom = 0.0f;
  float width() const { return right - left; }
  float height() const { return bottom - top; }
  float area() const { return width() * height(); }
  friend bool operator==(const BoundingBox&, const BoundingBox&) = default;
};

// What an annotation says. `difficult` objects neither count as missed nor as found (Pascal VOC).
struct LabelledBox {
  BoundingBox box;
  std::int64_t label = 0;
  bool difficult = false;
};

// What a detector says.
struct Detection {
  BoundingBox box;
  std::int64_t label = 0;
  float score = 0.0f;
};

// Intersection over union; 0 for boxes of which both are empty, where torchvision gives NaN.
float box_iou(const BoundingBox& a, const BoundingBox& b);

// The places of `scores` from the highest on, equal ones in the order of the array.
std::vector<std::int64_t> falling_order(std::span<const float> scores);

// Which boxes stay when each one, in the order of falling scores (equal ones in the order of the arrays),
// removes those after it that overlap it by more than `iou_threshold`: their indices in that order.
// torchvision.ops.nms. Throws UsageError when there are not as many scores as boxes.
std::vector<std::int64_t> nms(std::span<const BoundingBox> boxes, std::span<const float> scores,
                              float iou_threshold);
// Boxes remove only those of their own label. torchvision.ops.batched_nms.
std::vector<std::int64_t> batched_nms(std::span<const BoundingBox> boxes, std::span<const float> scores,
                                      std::span<const std::int64_t> labels, float iou_threshold);

// Draws the four sides, `thickness` pixels wide and inside the box, into u8[channels, H, W] of any layout;
// what lies outside the image is left out. Throws ShapeError for other tensors.
void draw_box(const Tensor& image, const BoundingBox& box, std::array<std::uint8_t, 3> colour,
              std::int64_t thickness = 2);

}  // namespace ingot
