// Average precision of detectors, on the host, by the rules of Pascal VOC or of COCO.
//
// Both sort the detections of a class over all images by falling scores, call each one right or wrong, and
// take the area below the precision that is reached at each recall or a higher one. They differ in two
// points:
//
//   Voc    a detection belongs to the object that it overlaps most, and is wrong when that object has been
//   found
//          already; the area is exact ("all points", VOC 2010 and later; Everingham et al. 2010).
//   Coco   a detection belongs to the one it overlaps most of those that are left; the area is the mean over
//   the
//          recalls 0, 0.01, ..., 1 (pycocotools); only the 100 best detections of a class and image count.
//
// Right means an overlap of at least `iou`. Difficult objects are not missed, and what belongs to them is
// neither right nor wrong. Overlaps are those of box_iou(): corners are points, as in COCO.
//
//   DetectionScores scores(3);
//   scores.add(truth, found);                          // once an image
//   scores.mean_average_precision(0.5);                // mAP at IoU 0.5
//   scores.coco_map();                                 // mAP at 0.50, 0.55, ..., 0.95
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/boxes.h"

namespace ingot {

enum class PrecisionRule : std::uint8_t { Voc, Coco };

class DetectionScores {
 public:
  explicit DetectionScores(std::int64_t classes);

  // One image. Throws UsageError for a label that is no class.
  void add(std::span<const LabelledBox> truth, std::span<const Detection> found);

  std::int64_t classes() const { return classes_; }
  // Objects of a class that are not difficult.
  std::int64_t objects(std::int64_t c) const;
  // NaN for a class of which there is no object.
  double average_precision(std::int64_t c, double iou, PrecisionRule rule = PrecisionRule::Voc) const;
  // Over the classes of which there are objects; NaN when there are none.
  double mean_average_precision(double iou, PrecisionRule rule = PrecisionRule::Voc) const;
  // COCO's "AP": the mean over ten thresholds, by the rule Coco.
  double coco_map() const;

 private:
  struct Image {
    std::vector<LabelledBox> truth;
    std::vector<Detection> found;
  };
  std::int64_t classes_;
  std::vector<Image> images_;
};

}  // namespace ingot
