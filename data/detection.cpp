#include "data/detection.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "data/detail/image_source.h"
#include "data/detail/pixel_ops.h"

namespace ingot {

namespace {

constexpr std::uint8_t kGrey = 128;

// One axis of a view: pixels [from, from + length) of the image become pixels [first, last) of the view.
struct Axis {
  double from = 0.0, length = 0.0;
  std::int64_t first = 0, last = 0;
  float operator()(float v) const {
    return static_cast<float>(static_cast<double>(first) +
                              (static_cast<double>(v) - from) * static_cast<double>(last - first) / length);
  }
};

// The image of `size` pixels, `zoom` times as large as in a view of all of it, starting `place` (0 to 1) of
// the way between the two ends.
Axis axis_of(std::int64_t size, std::int64_t view, double zoom, double place) {
  const double whole = static_cast<double>(size), seen = whole / zoom, at = place * (whole - seen);
  Axis a;
  a.from = std::max(at, 0.0);
  a.length = std::min(at + seen, whole) - a.from;
  const double scale = static_cast<double>(view) / seen;
  a.first = std::clamp<std::int64_t>(std::llround((a.from - at) * scale), 0, view - 1);
  a.last = std::clamp<std::int64_t>(std::llround((a.from + a.length - at) * scale), a.first + 1, view);
  return a;
}

DetectionSample view(const DetectionSample& from, std::int64_t height, std::int64_t width, double zoom,
                     double down, double across) {
  const Shape& shape = from.image.shape();
  if (from.image.dtype() != DType::U8 || shape.rank() != 3 || (shape[0] != 1 && shape[0] != 3) ||
      from.image.numel() == 0)
    throw ShapeError(
        cat("a view needs an image u8[1 or 3, height, width], got ", to_string(from.image.type())));
  if (height < 1 || width < 1)
    throw UsageError(cat("a view has at least one pixel, got ", height, " x ", width));
  const std::int64_t channels = shape[0];
  const Axis y = axis_of(shape[1], height, zoom, down), x = axis_of(shape[2], width, zoom, across);
  const Tensor source = from.image.to(pixel_layout());
  detail::Pixels pixels;
  pixels.width = shape[2];
  pixels.height = shape[1];
  pixels.channels = channels;
  const auto values = source.values<std::uint8_t>();
  pixels.bytes.assign(values.begin(), values.end());
  const std::int64_t rows = y.last - y.first, columns = x.last - x.first;
  std::vector<std::uint8_t> part(static_cast<std::size_t>(rows * columns * channels));
  detail::resample(pixels, {x.from, y.from, x.length, y.length}, columns, rows, part.data());
  DetectionSample out{Tensor({DType::U8, {channels, height, width}, pixel_layout()}), {}};
  auto* const to = out.image.data<std::uint8_t>();
  std::memset(to, kGrey, out.image.bytes());
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(to + ((y.first + r) * width + x.first) * channels, part.data() + r * columns * channels,
                static_cast<std::size_t>(columns * channels));
  for (LabelledBox b : from.boxes) {
    b.box = {x(b.box.left), y(b.box.top), x(b.box.right), y(b.box.bottom)};
    out.boxes.push_back(b);
  }
  return out;
}

void mirror(DetectionSample& s, bool across) {
  const std::int64_t channels = s.image.shape()[0], height = s.image.shape()[1], width = s.image.shape()[2];
  auto* const p = s.image.data<std::uint8_t>();
  const auto swap_pixels = [&](std::int64_t a, std::int64_t b, std::int64_t count) {
    std::swap_ranges(p + a * channels, p + (a + count) * channels, p + b * channels);
  };
  if (across)
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < width / 2; ++x) swap_pixels(y * width + x, y * width + width - 1 - x, 1);
  else
    for (std::int64_t y = 0; y < height / 2; ++y) swap_pixels(y * width, (height - 1 - y) * width, width);
  for (LabelledBox& b : s.boxes) {
    float& low = across ? b.box.left : b.box.top;
    float& high = across ? b.box.right : b.box.bottom;
    const float size = static_cast<float>(across ? width : height), kept = low;
    low = size - high;
    high = size - kept;
  }
}

}  // namespace

DetectionSample resized_view(const DetectionSample& from, std::int64_t height, std::int64_t width) {
  return view(from, height, width, 1.0, 0.0, 0.0);
}

DetectionSample random_view(const DetectionSample& from, std::int64_t height, std::int64_t width,
                            const DetectionAugment& augment, Draws& draws) {
  if (!(augment.least_zoom > 0.0 && augment.least_zoom <= augment.most_zoom && augment.most_zoom < 1e3))
    throw UsageError(cat("random_view: expected 0 < least_zoom <= most_zoom, got ", augment.least_zoom,
                         " and ", augment.most_zoom));
  if (!(augment.least_kept >= 0.0 && augment.least_kept <= 1.0))
    throw UsageError(cat("random_view: least_kept is a share between 0 and 1, got ", augment.least_kept));
  const double zoom = std::exp(draws.uniform(std::log(augment.least_zoom), std::log(augment.most_zoom)));
  const double down = draws.uniform(), across = draws.uniform();
  DetectionSample s = view(from, height, width, zoom, down, across);
  std::erase_if(s.boxes, [&](LabelledBox& b) {
    const double whole = static_cast<double>(b.box.area());
    const float w = static_cast<float>(width), h = static_cast<float>(height);
    b.box = {std::clamp(b.box.left, 0.0f, w), std::clamp(b.box.top, 0.0f, h),
             std::clamp(b.box.right, 0.0f, w), std::clamp(b.box.bottom, 0.0f, h)};
    const double left = static_cast<double>(b.box.area());
    return left <= 0.0 || left < augment.least_kept * whole;
  });
  if (augment.color_jitter) {
    Augment colours;
    colours.color_jitter = augment.color_jitter;
    const std::int64_t channels = s.image.shape()[0];
    detail::change_pixels({s.image.data<std::uint8_t>(), channels, height, width, channels, 1}, colours,
                          draws);
  }
  if (augment.horizontal_flip && draws.coin()) mirror(s, true);
  if (augment.vertical_flip && draws.coin()) mirror(s, false);
  return s;
}

}  // namespace ingot
