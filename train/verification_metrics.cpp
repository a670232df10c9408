#include "train/verification_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace ingot {

double cosine_similarity(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size())
    throw UsageError(
        cat("cosine_similarity: expected two embeddings of one size, got ", a.size(), " and ", b.size()));
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : 0.0;
}

void VerificationScores::add(double similarity, bool same) {
  if (std::isnan(similarity)) throw UsageError("VerificationScores: the similarity of a pair is NaN");
  pairs_.push_back({similarity, same});
}

VerificationScores::Accuracy VerificationScores::accuracy(int folds) const {
  const std::int64_t n = pairs();
  if (folds < 2 || n < folds)
    throw UsageError(cat("VerificationScores: accuracy needs two folds or more and a pair for each, got ",
                         folds, " folds and ", n, " pairs"));
  std::vector<double> right;
  Accuracy out;
  for (std::int64_t fold = 0; fold < folds; ++fold) {
    const auto first = pairs_.begin() + fold * n / folds, last = pairs_.begin() + (fold + 1) * n / folds;
    std::vector<Pair> others(pairs_.begin(), first);
    others.insert(others.end(), last, pairs_.end());
    std::sort(others.begin(), others.end(),
              [](const Pair& a, const Pair& b) { return a.similarity < b.similarity; });
    // Below the least similarity every pair is called the same. Each step up rejects the pairs of one
    // similarity.
    auto correct = std::count_if(others.begin(), others.end(), [](const Pair& p) { return p.same; });
    auto best = correct;
    double threshold = others.front().similarity;
    for (std::size_t i = 0; i < others.size(); ++i) {
      correct += others[i].same ? -1 : 1;
      const bool end = i + 1 == others.size();
      if ((!end && others[i + 1].similarity == others[i].similarity) || correct <= best) continue;
      best = correct;
      threshold = end ? std::nextafter(others[i].similarity, std::numeric_limits<double>::infinity())
                      : (others[i].similarity + others[i + 1].similarity) / 2.0;
    }
    const auto hits =
        std::count_if(first, last, [&](const Pair& p) { return (p.similarity >= threshold) == p.same; });
    right.push_back(static_cast<double>(hits) / static_cast<double>(last - first));
    out.mean += right.back() / folds;
    out.threshold += threshold / folds;
  }
  for (const double r : right) out.stddev += (r - out.mean) * (r - out.mean) / folds;
  out.stddev = std::sqrt(out.stddev);
  return out;
}

std::vector<VerificationScores::Point> VerificationScores::roc() const {
  const auto same = std::count_if(pairs_.begin(), pairs_.end(), [](const Pair& p) { return p.same; });
  const auto different = pairs() - same;
  if (same == 0 || different == 0)
    throw UsageError(cat("VerificationScores: a ROC curve needs pairs of both kinds, got ", same,
                         " of one person and ", different, " of two"));
  std::vector<Pair> sorted = pairs_;
  std::sort(sorted.begin(), sorted.end(),
            [](const Pair& a, const Pair& b) { return a.similarity > b.similarity; });
  std::vector<Point> curve{{std::numeric_limits<double>::infinity(), 0.0, 0.0}};
  std::int64_t accepted[2] = {0, 0};
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    ++accepted[sorted[i].same ? 1 : 0];
    if (i + 1 < sorted.size() && sorted[i + 1].similarity == sorted[i].similarity) continue;
    curve.push_back({sorted[i].similarity, static_cast<double>(accepted[0]) / static_cast<double>(different),
                     static_cast<double>(accepted[1]) / static_cast<double>(same)});
  }
  return curve;
}

double VerificationScores::auc() const {
  const std::vector<Point> curve = roc();
  double area = 0.0;
  for (std::size_t i = 1; i < curve.size(); ++i)
    area += (curve[i].false_accepts - curve[i - 1].false_accepts) *
            (curve[i].true_accepts + curve[i - 1].true_accepts) / 2.0;
  return area;
}

double VerificationScores::true_accepts(double false_accepts) const {
  double best = 0.0;
  for (const Point& p : roc())
    if (p.false_accepts <= false_accepts) best = std::max(best, p.true_accepts);
  return best;
}

}  // namespace ingot
