// A small detector without anchors: FCOS (Tian et al., "FCOS: Fully Convolutional One-Stage Object
// Detection", arXiv 1904.01355) with one level of stride 8, for images of a few hundred pixels.
//
// Every place of the map says for each class whether the middle of such an object is near, how far the
// object's four sides are, and how central the place lies in it. Training compares that with targets that the
// host makes from the boxes; the loss is ordinary graph.
//
//   FcosConfig config{.classes = 3};
//   const auto net = make_fcos(config, 3);
//   const Value out = (*net)(x);                             // x: f32[N, 3, H, W], H and W multiples of 16
//   const FcosLoss loss = fcos_loss(config, out, classes, sides, centre);
//   ...
//   fcos_targets(config, boxes, height, width, row);         // what classes, sides and centre are fed with
//   std::vector<Detection> found = fcos_detections(config, session.output("map"), 0);
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/ir/tensor.h"
#include "data/boxes.h"
#include "layers/module.h"

namespace ingot {

struct FcosConfig {
  std::int64_t classes = 1;
  // Channels at strides 2, 4, 8 and 16. What stride 16 sees is brought back to stride 8, where the head works
  // with `head` channels.
  std::array<std::int64_t, 4> channels{16, 32, 64, 128};
  std::int64_t head = 64;
  // A place is trained as the middle of an object when it lies in its box and at most this many strides from
  // the box's centre, along both axes; of several objects the smallest has it.
  double radius = 1.5;

  static constexpr std::int64_t kStride = 8;
  // Of the map: the classes' logits, the logarithms of the distances to left, top, right and bottom in
  // strides, the logit of the centrality.
  std::int64_t outputs() const { return classes + 5; }
};

// x[N, in_channels, H, W] -> [N, config.outputs(), H / 8, W / 8]. Throws UsageError for sizes that are no
// multiples of 16.
std::shared_ptr<Module> make_fcos(const FcosConfig& config, std::int64_t in_channels);

// Views of one image's part of the targets, f32 and row-major, over h x w places.
struct FcosTargets {
  std::span<float> classes;  // [classes, h, w]: 1 where an object of the class is
  std::span<float> sides;    // [4, h, w]: distances to the sides in strides; 1 where nothing is
  std::span<float>
      centre;  // [1, h, w]: sqrt of min/max of the distances across times that down; 0 where nothing is
};
// Throws UsageError for spans of another size and labels that are no class. Difficult and empty boxes are
// left out.
void fcos_targets(const FcosConfig& config, std::span<const LabelledBox> boxes, std::int64_t height,
                  std::int64_t width, const FcosTargets& out);

// focal: sigmoid focal loss (arXiv 1708.02002) over all places, by the number of those with an object; sides:
// 1 - GIoU (arXiv 1902.09630) weighted by the centrality; centre: binary cross-entropy where an object is.
// total is their sum.
struct FcosLoss {
  Value total, focal, sides, centre;
};
FcosLoss fcos_loss(const FcosConfig& config, Value out, Value classes, Value sides, Value centre,
                   SourceLoc loc = SourceLoc::current());

struct FcosDecode {
  float least_score = 0.05f;                  // of sqrt(class probability * centrality)
  float iou_threshold = 0.5f;                 // of batched_nms()
  std::int64_t candidates = 500, most = 100;  // before and after it
};
// Of row `row` of the network's result, by falling scores; corners in pixels of its input.
std::vector<Detection> fcos_detections(const FcosConfig& config, const Tensor& out, std::int64_t row,
                                       const FcosDecode& options = {});

}  // namespace ingot
