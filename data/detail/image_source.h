// One encoded image in memory: what its header says, and the pixels of a part of it.
//
// A JPEG is decoded as small as the caller can use it: scaled in the DCT by 1/2, 1/4 or 1/8 while the part
// stays at least as large as asked for, without the columns beside it and the rows above and below it. A PNG
// is decoded whole. Pixels come as 8 bits of RGB or grey: palettes are looked up, 16 bits are rounded to 8,
// transparency is left out, CMYK becomes RGB as in Pillow, the grey of a colour is that of ITU-R BT.601.
// Orientation and colour profiles are not applied. Whatever is wrong with the bytes is a BadSample that names
// them.
//
//   const auto source = open_image(bytes, "cat.jpg", kMostPixels);
//   Pixels window;
//   source->decode({0, 0, source->info.width, source->info.height}, 224, 224, 3, window);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace ingot::detail {

// In pixels of the whole image.
struct Box {
  double left = 0.0, top = 0.0, width = 0.0, height = 0.0;
};

// Decoded rows, one behind the other, pixel by pixel, and where they lie in the image.
struct Pixels {
  std::vector<std::uint8_t> bytes;
  std::int64_t width = 0, height = 0, channels = 0;
  std::int64_t left = 0, top = 0;  // of the first pixel, in pixels of the scaled image
  double scale = 1.0;              // of the scaled image to the whole one
};

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  // Once an object: the pixels of `box`, at least `least_width` x `least_height` of them where the image has
  // as many.
  virtual void decode(const Box& box, std::int64_t least_width, std::int64_t least_height,
                      std::int64_t channels, Pixels& out) = 0;

  ImageInfo info;
};

// Throws BadSample where the bytes are no JPEG or PNG, or announce more than `most_pixels`. The bytes must
// outlive it.
std::unique_ptr<ImageSource> open_image(std::span<const std::byte> bytes, const std::string& name,
                                        std::int64_t most_pixels);
std::unique_ptr<ImageSource> open_jpeg(std::span<const std::byte> bytes, const std::string& name);
std::unique_ptr<ImageSource> open_png(std::span<const std::byte> bytes, const std::string& name);

// The rows [first, first + count) and columns that `box` touches.
struct Window {
  std::int64_t left = 0, top = 0, width = 0, height = 0;
};
Window window_of(const Box& box, double scale, std::int64_t width, std::int64_t height);

// `count` pixels of RGB to BT.601's grey, in place.
void to_grey(std::uint8_t* pixels, std::int64_t count);

// The box of the image whose pixels are `in`, resampled to width x height pixels: Pillow's bilinear filter,
// which averages where it makes smaller. Pixels outside the box are not looked at.
void resample(const Pixels& in, const Box& box, std::int64_t width, std::int64_t height, std::uint8_t* out);

// read_prepared_image() of an opened file, as u8 pixel by pixel.
void prepare_image(ImageSource& source, const ImagePreparation& prepare, Pixels& scratch, std::uint8_t* out);

}  // namespace ingot::detail
