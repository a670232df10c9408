// Verification against their definitions, counted pair by pair, and by hand.
#include "train/verification_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/base/error.h"
#include "data/draws.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

struct Drawn {
  VerificationScores scores;
  std::vector<double> same, different;
};

// Overlapping similarities on a grid, so that many tie.
Drawn drawn(int pairs) {
  Drawn d;
  Draws draws(3, "pairs", 0, 0);
  for (int i = 0; i < pairs; ++i) {
    const bool same = draws.coin();
    const double s = (static_cast<double>(draws.below(20)) + (same ? 8.0 : 0.0)) / 32.0;
    d.scores.add(s, same);
    (same ? d.same : d.different).push_back(s);
  }
  return d;
}

TEST(Verification, AreaIsTheShareOfOrderedPairs) {
  const Drawn d = drawn(300);
  double ordered = 0.0;
  for (const double s : d.same)
    for (const double o : d.different) ordered += s > o ? 1.0 : s == o ? 0.5 : 0.0;
  EXPECT_NEAR(d.scores.auc(), ordered / static_cast<double>(d.same.size() * d.different.size()), 1e-12);
}

TEST(Verification, CurveCountsThePairsAboveEachThreshold) {
  const Drawn d = drawn(300);
  const auto share = [](const std::vector<double>& of, double from) {
    return static_cast<double>(std::count_if(of.begin(), of.end(), [&](double v) { return v >= from; })) /
           static_cast<double>(of.size());
  };
  const auto curve = d.scores.roc();
  std::set<double> distinct(d.same.begin(), d.same.end());
  distinct.insert(d.different.begin(), d.different.end());
  EXPECT_EQ(curve.size(), distinct.size() + 1);
  for (const auto& p : curve) {
    EXPECT_DOUBLE_EQ(p.false_accepts, share(d.different, p.threshold));
    EXPECT_DOUBLE_EQ(p.true_accepts, share(d.same, p.threshold));
  }
  for (const double far : {0.0, 0.01, 0.1, 0.5, 1.0}) {
    double best = 0.0;
    for (const double t : distinct)
      if (share(d.different, t) <= far) best = std::max(best, share(d.same, t));
    EXPECT_DOUBLE_EQ(d.scores.true_accepts(far), best) << far;
  }
}

// Two folds whose best thresholds, 0.5 and 0.25, each call one pair of the other fold wrong.
TEST(Verification, EachFoldIsJudgedByTheOthers) {
  VerificationScores s;
  s.add(0.2, false);
  s.add(0.3, true);
  s.add(0.4, false);
  s.add(0.6, true);
  const auto a = s.accuracy(2);
  EXPECT_DOUBLE_EQ(a.mean, 0.5);
  EXPECT_DOUBLE_EQ(a.stddev, 0.0);
  EXPECT_DOUBLE_EQ(a.threshold, (0.5 + 0.25) / 2.0);

  // Not separable: the best of the others is found by trying every threshold.
  const Drawn d = drawn(200);
  EXPECT_GT(d.scores.accuracy().mean, 0.6);
  EXPECT_LT(d.scores.accuracy().mean, 0.95);
}

TEST(Verification, ThresholdsAboveAndBelowEveryPair) {
  VerificationScores none, all;
  for (int i = 0; i < 4; ++i) {
    none.add(0.1 * i, false);
    all.add(0.1 * i, true);
  }
  EXPECT_DOUBLE_EQ(none.accuracy(4).mean, 0.75);  // the largest lies above the threshold of the others
  EXPECT_DOUBLE_EQ(all.accuracy(4).mean, 0.75);
}

TEST(Verification, Refuses) {
  VerificationScores s;
  EXPECT_TRUE(says(message_of<UsageError>([&] { s.add(std::nan(""), true); }), "NaN"));
  s.add(0.5, true);
  EXPECT_TRUE(says(message_of<UsageError>([&] { s.accuracy(); }), "10 folds and 1 pairs"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { s.auc(); }), "got 1 of one person and 0 of two"));
  const std::vector<float> a{3.0f, 4.0f}, b{4.0f, 3.0f}, zero{0.0f, 0.0f};
  EXPECT_DOUBLE_EQ(cosine_similarity(a, b), 24.0 / 25.0);
  EXPECT_DOUBLE_EQ(cosine_similarity(a, zero), 0.0);
  EXPECT_THROW(cosine_similarity(a, std::vector<float>(3)), UsageError);
}

}  // namespace
}  // namespace ingot
