// Non-maximum suppression against torchvision, and drawing.
#include "data/boxes.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/image.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

nlohmann::json golden() {
  std::ifstream in(INGOT_SOURCE_DIR "/tests/golden/detection.json");
  return nlohmann::json::parse(in);
}

TEST(Nms, KeepsWhatTorchvisionKeeps) {
  std::size_t cases = 0;
  const nlohmann::json all = golden();
  for (const auto& c : all.at("nms")) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    std::vector<BoundingBox> boxes;
    for (const auto& b : c.at("boxes"))
      boxes.push_back({b[0].get<float>(), b[1].get<float>(), b[2].get<float>(), b[3].get<float>()});
    const auto scores = c.at("scores").get<std::vector<float>>();
    const auto labels = c.at("labels").get<std::vector<std::int64_t>>();
    const auto threshold = c.at("threshold").get<float>();
    EXPECT_EQ(nms(boxes, scores, threshold), c.at("kept").get<std::vector<std::int64_t>>());
    // torchvision sorts these without a rule for ties: the same boxes, and no score before a higher one.
    auto kept = batched_nms(boxes, scores, labels, threshold);
    for (std::size_t i = 1; i < kept.size(); ++i)
      EXPECT_GE(scores[static_cast<std::size_t>(kept[i - 1])], scores[static_cast<std::size_t>(kept[i])]);
    auto expected = c.at("kept_by_label").get<std::vector<std::int64_t>>();
    std::sort(kept.begin(), kept.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(kept, expected);
    ++cases;
  }
  EXPECT_EQ(cases, 5u);
}

TEST(Nms, RefusesListsThatDoNotFit) {
  const std::vector<BoundingBox> boxes(3);
  const std::vector<float> scores(2);
  EXPECT_TRUE(says(message_of<UsageError>([&] { nms(boxes, scores, 0.5f); }), "got 2 scores for 3 boxes"));
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     batched_nms(boxes, std::vector<float>(3), std::vector<std::int64_t>(1), 0.5f);
                   }),
                   "got 1 labels for 3 boxes"));
}

// "More than" the threshold, not "at least".
TEST(Nms, AnOverlapOfExactlyTheThresholdStays) {
  const std::vector<BoundingBox> boxes{{0, 0, 2, 1}, {0, 0, 1, 1}};
  const std::vector<float> scores{0.5f, 0.9f};
  EXPECT_EQ(nms(boxes, scores, 0.5f), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(nms(boxes, scores, 0.49f), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(batched_nms(boxes, scores, std::vector<std::int64_t>{0, 1}, 0.1f),
            (std::vector<std::int64_t>{1, 0}));
}

TEST(BoxIou, OfSomeBoxes) {
  EXPECT_FLOAT_EQ(box_iou({0, 0, 2, 2}, {1, 1, 3, 3}), 1.0f / 7.0f);
  EXPECT_FLOAT_EQ(box_iou({0, 0, 2, 2}, {0, 0, 2, 2}), 1.0f);
  EXPECT_EQ(box_iou({0, 0, 2, 2}, {2, 0, 4, 2}), 0.0f);
  EXPECT_EQ(box_iou({1, 1, 1, 1}, {1, 1, 1, 1}), 0.0f);
}

// A frame of two pixels inside [2, 8) x [1, 7), and what of another lies in the image.
TEST(DrawBox, DrawsAFrameInsideTheBox) {
  for (const Layout& layout : {Layout::row_major(), pixel_layout()}) {
    const Tensor image = Tensor::zeros({DType::U8, {3, 8, 10}, layout});
    draw_box(image, {2, 1, 8, 7}, {10, 20, 30}, 2);
    for (std::int64_t y = 0; y < 8; ++y)
      for (std::int64_t x = 0; x < 10; ++x) {
        const bool inside = x >= 2 && x < 8 && y >= 1 && y < 7, hollow = x >= 4 && x < 6 && y >= 3 && y < 5;
        for (std::int64_t c = 0; c < 3; ++c)
          EXPECT_EQ(image.get((c * 8 + y) * 10 + x),
                    inside && !hollow ? 10.0 * static_cast<double>(c + 1) : 0.0)
              << x << ' ' << y;
      }
  }
  const Tensor grey = Tensor::zeros({DType::U8, {1, 3, 3}});
  draw_box(grey, {-5, -5, 100, 2}, {7, 0, 0}, 1);
  EXPECT_EQ(grey.get(0), 7.0);
  EXPECT_EQ(grey.get(1 * 3 + 1), 7.0);
  EXPECT_EQ(grey.get(2 * 3 + 1), 0.0);
  EXPECT_TRUE(says(message_of<ShapeError>([] {
                     draw_box(Tensor::zeros({DType::F32, {3, 2, 2}}), {}, {});
                   }),
                   "f32[3, 2, 2]"));
}

TEST(WritePng, ComesBackAsItWas) {
  const TempDir dir;
  for (const std::int64_t channels : {1, 3})
    for (const Layout& layout : {Layout::row_major(), pixel_layout()}) {
      const Tensor image({DType::U8, {channels, 5, 7}, layout});
      for (std::int64_t i = 0; i < image.numel(); ++i) image.set(i, static_cast<double>(i * 37 % 251));
      write_png(dir / "a.png", image);
      const Tensor back = read_image(dir / "a.png", channels);
      for (std::int64_t i = 0; i < image.numel(); ++i) ASSERT_EQ(back.get(i), image.get(i)) << i;
      EXPECT_EQ(image_info(dir / "a.png").colour, channels == 3 ? "RGB" : "grey");
    }
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     write_png(dir / "b.png", Tensor::zeros({DType::U8, {2, 4, 4}}));
                   }),
                   "u8[2, 4, 4]"));
  EXPECT_THROW(write_png(dir / "none/b.png", Tensor::zeros({DType::U8, {1, 4, 4}})), Error);
}

}  // namespace
}  // namespace ingot
