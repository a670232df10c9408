#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <iomanip>
#include <limits>
#include <new>
#include <sstream>

#include "core/base/error.h"

namespace ingot {

namespace {

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(std::int64_t classes) : classes_(classes) {
  if (classes < 0)
    throw UsageError(cat("ConfusionMatrix: the number of classes must not be negative, got ", classes));
  try {
    if (classes > 0 && classes > std::numeric_limits<std::int64_t>::max() / classes) throw std::bad_alloc();
    counts_.resize(static_cast<std::size_t>(classes * classes));
  } catch (const std::exception&) {  // bad_alloc, or length_error for a size that no vector has
    throw Error(cat("there is no memory for the confusion matrix of ", classes,
                    " classes, one number for each pair; use fewer classes"));
  }
}

std::size_t ConfusionMatrix::cell(std::int64_t actual, std::int64_t predicted) const {
  if (actual < 0 || actual >= classes_ || predicted < 0 || predicted >= classes_)
    throw UsageError(cat("class ", actual, " or ", predicted, " is outside [0, ", classes_, ")"));
  return static_cast<std::size_t>(actual * classes_ + predicted);
}

void ConfusionMatrix::add(std::int64_t actual, std::int64_t predicted) {
  ++counts_[cell(actual, predicted)];
  ++total_;
}

std::int64_t ConfusionMatrix::count(std::int64_t actual, std::int64_t predicted) const {
  return counts_[cell(actual, predicted)];
}

double ConfusionMatrix::accuracy() const {
  std::int64_t right = 0;
  for (std::int64_t c = 0; c < classes_; ++c) right += count(c, c);
  return ratio(right, total_);
}

double ConfusionMatrix::precision(std::int64_t c) const {
  std::int64_t predicted = 0;
  for (std::int64_t a = 0; a < classes_; ++a) predicted += count(a, c);
  return ratio(count(c, c), predicted);
}

double ConfusionMatrix::recall(std::int64_t c) const {
  std::int64_t actual = 0;
  for (std::int64_t p = 0; p < classes_; ++p) actual += count(c, p);
  return ratio(count(c, c), actual);
}

double ConfusionMatrix::f1(std::int64_t c) const {
  const double p = precision(c), r = recall(c);
  return p + r == 0.0 ? 0.0 : 2.0 * p * r / (p + r);
}

double ConfusionMatrix::iou(std::int64_t c) const {
  std::int64_t either = -count(c, c);
  for (std::int64_t k = 0; k < classes_; ++k) either += count(c, k) + count(k, c);
  return ratio(count(c, c), either);
}

double ConfusionMatrix::mean_iou() const {
  double sum = 0.0;
  int counted = 0;
  for (std::int64_t c = 0; c < classes_; ++c) {
    bool there = false;
    for (std::int64_t k = 0; k < classes_; ++k) there = there || count(c, k) + count(k, c) > 0;
    if (!there) continue;
    sum += iou(c);
    ++counted;
  }
  return counted == 0 ? 0.0 : sum / counted;
}

double ConfusionMatrix::macro_f1() const {
  double sum = 0.0;
  for (std::int64_t c = 0; c < classes_; ++c) sum += f1(c);
  return classes_ == 0 ? 0.0 : sum / static_cast<double>(classes_);
}

std::string ConfusionMatrix::to_string(const std::vector<std::string>& names) const {
  const auto label = [&](std::int64_t c) {
    return static_cast<std::size_t>(c) < names.size() ? names[static_cast<std::size_t>(c)]
                                                      : std::to_string(c);
  };
  std::size_t head = 6;
  for (std::int64_t c = 0; c < classes_; ++c) head = std::max(head, label(c).size());
  std::ostringstream out;
  out << std::setw(static_cast<int>(head)) << "actual";
  for (std::int64_t c = 0; c < classes_; ++c) out << ' ' << std::setw(6) << label(c).substr(0, 6);
  out << "    F1\n";
  for (std::int64_t a = 0; a < classes_; ++a) {
    out << std::setw(static_cast<int>(head)) << label(a);
    for (std::int64_t p = 0; p < classes_; ++p) out << ' ' << std::setw(6) << count(a, p);
    out << ' ' << std::fixed << std::setprecision(3) << f1(a) << '\n';
  }
  return std::move(out).str();
}

bool in_top_k(const float* logits, std::int64_t classes, std::int64_t label, std::int64_t k) {
  if (std::isnan(logits[label])) return false;
  std::int64_t above = 0;
  for (std::int64_t c = 0; c < classes; ++c) above += logits[c] > logits[label] ? 1 : 0;
  return above < k;
}

}  // namespace ingot
