// Classification metrics on the host, of samples or of the pixels of a segmentation.
//
//   ConfusionMatrix m(10);
//   m.add(/*actual=*/3, /*predicted=*/5);
//   m.accuracy(); m.f1(3); m.macro_f1();
//   m.iou(1); m.dice(1); m.mean_iou();                // one add() a pixel
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/ir/tensor.h"

namespace ingot {

class ConfusionMatrix {
 public:
  ConfusionMatrix() = default;
  explicit ConfusionMatrix(std::int64_t classes);

  // Each throws UsageError when a class is out of range.
  void add(std::int64_t actual, std::int64_t predicted);
  std::int64_t classes() const { return classes_; }
  std::int64_t total() const { return total_; }
  std::int64_t count(std::int64_t actual, std::int64_t predicted) const;

  double accuracy() const;  // 0 when empty
  // Of one class; 0 where the denominator is 0.
  double precision(std::int64_t c) const;
  double recall(std::int64_t c) const;
  double f1(std::int64_t c) const;
  // Of sets of pixels: intersection over union (Jaccard), and twice the intersection over the sum of both
  // sizes (Dice), which is f1.
  double iou(std::int64_t c) const;
  double dice(std::int64_t c) const { return f1(c); }
  // Unweighted mean over the classes that occur or are predicted (torchvision's reference scripts); 0 when
  // empty.
  double mean_iou() const;
  // Unweighted mean over the classes.
  double macro_f1() const;
  // A table with class names (or numbers) as heads of rows (actual) and columns (predicted).
  std::string to_string(const std::vector<std::string>& names = {}) const;

 private:
  std::size_t cell(std::int64_t actual, std::int64_t predicted) const;
  std::int64_t classes_ = 0, total_ = 0;
  std::vector<std::int64_t> counts_;  // [actual][predicted]
};

// True when the label's logit is among the k largest of the row; ties count for the label, NaN is never among
// them.
bool in_top_k(const float* logits, std::int64_t classes, std::int64_t label, std::int64_t k);

}  // namespace ingot
