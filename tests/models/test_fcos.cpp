// The detector: targets and decoding are each other's inverse, and it learns to find discs and squares.
#include "models/fcos.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/runtime/session.h"
#include "data/detection.h"
#include "data/draws.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/support/messages.h"
#include "train/detection_metrics.h"

namespace ingot {
namespace {

struct OwnTargets {
  std::vector<float> classes, sides, centre;
  OwnTargets(const FcosConfig& c, std::int64_t h, std::int64_t w)
      : classes(static_cast<std::size_t>(c.classes * h * w)),
        sides(static_cast<std::size_t>(4 * h * w)),
        centre(static_cast<std::size_t>(h * w)) {}
  FcosTargets views() { return {classes, sides, centre}; }
};

TEST(Fcos, TargetsOfAnObjectAndASmallerOneInIt) {
  const FcosConfig config{.classes = 2};
  OwnTargets t(config, 8, 8);
  // Places lie at 4, 12, 20, ...; the second box holds (28, 28) alone.
  const std::vector<LabelledBox> boxes{{{24, 24, 32, 34}, 1, false},
                                       {{0, 0, 64, 64}, 0, false},
                                       {{40, 40, 40, 60}, 1, false},
                                       {{40, 40, 60, 60}, 1, true}};
  fcos_targets(config, boxes, 64, 64, t.views());
  const auto at = [](std::int64_t c, std::int64_t y, std::int64_t x) {
    return static_cast<std::size_t>((c * 8 + y) * 8 + x);
  };
  for (std::int64_t y = 0; y < 8; ++y)
    for (std::int64_t x = 0; x < 8; ++x) {
      const bool small = y == 3 && x == 3, large = !small && y >= 2 && y <= 5 && x >= 2 && x <= 5;
      EXPECT_EQ(t.classes[at(1, y, x)], small ? 1.0f : 0.0f) << y << ' ' << x;
      EXPECT_EQ(t.classes[at(0, y, x)], large ? 1.0f : 0.0f) << y << ' ' << x;
      EXPECT_EQ(t.centre[at(0, y, x)] > 0.0f, small || large);
    }
  EXPECT_FLOAT_EQ(t.sides[at(0, 3, 3)], 0.5f);
  EXPECT_FLOAT_EQ(t.sides[at(3, 3, 3)], 0.75f);
  EXPECT_FLOAT_EQ(t.centre[at(0, 3, 3)], std::sqrt(4.0f / 6.0f));
  EXPECT_FLOAT_EQ(t.sides[at(0, 4, 4)], 4.5f);
  EXPECT_EQ(t.sides[at(0, 0, 0)], 1.0f);

  EXPECT_TRUE(
      says(message_of<UsageError>([&] {
             fcos_targets(config, std::vector<LabelledBox>{{{0, 0, 8, 8}, 2, false}}, 64, 64, t.views());
           }),
           "label 2 is outside [0, 2)"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { fcos_targets(config, boxes, 32, 64, t.views()); }),
                   "4 x 8 places need 64, 128 and 32 elements"));
}

TEST(Fcos, DecodingGivesTheBoxesBack) {
  const FcosConfig config{.classes = 3, .radius = 1.0};
  const std::vector<LabelledBox> boxes{{{3, 5, 41, 29}, 2, false}, {{30, 20, 60, 60}, 0, false}};
  OwnTargets t(config, 8, 10);
  fcos_targets(config, boxes, 64, 80, t.views());
  const Tensor map = Tensor::zeros({DType::F32, {2, config.outputs(), 8, 10}});
  const std::int64_t places = 80;
  for (std::int64_t p = 0; p < places; ++p) {
    const std::int64_t row = config.outputs() * places;
    for (std::int64_t c = 0; c < 3; ++c)
      map.set(row + c * places + p, t.classes[static_cast<std::size_t>(c * places + p)] > 0 ? 8.0 : -8.0);
    for (std::int64_t s = 0; s < 4; ++s)
      map.set(row + (3 + s) * places + p,
              std::log(static_cast<double>(t.sides[static_cast<std::size_t>(s * places + p)])));
    map.set(row + 7 * places + p, t.centre[static_cast<std::size_t>(p)] > 0 ? 8.0 : -8.0);
  }
  const auto found = fcos_detections(config, map, 1);
  ASSERT_EQ(found.size(), 2u);
  for (const Detection& d : found) {
    const LabelledBox& b = d.label == 2 ? boxes[0] : boxes[1];
    EXPECT_EQ(d.label, b.label);
    EXPECT_NEAR(d.box.left, b.box.left, 1e-3);
    EXPECT_NEAR(d.box.top, b.box.top, 1e-3);
    EXPECT_NEAR(d.box.right, b.box.right, 1e-3);
    EXPECT_NEAR(d.box.bottom, b.box.bottom, 1e-3);
    EXPECT_GT(d.score, 0.99f);
  }
  EXPECT_EQ(fcos_detections(config, map, 1, {.most = 1}).size(), 1u);
  // Row 0 is all zeros: every class is as likely as not, everywhere.
  EXPECT_EQ(fcos_detections(config, map, 0, {.least_score = 0.51f}).size(), 0u);
  EXPECT_THROW(fcos_detections(config, map, 2), ShapeError);
}

TEST(Fcos, RefusesSizesThatItCannotHalve) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {1, 3, 40, 64}});
  EXPECT_TRUE(says(message_of<UsageError>([&] { (*make_fcos({.classes = 2}, 3))(x); }), "multiples of 16",
                   "[1, 3, 40, 64]"));
  EXPECT_THROW(make_fcos({.classes = 0}, 3), UsageError);
}

