// Average precision against pycocotools and Pascal VOC's rule (tests/golden/make_detection_golden.py), and by
// hand.
#include "train/detection_metrics.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

using Json = nlohmann::json;

BoundingBox box_of(const Json& j) {
  return {j[0].get<float>(), j[1].get<float>(), j[2].get<float>(), j[3].get<float>()};
}

DetectionScores scores_of(const Json& c) {
  DetectionScores scores(c.at("classes").get<std::int64_t>());
  for (const Json& image : c.at("images")) {
    std::vector<LabelledBox> truth;
    std::vector<Detection> found;
    for (const Json& t : image.at("truth"))
      truth.push_back({box_of(t), t[4].get<std::int64_t>(), t[5].get<bool>()});
    for (const Json& d : image.at("found"))
      found.push_back({box_of(d), d[4].get<std::int64_t>(), d[5].get<float>()});
    scores.add(truth, found);
  }
  return scores;
}

TEST(AveragePrecision, AsTheReferencesComputeIt) {
  std::ifstream in(INGOT_SOURCE_DIR "/tests/golden/detection.json");
  const Json golden = Json::parse(in);
  int coco = 0, voc = 0;
  for (const Json& c : golden.at("precision")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const DetectionScores scores = scores_of(c);
    for (std::int64_t k = 0; k < scores.classes(); ++k) {
      const auto at = static_cast<std::size_t>(k);
      for (const auto& [row, iou] : {std::pair{0u, 0.5}, {1u, 0.75}}) {
        EXPECT_NEAR(scores.average_precision(k, iou), c.at("voc")[row][at].get<double>(), 1e-9)
            << k << ' ' << iou;
        ++voc;
      }
      if (!c.contains("coco")) continue;
      for (std::size_t i = 0; i < 10; ++i, ++coco)
        EXPECT_NEAR(scores.average_precision(k, 0.5 + 0.05 * static_cast<double>(i), PrecisionRule::Coco),
                    c.at("coco")[i][at].get<double>(), 1e-9)
            << k << ' ' << i;
    }
    if (c.contains("coco_map")) {
      EXPECT_NEAR(scores.coco_map(), c.at("coco_map").get<double>(), 1e-9);
    }
  }
  EXPECT_EQ(voc, 14);
  EXPECT_EQ(coco, 50);
}

// Of two objects one is found, by the second best of three detections: precision 1/2 up to recall 1/2.
TEST(AveragePrecision, ByHand) {
  DetectionScores scores(2);
  const std::vector<LabelledBox> truth{{{0, 0, 10, 10}, 0, false}, {{50, 50, 60, 60}, 0, false}};
  const std::vector<Detection> found{
      {{0, 0, 10, 10}, 0, 0.5f}, {{20, 0, 30, 10}, 0, 0.9f}, {{0, 0, 10, 9}, 0, 0.4f}};
  scores.add(truth, found);
  EXPECT_EQ(scores.objects(0), 2);
  EXPECT_DOUBLE_EQ(scores.average_precision(0, 0.5), 0.25);
  EXPECT_DOUBLE_EQ(scores.average_precision(0, 0.5, PrecisionRule::Coco), 0.5 * 51.0 / 101.0);
  EXPECT_TRUE(std::isnan(scores.average_precision(1, 0.5)));
  EXPECT_DOUBLE_EQ(scores.mean_average_precision(0.5), 0.25);
  EXPECT_TRUE(std::isnan(DetectionScores(2).mean_average_precision(0.5)));
  EXPECT_THROW(scores.add(std::vector<LabelledBox>{{{0, 0, 1, 1}, 2, false}}, {}), UsageError);
  EXPECT_THROW(DetectionScores(0), UsageError);
}

// COCO's rule gives the second detection of a crowd its second best object; VOC's calls it wrong.
TEST(AveragePrecision, RulesDifferInACrowd) {
  DetectionScores scores(1);
  const std::vector<LabelledBox> truth{{{0, 0, 10, 10}, 0, false}, {{2, 0, 12, 10}, 0, false}};
  const std::vector<Detection> found{{{0, 0, 10, 10}, 0, 0.9f}, {{0.5f, 0, 10.5f, 10}, 0, 0.8f}};
  scores.add(truth, found);
  EXPECT_DOUBLE_EQ(scores.average_precision(0, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(scores.average_precision(0, 0.5, PrecisionRule::Coco), 1.0);
}

}  // namespace
}  // namespace ingot
