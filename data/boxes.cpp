#include "data/boxes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"

namespace ingot {

namespace {

// Without labels every box may remove every other.
std::vector<std::int64_t> suppress(std::span<const BoundingBox> boxes, std::span<const float> scores,
                                   std::span<const std::int64_t> labels, float iou_threshold) {
  if (boxes.size() != scores.size())
    throw UsageError(
        cat("nms: expected one score per box, got ", scores.size(), " scores for ", boxes.size(), " boxes"));
  std::vector<std::int64_t> kept;
  for (const std::int64_t i : falling_order(scores)) {
    const auto at = static_cast<std::size_t>(i);
    const auto removes = [&](std::int64_t k) {
      const auto other = static_cast<std::size_t>(k);
      return (labels.empty() || labels[at] == labels[other]) &&
             box_iou(boxes[at], boxes[other]) > iou_threshold;
    };
    if (std::none_of(kept.begin(), kept.end(), removes)) kept.push_back(i);
  }
  return kept;
}

}  // namespace

float box_iou(const BoundingBox& a, const BoundingBox& b) {
  const float w = std::min(a.right, b.right) - std::max(a.left, b.left);
  const float h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  if (!(w > 0.0f && h > 0.0f)) return 0.0f;
  const float inter = w * h;
  return inter / (a.area() + b.area() - inter);
}

std::vector<std::int64_t> falling_order(std::span<const float> scores) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
    return x > y || (!(x < y) && a < b);
  });
  return order;
}

std::vector<std::int64_t> nms(std::span<const BoundingBox> boxes, std::span<const float> scores,
                              float iou_threshold) {
  return suppress(boxes, scores, {}, iou_threshold);
}

std::vector<std::int64_t> batched_nms(std::span<const BoundingBox> boxes, std::span<const float> scores,
                                      std::span<const std::int64_t> labels, float iou_threshold) {
  if (labels.size() != boxes.size())
    throw UsageError(cat("batched_nms: expected one label per box, got ", labels.size(), " labels for ",
                         boxes.size(), " boxes"));
  return suppress(boxes, scores, labels, iou_threshold);
}

void draw_box(const Tensor& image, const BoundingBox& box, std::array<std::uint8_t, 3> colour,
              std::int64_t thickness) {
  if (image.dtype() != DType::U8 || image.shape().rank() != 3 || image.shape()[0] > 3)
    throw ShapeError(
        cat("draw_box: expected an image u8[channels, height, width] of at most 3 channels, got ",
            to_string(image.type())));
  const std::int64_t channels = image.shape()[0], height = image.shape()[1], width = image.shape()[2];
  const auto pixel = [](float v, std::int64_t most) {
    return static_cast<std::int64_t>(std::clamp(std::round(v), 0.0f, static_cast<float>(most)));
  };
  const std::int64_t left = pixel(box.left, width), right = pixel(box.right, width);
  const std::int64_t top = pixel(box.top, height), bottom = pixel(box.bottom, height);
  for (std::int64_t y = top; y < bottom; ++y)
    for (std::int64_t x = left; x < right; ++x) {
      if (x == left + thickness && y >= top + thickness && y < bottom - thickness)
        x = std::max(x, right - thickness);
      if (x >= right) break;
      for (std::int64_t c = 0; c < channels; ++c)
        image.set((c * height + y) * width + x, colour[static_cast<std::size_t>(c)]);
    }
}

}  // namespace ingot
