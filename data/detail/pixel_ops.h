// Random changes of an image's colours and form, in place, on 8-bit samples: torchvision's RandAugment and
// ColorJitter.
//
//   change_pixels(pixels, augment, draws);
#pragma once

#include <cstddef>
#include <cstdint>

#include "data/augment.h"
#include "data/draws.h"

namespace ingot::detail {

// An image of bytes in either layout.
struct PixelView {
  std::uint8_t* data = nullptr;
  std::int64_t channels = 3, height = 0, width = 0;
  std::ptrdiff_t pixel_stride = 3, channel_stride = 1;

  std::uint8_t& at(std::int64_t pixel, std::int64_t channel) const {
    return data[pixel * pixel_stride + channel * channel_stride];
  }
  std::int64_t pixels() const { return height * width; }
};

// First RandAugment, then ColorJitter, where they are asked for.
void change_pixels(const PixelView& image, const Augment& augment, Draws& draws);

// The single changes, for tests. `factor` 1 leaves the image as it is.
void adjust_brightness(const PixelView& image, double factor);
void adjust_contrast(const PixelView& image, double factor);
void adjust_saturation(const PixelView& image, double factor);
void adjust_hue(const PixelView& image, double turn);  // of the circle of colours, -0.5 to 0.5
void adjust_sharpness(const PixelView& image, double factor);
void posterize(const PixelView& image, int bits);
void solarize(const PixelView& image, double threshold);
void autocontrast(const PixelView& image);
void equalize(const PixelView& image);
// The pixel whose middle is (x, y) is the one that holds (a x + b y + c, d x + e y + f); outside is black.
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
};
void transform(const PixelView& image, const Affine& from);

}  // namespace ingot::detail
