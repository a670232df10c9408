#include "train/detection_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace ingot {

namespace {

constexpr std::size_t kMostOfAnImage = 100;  // COCO's maxDets
constexpr int kRecalls = 101;

struct Outcomes {
  std::vector<float> scores;
  std::vector<bool> right;
};

// The detections of one class in one image against its objects. Those that count as nothing are left out.
void match(std::span<const LabelledBox> truth, std::span<const Detection> found, double iou,
           PrecisionRule rule, Outcomes& out) {
  const auto say = [&](float score, bool right) {
    out.scores.push_back(score);
    out.right.push_back(right);
  };
  std::vector<bool> taken(truth.size());
  for (const Detection& d : found) {
    double best = std::min(iou, 1.0 - 1e-10);
    std::size_t with = truth.size();
    if (rule == PrecisionRule::Voc) {
      for (std::size_t i = 0; i < truth.size(); ++i) {
        const auto overlap = static_cast<double>(box_iou(d.box, truth[i].box));
        if (overlap < best || (with < truth.size() && overlap <= best)) continue;
        best = overlap;
        with = i;
      }
    } else {
      // Objects that count come before difficult ones, of which one may take any number of detections.
      for (const bool difficult : {false, true}) {
        if (with < truth.size()) break;
        for (std::size_t i = 0; i < truth.size(); ++i) {
          if (truth[i].difficult != difficult || (taken[i] && !difficult)) continue;
          const auto overlap = static_cast<double>(box_iou(d.box, truth[i].box));
          if (overlap < best) continue;
          best = overlap;
          with = i;
        }
      }
    }
    if (with == truth.size()) {
      say(d.score, false);
    } else if (!truth[with].difficult) {
      say(d.score, !taken[with]);
      taken[with] = true;
    }
  }
}

// Precisions behind each recall, so that they never rise: the i-th of `precision` becomes the largest from
// there on.
double area(const Outcomes& outcomes, std::int64_t objects, PrecisionRule rule) {
  std::vector<double> precision, recall;
  double right = 0.0;
  for (const std::int64_t i : falling_order(outcomes.scores)) {
    right += outcomes.right[static_cast<std::size_t>(i)] ? 1.0 : 0.0;
    precision.push_back(right / static_cast<double>(precision.size() + 1));
    recall.push_back(right / static_cast<double>(objects));
  }
  for (std::size_t i = precision.size(); i-- > 1;)
    precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double sum = 0.0;
  if (rule == PrecisionRule::Voc) {
    double before = 0.0;
    for (std::size_t i = 0; i < recall.size(); ++i) {
      sum += (recall[i] - before) * precision[i];
      before = recall[i];
    }
    return sum;
  }
  for (int k = 0; k < kRecalls; ++k) {
    const auto at = std::lower_bound(recall.begin(), recall.end(), static_cast<double>(k) / (kRecalls - 1));
    if (at != recall.end()) sum += precision[static_cast<std::size_t>(at - recall.begin())];
  }
  return sum / kRecalls;
}

}  // namespace

DetectionScores::DetectionScores(std::int64_t classes) : classes_(classes) {
  if (classes < 1) throw UsageError(cat("DetectionScores: expected at least one class, got ", classes));
}

void DetectionScores::add(std::span<const LabelledBox> truth, std::span<const Detection> found) {
  const auto check = [&](std::int64_t label) {
    if (label < 0 || label >= classes_)
      throw UsageError(cat("DetectionScores: label ", label, " is outside [0, ", classes_, ")"));
  };
  for (const LabelledBox& b : truth) check(b.label);
  for (const Detection& d : found) check(d.label);
  std::vector<float> scores;
  for (const Detection& d : found) scores.push_back(d.score);
  Image image{{truth.begin(), truth.end()}, {}};
  for (const std::int64_t i : falling_order(scores))
    image.found.push_back(found[static_cast<std::size_t>(i)]);
  images_.push_back(std::move(image));
}

std::int64_t DetectionScores::objects(std::int64_t c) const {
  std::int64_t n = 0;
  for (const Image& image : images_)
    n += std::count_if(image.truth.begin(), image.truth.end(),
                       [&](const LabelledBox& b) { return b.label == c && !b.difficult; });
  return n;
}

double DetectionScores::average_precision(std::int64_t c, double iou, PrecisionRule rule) const {
  const std::int64_t count = objects(c);
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  Outcomes outcomes;
  for (const Image& image : images_) {
    std::vector<LabelledBox> truth;
    std::vector<Detection> found;
    std::copy_if(image.truth.begin(), image.truth.end(), std::back_inserter(truth),
                 [&](const auto& b) { return b.label == c; });
    std::copy_if(image.found.begin(), image.found.end(), std::back_inserter(found),
                 [&](const auto& d) { return d.label == c; });
    if (rule == PrecisionRule::Coco && found.size() > kMostOfAnImage) found.resize(kMostOfAnImage);
    match(truth, found, iou, rule, outcomes);
  }
  return area(outcomes, count, rule);
}

double DetectionScores::mean_average_precision(double iou, PrecisionRule rule) const {
  double sum = 0.0;
  int counted = 0;
  for (std::int64_t c = 0; c < classes_; ++c) {
    const double ap = average_precision(c, iou, rule);
    if (std::isnan(ap)) continue;
    sum += ap;
    ++counted;
  }
  return counted == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / counted;
}

double DetectionScores::coco_map() const {
  double sum = 0.0;
  for (int i = 0; i < 10; ++i) sum += mean_average_precision(0.5 + 0.05 * i, PrecisionRule::Coco);
  return sum / 10.0;
}

}  // namespace ingot
