#include "tests/support/image_files.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

// These want size_t and FILE.
#include <jpeglib.h>
#include <png.h>

namespace ingot {

RawImage gradient(int width, int height, int channels) {
  RawImage image{width, height, channels, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) {
        const int along = c % 2 == 0 ? x * 255 / std::max(1, width - 1) : y * 255 / std::max(1, height - 1);
        image.pixels.push_back(static_cast<std::uint8_t>(c < 2 ? along : 255 - along));
      }
  return image;
}

std::string jpeg(const RawImage& image, const JpegStyle& style) {
  jpeg_compress_struct out{};
  jpeg_error_mgr errors{};
  out.err = jpeg_std_error(&errors);
  jpeg_create_compress(&out);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&out, &bytes, &size);
  out.image_width = static_cast<JDIMENSION>(image.width);
  out.image_height = static_cast<JDIMENSION>(image.height);
  out.input_components = image.channels;
  out.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : image.channels == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&out);
  jpeg_set_quality(&out, style.quality, TRUE);
  if (style.progressive) jpeg_simple_progression(&out);
  if (style.full_colour) out.comp_info[0].h_samp_factor = out.comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(&out, TRUE);
  const std::size_t row = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  std::vector<std::uint8_t> copy = image.pixels;
  while (out.next_scanline < out.image_height) {
    JSAMPROW line = copy.data() + out.next_scanline * row;
    jpeg_write_scanlines(&out, &line, 1);
  }
  jpeg_finish_compress(&out);
  jpeg_destroy_compress(&out);
  std::string text(reinterpret_cast<const char*>(bytes), size);
  std::free(bytes);
  return text;
}

std::string png(const RawImage& image, const PngStyle& style) {
  std::string text;
  png_structp out = png_create_write_struct(
      PNG_LIBPNG_VER_STRING, nullptr,
      [](png_structp, png_const_charp what) { throw std::runtime_error(what); }, nullptr);
  png_infop info = png_create_info_struct(out);
  png_set_write_fn(
      out, &text,
      [](png_structp p, png_bytep data, std::size_t n) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<const char*>(data), n);
      },
      nullptr);
  constexpr int kColours[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                              PNG_COLOR_TYPE_RGB_ALPHA};
  png_set_IHDR(out, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
               style.bits, kColours[image.channels],
               style.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(out, info);
  std::vector<std::uint8_t> bytes;
  for (const std::uint8_t v : image.pixels) bytes.insert(bytes.end(), style.bits == 16 ? 2 : 1, v);
  const std::size_t row = bytes.size() / static_cast<std::size_t>(image.height);
  std::vector<png_bytep> lines;
  for (int y = 0; y < image.height; ++y) lines.push_back(bytes.data() + static_cast<std::size_t>(y) * row);
  png_write_image(out, lines.data());
  png_write_end(out, info);
  png_destroy_write_struct(&out, &info);
  return text;
}

}  // namespace ingot
