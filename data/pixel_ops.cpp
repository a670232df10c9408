#include "data/detail/pixel_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace ingot::detail {

namespace {

using Table = std::array<std::uint8_t, 256>;

// As torchvision's tensors do it: in f32, clamped, then truncated.
std::uint8_t to_byte(float v) {
  return static_cast<std::uint8_t>(std::clamp(v, 0.0f, 255.0f));
}

std::uint8_t blend(double factor, float v, float with) {
  return to_byte(static_cast<float>(factor) * v + static_cast<float>(1.0 - factor) * with);
}

template <class F>
Table table_of(const F& f) {
  Table t;
  for (int v = 0; v < 256; ++v) t[static_cast<std::size_t>(v)] = f(v);
  return t;
}

void look_up(const PixelView& image, std::int64_t channel, const Table& table) {
  for (std::int64_t i = 0; i < image.pixels(); ++i) {
    std::uint8_t& v = image.at(i, channel);
    v = table[v];
  }
}

void look_up(const PixelView& image, const Table& table) {
  for (std::int64_t c = 0; c < image.channels; ++c) look_up(image, c, table);
}

float grey_of(const PixelView& image, std::int64_t pixel) {
  const auto channel = [&](std::int64_t c) { return static_cast<float>(image.at(pixel, c)); };
  if (image.channels != 3) return channel(0);
  return std::floor(0.2989f * channel(0) + 0.587f * channel(1) + 0.114f * channel(2));
}

std::array<std::int64_t, 256> histogram(const PixelView& image, std::int64_t channel) {
  std::array<std::int64_t, 256> h{};
  for (std::int64_t i = 0; i < image.pixels(); ++i) ++h[image.at(i, channel)];
  return h;
}

std::vector<std::uint8_t>& copy_of(const PixelView& image) {
  thread_local std::vector<std::uint8_t> copy;
  copy.resize(static_cast<std::size_t>(image.pixels() * image.channels));
  std::copy_n(image.data, copy.size(), copy.data());
  return copy;
}

}  // namespace

void adjust_brightness(const PixelView& image, double factor) {
  look_up(image, table_of([&](int v) { return blend(factor, static_cast<float>(v), 0.0f); }));
}

void adjust_contrast(const PixelView& image, double factor) {
  double mean = 0.0;
  for (std::int64_t i = 0; i < image.pixels(); ++i) mean += static_cast<double>(grey_of(image, i));
  mean /= static_cast<double>(std::max<std::int64_t>(1, image.pixels()));
  look_up(image,
          table_of([&](int v) { return blend(factor, static_cast<float>(v), static_cast<float>(mean)); }));
}

void adjust_saturation(const PixelView& image, double factor) {
  if (image.channels != 3) return;
  for (std::int64_t i = 0; i < image.pixels(); ++i) {
    const float grey = grey_of(image, i);
    for (std::int64_t c = 0; c < 3; ++c) {
      std::uint8_t& v = image.at(i, c);
      v = blend(factor, static_cast<float>(v), grey);
    }
  }
}

void adjust_hue(const PixelView& image, double turn) {
  if (image.channels != 3) return;
  for (std::int64_t i = 0; i < image.pixels(); ++i) {
    const double r = image.at(i, 0), g = image.at(i, 1), b = image.at(i, 2);
    const double most = std::max({r, g, b}), range = most - std::min({r, g, b});
    if (range == 0.0) continue;
    // In sixths of the circle.
    double hue = most == r ? (g - b) / range : most == g ? 2.0 + (b - r) / range : 4.0 + (r - g) / range;
    hue += 6.0 * turn;
    hue -= 6.0 * std::floor(hue / 6.0);
    const auto channel = [&](double n) {
      double k = n + hue;
      k -= 6.0 * std::floor(k / 6.0);
      return static_cast<std::uint8_t>(most - range * std::clamp(std::min(k, 4.0 - k), 0.0, 1.0) + 0.5);
    };
    image.at(i, 0) = channel(5.0);
    image.at(i, 1) = channel(3.0);
    image.at(i, 2) = channel(1.0);
  }
}

void adjust_sharpness(const PixelView& image, double factor) {
  if (image.height < 3 || image.width < 3) return;
  const std::vector<std::uint8_t>& copy = copy_of(image);
  PixelView old = image;
  old.data = const_cast<std::uint8_t*>(copy.data());
  for (std::int64_t c = 0; c < image.channels; ++c)
    for (std::int64_t y = 1; y + 1 < image.height; ++y)
      for (std::int64_t x = 1; x + 1 < image.width; ++x) {
        const std::int64_t i = y * image.width + x;
        int sum = 4 * old.at(i, c);
        for (std::int64_t dy = -1; dy <= 1; ++dy)
          for (std::int64_t dx = -1; dx <= 1; ++dx) sum += old.at(i + dy * image.width + dx, c);
        const float smooth = std::nearbyint(static_cast<float>(sum) / 13.0f);
        image.at(i, c) = blend(factor, static_cast<float>(old.at(i, c)), smooth);
      }
}

void posterize(const PixelView& image, int bits) {
  const int mask = 256 - (1 << (8 - bits));
  look_up(image, table_of([&](int v) { return static_cast<std::uint8_t>(v & mask); }));
}

