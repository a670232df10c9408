// Views: boxes stay with their pixels, whatever is done to an image.
#include "data/detection.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/image.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// A bright rectangle on black, and its box.
DetectionSample rectangle(std::int64_t channels) {
  const Tensor image = Tensor::zeros({DType::U8, {channels, 60, 90}});
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t y = 12; y < 30; ++y)
      for (std::int64_t x = 20; x < 50; ++x) image.set((c * 60 + y) * 90 + x, 250);
  return {image, {{{20, 12, 50, 30}, 1, false}}};
}

// Of the pixels brighter than any grey around.
BoundingBox bright(const Tensor& image) {
  const std::int64_t height = image.shape()[1], width = image.shape()[2];
  BoundingBox b{1e6f, 1e6f, -1.0f, -1.0f};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      if (image.get(y * width + x) < 135.0) continue;
      b.left = std::min(b.left, static_cast<float>(x));
      b.top = std::min(b.top, static_cast<float>(y));
      b.right = std::max(b.right, static_cast<float>(x + 1));
      b.bottom = std::max(b.bottom, static_cast<float>(y + 1));
    }
  return b;
}

void expect_near(const BoundingBox& a, const BoundingBox& b, float most) {
  EXPECT_NEAR(a.left, b.left, most);
  EXPECT_NEAR(a.top, b.top, most);
  EXPECT_NEAR(a.right, b.right, most);
  EXPECT_NEAR(a.bottom, b.bottom, most);
}

TEST(ResizedView, StretchesImageAndBoxes) {
  const DetectionSample v = resized_view(rectangle(3), 120, 90);
  EXPECT_EQ(v.image.shape(), (Shape{3, 120, 90}));
  ASSERT_EQ(v.boxes.size(), 1u);
  EXPECT_EQ(v.boxes[0].box, (BoundingBox{20, 24, 50, 60}));
  expect_near(bright(v.image), v.boxes[0].box, 1.0f);
}

TEST(RandomView, BoxesStayWithTheirPixels) {
  for (const std::int64_t channels : {1, 3}) {
    const DetectionSample from = rectangle(channels);
    bool cut = false, lost = false, grey = false, mirrored = false;
    for (std::int64_t index = 0; index < 200; ++index) {
      Draws draws(3, "view", 0, index);
      const DetectionSample v = random_view(
          from, 80, 100,
          {.least_zoom = 0.6, .most_zoom = 2.0, .horizontal_flip = true, .vertical_flip = true}, draws);
      grey |= v.image.get(0) == 128.0 || v.image.get(80 * 100 - 1) == 128.0;
      if (v.boxes.empty()) {
        lost = true;
        continue;
      }
      const BoundingBox& b = v.boxes[0].box;
      EXPECT_EQ(v.boxes[0].label, 1);
      expect_near(bright(v.image), b, 1.01f);
      cut |= b.left == 0.0f || b.right == 100.0f;
      mirrored |= b.left > 55.0f;
    }
    EXPECT_TRUE(cut && lost && grey && mirrored) << cut << lost << grey << mirrored;
  }
}

TEST(RandomView, IsAFunctionOfItsDraws) {
  const DetectionSample from = rectangle(3);
  const DetectionAugment augment{.least_zoom = 0.8,
                                 .most_zoom = 1.5,
                                 .horizontal_flip = true,
                                 .color_jitter = ColorJitter{0.3, 0.3, 0.3, 0.1}};
  const auto view = [&](std::int64_t index) {
    Draws draws(3, "view", 1, index);
    return random_view(from, 64, 96, augment, draws);
  };
  EXPECT_TRUE(bitwise_equal(view(4).image, view(4).image));
  EXPECT_FALSE(bitwise_equal(view(4).image, view(5).image));
}

TEST(RandomView, DropsEmptyBoxesAndThoseMostlyOutside) {
  DetectionSample from = rectangle(1);
  from.boxes = {{{10, 10, 10, 30}, 0, false}, {{-80, 10, 20, 30}, 0, false}, {{-10, 10, 20, 30}, 2, true}};
  Draws draws(1, "view", 0, 0);
  const DetectionSample v = random_view(from, 60, 90, {}, draws);
  ASSERT_EQ(v.boxes.size(), 1u);
  EXPECT_EQ(v.boxes[0].label, 2);
  EXPECT_TRUE(v.boxes[0].difficult);
  EXPECT_EQ(v.boxes[0].box, (BoundingBox{0, 10, 20, 30}));
  EXPECT_EQ(resized_view(from, 60, 90).boxes.size(), 3u);
}

TEST(RandomView, RefusesImpossibleOptions) {
  Draws draws(1, "view", 0, 0);
  const DetectionSample from = rectangle(1);
  EXPECT_TRUE(says(message_of<UsageError>([&] { random_view(from, 8, 8, {.least_zoom = 2.0}, draws); }),
                   "got 2 and 1"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { random_view(from, 8, 8, {.least_kept = 2.0}, draws); }), "a share"));
  EXPECT_THROW(resized_view(from, 0, 8), UsageError);
  EXPECT_THROW(resized_view({Tensor::zeros({DType::F32, {3, 4, 4}}), {}}, 8, 8), ShapeError);
}

}  // namespace
}  // namespace ingot
