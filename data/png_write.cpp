// PNG files by libpng's simplified interface, which reports errors by its result and jumps nowhere.
#include <png.h>

#include <string>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/image.h"

namespace ingot {

void write_png(const std::string& path, const Tensor& image) {
  const std::int64_t channels = image.shape().rank() == 3 ? image.shape()[0] : 0;
  if (image.dtype() != DType::U8 || (channels != 1 && channels != 3) || image.numel() == 0 ||
      image.numel() > kMostPixels * channels)
    throw ShapeError(cat("write_png: expected an image u8[1 or 3, height, width] of at most ", kMostPixels,
                         " pixels, got ", to_string(image.type())));
  const Tensor pixels = image.to(pixel_layout());
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.shape()[2]);
  png.height = static_cast<png_uint_32>(image.shape()[1]);
  png.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels.raw(), 0, nullptr) != 0)
    return write_file(path, {bytes.data(), size});
  throw Error(cat("'", path, "' cannot be written as PNG: ", static_cast<const char*>(png.message)));
}

}  // namespace ingot
