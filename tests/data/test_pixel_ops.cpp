// ColorJitter and RandAugment's operations against torchvision's results (tests/golden/pixel_ops.py), MixUp,
// CutMix and balanced classes against their definitions.

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/detail/pixel_ops.h"
#include "data/loader.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

constexpr std::int64_t kHeight = 17, kWidth = 18;

std::vector<std::uint8_t> test_image() {
  std::uint64_t state = 12345;
  std::vector<std::uint8_t> out;
  for (std::int64_t i = 0; i < kHeight * kWidth * 3; ++i) {
    state = (state * 1103515245 + 12345) % (1u << 31);
    out.push_back(static_cast<std::uint8_t>(40 + (state >> 16) % 180));
  }
  return out;
}

detail::Affine rotation(double degrees) {
  const double a = degrees * std::numbers::pi / 180.0, c = std::cos(a), s = std::sin(a);
  const double x = kWidth / 2.0, y = kHeight / 2.0;
  return {c, -s, x - c * x + s * y, s, c, y - s * x - c * y};
}

TEST(PixelOps, AreTorchvisionsInBothLayouts) {
  using detail::PixelView;
  const std::map<std::string, std::function<void(const PixelView&)>> ops = {
      {"brightness 1.4", [](auto& v) { detail::adjust_brightness(v, 1.4); }},
      {"contrast 0.5", [](auto& v) { detail::adjust_contrast(v, 0.5); }},
      {"contrast 1.7", [](auto& v) { detail::adjust_contrast(v, 1.7); }},
      {"saturation 0.3", [](auto& v) { detail::adjust_saturation(v, 0.3); }},
      {"saturation 1.8", [](auto& v) { detail::adjust_saturation(v, 1.8); }},
      {"hue 0.2", [](auto& v) { detail::adjust_hue(v, 0.2); }},
      {"hue -0.4", [](auto& v) { detail::adjust_hue(v, -0.4); }},
      {"sharpness 0.2", [](auto& v) { detail::adjust_sharpness(v, 0.2); }},
      {"sharpness 1.9", [](auto& v) { detail::adjust_sharpness(v, 1.9); }},
      {"posterize 3", [](auto& v) { detail::posterize(v, 3); }},
      {"solarize 128", [](auto& v) { detail::solarize(v, 128); }},
      {"autocontrast", [](auto& v) { detail::autocontrast(v); }},
      {"equalize", [](auto& v) { detail::equalize(v); }},
      {"shear 0.3", [](auto& v) { detail::transform(v, {.b = 0.3}); }},
      {"translate 2 -3", [](auto& v) { detail::transform(v, {.c = -2, .f = 3}); }},
      {"rotate 25", [](auto& v) { detail::transform(v, rotation(25)); }}};
  const auto golden = nlohmann::json::parse(read_file(INGOT_SOURCE_DIR "/tests/golden/pixel_ops.json"));
  ASSERT_EQ(golden.size(), ops.size());
  const std::vector<std::uint8_t> original = test_image();
  const std::int64_t plane = kHeight * kWidth;
  for (const auto& [name, op] : ops) {
    const auto expected = golden.at(name).get<std::vector<int>>();
    std::vector<std::uint8_t> last = original, planes(original.size());
    for (std::int64_t i = 0; i < plane; ++i)
      for (std::int64_t c = 0; c < 3; ++c)
        planes[static_cast<std::size_t>(c * plane + i)] = original[static_cast<std::size_t>(i * 3 + c)];
    op({last.data(), 3, kHeight, kWidth, 3, 1});
    op({planes.data(), 3, kHeight, kWidth, 1, plane});
    // A product that is truncated may differ by its last bit; what only moves or looks up values is exact.
    const bool blends = name.find("ness") != name.npos || name.starts_with("contrast") ||
                        name.starts_with("satur") || name.starts_with("hue");
    for (std::size_t i = 0; i < last.size(); ++i) {
      if (i % 7 == 0) {
        EXPECT_LE(std::abs(last[i] - expected.at(i / 7)), blends ? 1 : 0) << name << " at " << i;
      }
      EXPECT_EQ(planes[i % 3 * static_cast<std::size_t>(plane) + i / 3], last[i]) << name << " at " << i;
    }
    EXPECT_NE(last, original) << name;
  }
}

// Twelve samples of 3 x 8 x 8 whose pixels are all their index, of three classes that are 8, 3 and 1 strong.
std::shared_ptr<const Dataset> numbered(DType dtype = DType::U8) {
  const Tensor inputs({DType::U8, {12, 3, 8, 8}}), labels({DType::I64, {12}});
  for (std::int64_t i = 0; i < 12; ++i) {
    std::fill_n(inputs.data<std::uint8_t>() + i * 192, 192, static_cast<std::uint8_t>(i * 20));
    labels.data<std::int64_t>()[i] = i < 8 ? 0 : i < 11 ? 1 : 2;
  }
  return std::make_shared<InMemoryDataset>(inputs.to(dtype), labels, 3);
}