// Bright discs (0) and dark squares (1) of several sizes on a grey, noisy ground.
DetectionSample scene(std::int64_t index) {
  Draws draws(5, "scene", 0, index);
  DetectionSample s{Tensor({DType::U8, {1, 64, 64}}), {}};
  const auto pixels = s.image.values<std::uint8_t>();
  for (std::uint8_t& p : pixels) p = static_cast<std::uint8_t>(110 + draws.below(40));
  for (int tries = 0; tries < 3; ++tries) {
    const double size = draws.uniform(12, 26), x = draws.uniform(0, 64 - size),
                 y = draws.uniform(0, 64 - size);
    const LabelledBox b{{static_cast<float>(x), static_cast<float>(y), static_cast<float>(x + size),
                         static_cast<float>(y + size)},
                        draws.below(2),
                        false};
    if (std::any_of(s.boxes.begin(), s.boxes.end(),
                    [&](const auto& o) { return box_iou(o.box, b.box) > 0.0f; }))
      continue;
    s.boxes.push_back(b);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      const double px = static_cast<double>(i % 64) + 0.5 - x, py = static_cast<double>(i / 64) + 0.5 - y,
                   r = size / 2;
      const bool disc = (px - r) * (px - r) + (py - r) * (py - r) <= r * r;
      const bool square = px > 0 && px < size && py > 0 && py < size;
      if (b.label == 0 ? disc : square) pixels[i] = b.label == 0 ? 230 : 20;
    }
  }
  return s;
}

void scale_into(const Tensor& image, float* out) {
  for (const std::uint8_t p : image.values<std::uint8_t>()) *out++ = static_cast<float>(p) / 64.0f - 2.0f;
}

TEST(Fcos, LearnsDiscsAndSquares) {
  const FcosConfig config{.classes = 2, .channels = {8, 8, 16, 16}, .head = 16};
  const std::int64_t batch = 8, steps = 150, places = 8 * 8;
  const auto net = make_fcos(config, 1);
  Graph g;
  g.build.training = true;
  const auto feed = [&](const char* name, std::int64_t channels, std::int64_t size) {
    return input(g, name, {DType::F32, {batch, channels, size, size}});
  };
  const FcosLoss loss = fcos_loss(config, (*net)(feed("x", 1, 64)), feed("classes", 2, 8),
                                  feed("sides", 4, 8), feed("centre", 1, 8));
  output("loss", loss.total);
  adamw({.lr = 5e-3, .schedule = cosine(steps).warmup(10), .clip_norm = 10.0})->minimize(loss.total);
  Session s(compile(g, {.target = Target::cpu(1)}), {.seed = 1});
  float first = 0.0f, last = 0.0f;
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto row = [&](const char* name, std::int64_t i, std::int64_t n) {
      return std::span<float>(s.input(name).data<float>() + i * n, static_cast<std::size_t>(n));
    };
    for (std::int64_t i = 0; i < batch; ++i) {
      const DetectionSample sample = scene(step * batch + i);
      scale_into(sample.image, row("x", i, 64 * 64).data());
      fcos_targets(config, sample.boxes, 64, 64,
                   {row("classes", i, 2 * places), row("sides", i, 4 * places), row("centre", i, places)});
    }
    s.run();
    last = static_cast<float>(s.output("loss").item());
    if (step == 0) first = last;
  }
  EXPECT_LT(last, 0.6f * first);

  Graph test;
  output("map", (*net)(input(test, "x", {DType::F32, {1, 1, 64, 64}})));
  Session t(compile(test, {.target = Target::cpu(1)}));
  t.copy_states_from(s);
  DetectionScores scores(2);
  for (std::int64_t i = 0; i < 50; ++i) {
    const DetectionSample sample = scene(1'000'000 + i);
    scale_into(sample.image, t.input("x").data<float>());
    t.run();
    scores.add(sample.boxes, fcos_detections(config, t.output("map"), 0));
  }
  RecordProperty("map", cat(scores.mean_average_precision(0.5)));
  EXPECT_GE(scores.mean_average_precision(0.5), 0.8);
}

}  // namespace
}  // namespace ingot
