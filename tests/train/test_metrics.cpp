// Classification metrics against figures worked out by hand.
#include "train/metrics.h"

#include <cmath>
#include <sstream>

#include "core/base/error.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// Class 2 is never right, class 3 neither occurs nor is predicted.
//               predicted 0  1  2  3
//   actual 0              3  1  0  0
//   actual 1              2  4  0  0
//   actual 2              0  1  0  0
ConfusionMatrix example() {
  ConfusionMatrix m(4);
  const std::int64_t counts[3][3] = {{3, 1, 0}, {2, 4, 0}, {0, 1, 0}};
  for (std::int64_t a = 0; a < 3; ++a)
    for (std::int64_t p = 0; p < 3; ++p)
      for (std::int64_t i = 0; i < counts[a][p]; ++i) m.add(a, p);
  return m;
}

TEST(ConfusionMatrix, Counts) {
  const ConfusionMatrix m = example();
  EXPECT_EQ(m.classes(), 4);
  EXPECT_EQ(m.total(), 11);
  EXPECT_EQ(m.count(1, 0), 2);
  EXPECT_EQ(m.count(0, 1), 1);
  EXPECT_EQ(m.count(2, 2), 0);
  EXPECT_EQ(m.count(3, 3), 0);
}

TEST(ConfusionMatrix, OverlapsOfSetsOfPixels) {
  const ConfusionMatrix m = example();
  EXPECT_DOUBLE_EQ(m.iou(0), 3.0 / 6.0);
  EXPECT_DOUBLE_EQ(m.iou(1), 4.0 / 8.0);
  EXPECT_DOUBLE_EQ(m.iou(2), 0.0);
  EXPECT_DOUBLE_EQ(m.dice(0), 6.0 / 9.0);
  EXPECT_DOUBLE_EQ(m.dice(1), 8.0 / 12.0);
  EXPECT_DOUBLE_EQ(m.mean_iou(), 1.0 / 3.0);  // class 3 is nowhere
  EXPECT_DOUBLE_EQ(ConfusionMatrix(2).mean_iou(), 0.0);
}

TEST(ConfusionMatrix, Ratios) {
  const ConfusionMatrix m = example();
  EXPECT_DOUBLE_EQ(m.accuracy(), 7.0 / 11.0);
  EXPECT_DOUBLE_EQ(m.precision(0), 3.0 / 5.0);
  EXPECT_DOUBLE_EQ(m.precision(1), 4.0 / 6.0);
  EXPECT_DOUBLE_EQ(m.recall(0), 3.0 / 4.0);
  EXPECT_DOUBLE_EQ(m.recall(1), 4.0 / 6.0);
  EXPECT_DOUBLE_EQ(m.f1(0), 2.0 * 0.6 * 0.75 / 1.35);
  EXPECT_DOUBLE_EQ(m.f1(1), 2.0 / 3.0);
}

// As scikit-learn with zero_division = 0: a ratio without a case is 0, and the mean is over all classes.
TEST(ConfusionMatrix, AbsentClassesCountAsZero) {
  const ConfusionMatrix m = example();
  for (const std::int64_t c : {2, 3}) {
    EXPECT_EQ(m.precision(c), 0.0) << "never predicted";
    EXPECT_EQ(m.recall(c), 0.0);
    EXPECT_EQ(m.f1(c), 0.0);
  }
  EXPECT_DOUBLE_EQ(m.macro_f1(), (2.0 / 3.0 + 2.0 / 3.0) / 4.0);
  ConfusionMatrix recalled(2);
  recalled.add(0, 1);
  EXPECT_EQ(recalled.recall(1), 0.0) << "class 1 has no sample";
  EXPECT_EQ(recalled.precision(1), 0.0);
}

TEST(ConfusionMatrix, SaysThatItsClassesAreTooMany) {
  for (const std::int64_t classes : {std::int64_t{1} << 31, std::int64_t{1} << 62})
    EXPECT_TRUE(
        says(message_of<Error>([&] { ConfusionMatrix{classes}; }), cat(classes, " classes"), "fewer"));
}

TEST(ConfusionMatrix, EmptyIsZero) {
  const ConfusionMatrix none, empty(3);
  for (const ConfusionMatrix* m : {&none, &empty}) {
    EXPECT_EQ(m->accuracy(), 0.0);
    EXPECT_EQ(m->macro_f1(), 0.0);
    EXPECT_EQ(m->total(), 0);
  }
}

TEST(ConfusionMatrix, PrintsATable) {
  const std::string text = example().to_string({"cat", "dog", "elephant"});
  std::istringstream lines(text);
  std::string line, word;
  std::vector<std::vector<std::string>> rows;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    rows.emplace_back();
    while (words >> word) rows.back().push_back(word);
  }
  EXPECT_EQ(rows, (std::vector<std::vector<std::string>>{{"actual", "cat", "dog", "elepha", "3", "F1"},
                                                         {"cat", "3", "1", "0", "0", "0.667"},
                                                         {"dog", "2", "4", "0", "0", "0.667"},
                                                         {"elephant", "0", "1", "0", "0", "0.000"},
                                                         {"3", "0", "0", "0", "0", "0.000"}}));
}

TEST(ConfusionMatrix, RefusesClassesThatItDoesNotHave) {
  ConfusionMatrix m(3);
  EXPECT_TRUE(says(message_of<UsageError>([&] { m.add(3, 0); }), "3", "[0, 3)"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { m.add(0, -1); }), "-1", "[0, 3)"));
  EXPECT_EQ(m.total(), 0);
  EXPECT_TRUE(says(message_of<UsageError>([&] { m.count(0, 5); }), "5", "[0, 3)"));
  EXPECT_THROW(m.f1(3), UsageError);
  EXPECT_THROW(m.recall(-1), UsageError);
  EXPECT_TRUE(says(message_of<UsageError>([] { ConfusionMatrix bad(-1); }), "-1"));
}

TEST(TopK, CountsTheLogitsAbove) {
  const float logits[] = {0.5f, 3.0f, -1.0f, 2.0f, 0.0f};  // order: 1, 3, 0, 4, 2
  const std::int64_t rank[] = {3, 1, 5, 2, 4};
  for (std::int64_t label = 0; label < 5; ++label)
    for (std::int64_t k = 0; k <= 6; ++k)
      EXPECT_EQ(in_top_k(logits, 5, label, k), rank[label] <= k) << label << " among " << k;
}

TEST(TopK, TiesCountForTheLabel) {
  const float logits[] = {1.0f, 1.0f, 1.0f, 2.0f};
  EXPECT_TRUE(in_top_k(logits, 4, 2, 2));
  EXPECT_FALSE(in_top_k(logits, 4, 2, 1));
}

TEST(TopK, ALabelWithoutANumberIsNeverAmongThem) {
  const float logits[] = {1.0f, std::nanf(""), 0.0f};
  EXPECT_FALSE(in_top_k(logits, 3, 1, 3));
  EXPECT_TRUE(in_top_k(logits, 3, 2, 2));
}

}  // namespace
}  // namespace ingot
