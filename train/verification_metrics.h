// Verification: are two faces (voices, signatures) of one person? A network gives each an embedding; two are
// called the same when their similarity is at least a threshold.
//
//   VerificationScores scores;
//   scores.add(cosine_similarity(a, b), /*same=*/true);      // once a pair
//   scores.accuracy().mean;                                  // LFW's protocol
//   scores.auc();  scores.true_accepts(1e-3);                // area below the ROC curve, TAR at FAR 0.1 %
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ingot {

// Throws UsageError unless both are equally long. 0 where one of them is 0.
double cosine_similarity(std::span<const float> a, std::span<const float> b);

class VerificationScores {
 public:
  struct Accuracy {
    double mean = 0.0, stddev = 0.0;  // over the folds; the deviation divides by their number
    double threshold = 0.0;           // mean of the folds' thresholds
  };
  // A point of the ROC curve: the shares of pairs of different (false) and of the same person (true) whose
  // similarity is at least `threshold`.
  struct Point {
    double threshold = 0.0, false_accepts = 0.0, true_accepts = 0.0;
  };

  // Higher means more alike. Throws UsageError for NaN.
  void add(double similarity, bool same);
  std::int64_t pairs() const { return static_cast<std::int64_t>(pairs_.size()); }

  // The protocol of Labeled Faces in the Wild (Huang et al. 2007): the pairs in the order of add() are cut
  // into `folds` equal parts; the threshold that is best for all others (the lowest of several) judges each.
  // Throws UsageError for fewer pairs than folds, or fewer than two folds. In each part there should be pairs
  // of both kinds.
  Accuracy accuracy(int folds = 10) const;
  // One point a distinct similarity, from (0, 0) at threshold infinity up to (1, 1). Throws UsageError unless
  // there are pairs of both kinds, and so do the next two.
  std::vector<Point> roc() const;
  // Area below that curve: the probability that a pair of one person is more alike than a pair of two, ties
  // counting one half.
  double auc() const;
  // TAR at FAR: the largest true_accepts of a point whose false_accepts is at most that.
  double true_accepts(double false_accepts) const;

 private:
  struct Pair {
    double similarity = 0.0;
    bool same = false;
  };
  std::vector<Pair> pairs_;
};

}  // namespace ingot