void solarize(const PixelView& image, double threshold) {
  look_up(image, table_of([&](int v) { return static_cast<std::uint8_t>(v >= threshold ? 255 - v : v); }));
}

void autocontrast(const PixelView& image) {
  for (std::int64_t c = 0; c < image.channels; ++c) {
    const auto h = histogram(image, c);
    int low = 0, high = 255;
    while (low < 255 && h[static_cast<std::size_t>(low)] == 0) ++low;
    while (high > 0 && h[static_cast<std::size_t>(high)] == 0) --high;
    if (high <= low) continue;
    const float scale = 255.0f / static_cast<float>(high - low);
    look_up(image, c, table_of([&](int v) { return to_byte(static_cast<float>(v - low) * scale); }));
  }
}

// Pillow's, which spreads the values so that each step holds as many pixels.
void equalize(const PixelView& image) {
  for (std::int64_t c = 0; c < image.channels; ++c) {
    const auto h = histogram(image, c);
    std::int64_t total = 0, last = 0;
    for (const std::int64_t n : h) {
      total += n;
      if (n != 0) last = n;
    }
    const std::int64_t step = (total - last) / 255;
    if (step == 0) continue;
    std::int64_t below = step / 2;
    look_up(image, c, table_of([&](int v) {
              const std::int64_t to = below / step;
              below += h[static_cast<std::size_t>(v)];
              return static_cast<std::uint8_t>(std::min<std::int64_t>(to, 255));
            }));
  }
}

void transform(const PixelView& image, const Affine& m) {
  const std::vector<std::uint8_t>& copy = copy_of(image);
  PixelView old = image;
  old.data = const_cast<std::uint8_t*>(copy.data());
  for (std::int64_t y = 0; y < image.height; ++y)
    for (std::int64_t x = 0; x < image.width; ++x) {
      const double px = static_cast<double>(x) + 0.5, py = static_cast<double>(y) + 0.5;
      const double from_x = std::floor(m.a * px + m.b * py + m.c),
                   from_y = std::floor(m.d * px + m.e * py + m.f);
      const bool inside = from_x >= 0.0 && from_y >= 0.0 && from_x < static_cast<double>(image.width) &&
                          from_y < static_cast<double>(image.height);
      const std::int64_t from =
          inside ? static_cast<std::int64_t>(from_y) * image.width + static_cast<std::int64_t>(from_x) : 0;
      for (std::int64_t c = 0; c < image.channels; ++c)
        image.at(y * image.width + x, c) = inside ? old.at(from, c) : std::uint8_t{0};
    }
}

namespace {

// torchvision's operations with their strengths at magnitude m of 31 (0 to 30).
void random_operation(const PixelView& image, int magnitude, Draws& draws) {
  const double share = magnitude / 30.0;
  const auto either = [&](double v) { return draws.coin() ? -v : v; };
  const auto width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  switch (draws.below(14)) {
    case 0:
      break;
    case 1:
      transform(image, {.b = either(0.3 * share)});
      break;
    case 2:
      transform(image, {.d = either(0.3 * share)});
      break;
    case 3:
      transform(image, {.c = std::trunc(either(150.0 / 331.0 * width * share))});
      break;
    case 4:
      transform(image, {.f = std::trunc(either(150.0 / 331.0 * height * share))});
      break;
    case 5: {
      const double angle = either(30.0 * share) * std::numbers::pi / 180.0, c = std::cos(angle),
                   s = std::sin(angle);
      const double x = width / 2.0, y = height / 2.0;
      transform(image, {c, s, x - c * x - s * y, -s, c, y + s * x - c * y});
      break;
    }
    case 6:
      adjust_brightness(image, 1.0 + either(0.9 * share));
      break;
    case 7:
      adjust_saturation(image, 1.0 + either(0.9 * share));
      break;
    case 8:
      adjust_contrast(image, 1.0 + either(0.9 * share));
      break;
    case 9:
      adjust_sharpness(image, 1.0 + either(0.9 * share));
      break;
    case 10:
      posterize(image, 8 - static_cast<int>(std::lround(share * 4.0)));
      break;
    case 11:
      solarize(image, 255.0 * (1.0 - share));
      break;
    case 12:
      autocontrast(image);
      break;
    default:
      equalize(image);
  }
}

}  // namespace

void change_pixels(const PixelView& image, const Augment& augment, Draws& draws) {
  if (augment.rand_augment)
    for (int i = 0; i < augment.rand_augment->num_ops; ++i)
      random_operation(image, augment.rand_augment->magnitude, draws);
  if (!augment.color_jitter) return;
  const ColorJitter& j = *augment.color_jitter;
  const auto around_one = [&](double by) { return draws.uniform(std::max(0.0, 1.0 - by), 1.0 + by); };
  std::array<int, 4> order{0, 1, 2, 3};
  for (std::int64_t i = 3; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(draws.below(i + 1))]);
  for (const int what : order) {
    if (what == 0 && j.brightness > 0.0) adjust_brightness(image, around_one(j.brightness));
    if (what == 1 && j.contrast > 0.0) adjust_contrast(image, around_one(j.contrast));
    if (what == 2 && j.saturation > 0.0) adjust_saturation(image, around_one(j.saturation));
    if (what == 3 && j.hue > 0.0) adjust_hue(image, draws.uniform(-j.hue, j.hue));
  }
}

}  // namespace ingot::detail
