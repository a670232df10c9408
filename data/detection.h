// Samples for detectors: an image with the boxes in it, cut out, scaled, mirrored and recoloured together.
//
// What is random is drawn from `draws` alone (data/draws.h), so a sample is a pure function of seed, epoch
// and index.
//
//   DetectionSample whole{read_image(path), boxes};
//   DetectionSample test = resized_view(whole, 240, 320);
//   Draws draws(seed, "view", epoch, index);
//   DetectionSample train = random_view(whole, 240, 320, {.horizontal_flip = true}, draws);
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/ir/tensor.h"
#include "data/augment.h"
#include "data/boxes.h"
#include "data/draws.h"

namespace ingot {

struct DetectionSample {
  Tensor image;  // u8[3 or 1, H, W]
  std::vector<LabelledBox> boxes;
};

struct DetectionAugment {
  // The image is seen this many times as large as in resized_view(), at a random place: above 1 a part of it
  // fills the view, below 1 it lies somewhere in a grey one.
  double least_zoom = 1.0, most_zoom = 1.0;
  bool horizontal_flip = false, vertical_flip = false;  // each of every second sample, on average
  std::optional<ColorJitter> color_jitter{};
  // Boxes are cut at the view's edges. Those of which less than this share of the area is left are dropped,
  // and so are empty ones.
  double least_kept = 0.3;
};

// The whole image stretched to height x width, with all of its boxes. The image is channels-last in memory.
DetectionSample resized_view(const DetectionSample& from, std::int64_t height, std::int64_t width);
// Throws UsageError for options that make no sense.
DetectionSample random_view(const DetectionSample& from, std::int64_t height, std::int64_t width,
                            const DetectionAugment& augment, Draws& draws);

}  // namespace ingot
