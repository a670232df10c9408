// Images as files, written by the libraries themselves, and folders of them.
//
//   write_raw(dir / "a.jpg", jpeg({8, 8, 3, gradient(8, 8, 3)}));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ingot {

// Pixel by pixel; channels 1 (grey), 2 (grey alpha), 3 (RGB), 4 (CMYK in a JPEG, RGBA in a PNG).
struct RawImage {
  int width = 0, height = 0, channels = 3;
  std::vector<std::uint8_t> pixels;
};

// Smooth, and different in every channel and corner.
RawImage gradient(int width, int height, int channels);

struct JpegStyle {
  int quality = 95;
  bool progressive = false, full_colour = false;  // full_colour: no channel is stored at half the size
};
std::string jpeg(const RawImage& image, const JpegStyle& style = {});

struct PngStyle {
  int bits = 8;  // 16: each byte twice
  bool interlaced = false;
};
std::string png(const RawImage& image, const PngStyle& style = {});

}  // namespace ingot