TEST(Mixing, MixUpKeepsTheShareItSays) {
  for (const int workers : {0, 2}) {
    DataLoader plain(numbered(), {.batch_size = 5, .shuffle = true, .seed = 9, .workers = 0});
    Augment augment;
    augment.mixup = 0.4;
    DataLoader mixed(numbered(),
                     {.batch_size = 5, .shuffle = true, .seed = 9, .workers = workers, .augment = augment});
    if (workers == 0) {
      EXPECT_EQ(plain.buffer_bytes(), 5u * (192 * 4 + 8));
      EXPECT_EQ(mixed.buffer_bytes(), 5u * (192 * 4 + 2 * 8)) << "two targets";
    }
    std::set<double> shares;
    while (const Batch* m = mixed.next()) {
      const Batch* const p = plain.next();
      shares.insert(m->share);
      EXPECT_GE(m->share, 0.0);
      EXPECT_LE(m->share, 1.0);
      for (std::int64_t i = 0; i < m->valid; ++i) {
        const std::int64_t other = i == 0 ? m->valid - 1 : i - 1;
        EXPECT_EQ(m->target.data<std::int64_t>()[i], p->target.data<std::int64_t>()[i]);
        EXPECT_EQ(m->other_target.data<std::int64_t>()[i], p->target.data<std::int64_t>()[other]);
        const double expected = m->share * p->input.data<float>()[i * 192] +
                                (1.0 - m->share) * p->input.data<float>()[other * 192];
        EXPECT_NEAR(m->input.data<float>()[i * 192 + 100], expected, 1e-5);
      }
    }
    EXPECT_EQ(shares.size(), 3u);
  }
}

TEST(Mixing, CutMixPastesTheShareItSays) {
  for (const bool channels_last : {false, true}) {
    Augment augment;
    augment.cutmix = 1.0;
    DataLoader loader(numbered(),
                      {.batch_size = 6, .workers = 0, .channels_last = channels_last, .augment = augment});
    bool some = false;
    for (int epoch = 0; epoch < 20; ++epoch)
      while (const Batch* b = loader.next()) {
        const Tensor x = b->input.contiguous();
        for (std::int64_t i = 0; i < b->valid; ++i) {
          const std::int64_t first = b->number * 6, other = i == 0 ? b->valid - 1 : i - 1;
          const float own = static_cast<float>((first + i) * 20) / 255.0f,
                      foreign = static_cast<float>((first + other) * 20) / 255.0f;
          std::int64_t kept = 0;
          for (std::int64_t k = 0; k < 192; ++k) {
            const float v = x.data<float>()[i * 192 + k];
            ASSERT_TRUE(v == own || v == foreign) << v;
            kept += v == own ? 1 : 0;
          }
          EXPECT_NEAR(static_cast<double>(kept) / 192.0, b->share, 1e-12);
          some |= kept > 0 && kept < 192;
        }
      }
    EXPECT_TRUE(some);
  }
}

TEST(Mixing, WhatCannotBeMixedIsRefused) {
  Augment augment;
  augment.mixup = -1.0;
  EXPECT_TRUE(says(message_of<UsageError>([&] { DataLoader(numbered(), {.augment = augment}); }), "got -1"));
  augment.mixup = 0.0;
  augment.rand_augment.emplace();
  EXPECT_TRUE(says(message_of<UsageError>([&] { DataLoader(numbered(DType::F32), {.augment = augment}); }),
                   "of type u8"));
  augment.rand_augment = RandAugment{2, 31};
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { DataLoader(numbered(), {.augment = augment}); }), "got 2 at 31"));
  Augment jitter;
  jitter.color_jitter = ColorJitter{0, 0, 0, 0.6};
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { DataLoader(numbered(), {.augment = jitter}); }), "at most 0.5"));
}

TEST(Balance, EveryClassOccursAlike) {
  for (const int workers : {0, 2}) {
    DataLoader loader(
        numbered(),
        {.batch_size = 4, .shuffle = true, .seed = 2, .workers = workers, .balance_classes = true});
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::map<std::int64_t, int> by_label;
      std::map<std::int64_t, int> by_index;
      while (const Batch* b = loader.next())
        for (std::int64_t i = 0; i < b->valid; ++i) {
          ++by_label[b->target.data<std::int64_t>()[i]];
          ++by_index[b->indices[static_cast<std::size_t>(i)]];
        }
      EXPECT_EQ(by_label, (std::map<std::int64_t, int>{{0, 4}, {1, 4}, {2, 4}})) << epoch;
      // Of the large class none comes twice, and of the middle one none thrice.
      for (const auto& [index, times] : by_index) EXPECT_LE(times, index < 8 ? 1 : index < 11 ? 2 : 4);
    }
  }
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { DataLoader(numbered(), {.balance_classes = true}); }), "shuffle"));
}

TEST(Balance, AnEpochDoesNotDependOnTheOnesBefore) {
  const auto epoch_two = [](bool jump) {
    DataLoader loader(numbered(),
                      {.batch_size = 12, .shuffle = true, .seed = 4, .workers = 0, .balance_classes = true});
    if (jump)
      loader.start_epoch(2);
    else
      for (int e = 0; e < 2; ++e)
        while (loader.next() != nullptr) {
        }
    return loader.next()->indices;
  };
  EXPECT_EQ(epoch_two(true), epoch_two(false));
}

// Both change the images, as the seed says and whatever the workers.
TEST(PixelOps, JitterAndRandAugmentAreAFunctionOfTheSeed) {
  const auto first = [](std::uint64_t seed, int workers, const Augment& augment) {
    DataLoader loader(numbered(), {.batch_size = 12, .seed = seed, .workers = workers, .augment = augment});
    const Tensor& x = loader.next()->input;
    return std::vector<float>(x.data<float>(), x.data<float>() + x.numel());
  };
  Augment jitter, random;
  jitter.color_jitter = ColorJitter{0.4, 0.4, 0.4, 0.1};
  random.rand_augment.emplace();
  for (const Augment& augment : {jitter, random}) {
    EXPECT_EQ(first(1, 0, augment), first(1, 2, augment));
    EXPECT_NE(first(1, 0, augment), first(2, 0, augment));
    EXPECT_NE(first(1, 0, augment), first(1, 0, {}));
  }
}

}  // namespace
}  // namespace ingot
