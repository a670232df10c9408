#include "data/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/detail/image_source.h"

namespace ingot {

namespace detail {

Window window_of(const Box& box, double scale, std::int64_t width, std::int64_t height) {
  const auto span = [](double from, double length, std::int64_t limit, std::int64_t& first,
                       std::int64_t& count) {
    first = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(from)), 0, limit - 1);
    count = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(from + length)) - first, 1,
                                     limit - first);
  };
  Window w;
  span(box.left * scale, box.width * scale, width, w.left, w.width);
  span(box.top * scale, box.height * scale, height, w.top, w.height);
  return w;
}

void to_grey(std::uint8_t* pixels, std::int64_t count) {
  const std::uint8_t* in = pixels;
  for (std::int64_t i = 0; i < count; ++i, in += 3)
    pixels[i] = static_cast<std::uint8_t>((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 0x8000u) >> 16);
}

std::unique_ptr<ImageSource> open_image(std::span<const std::byte> bytes, const std::string& name,
                                        std::int64_t most_pixels) {
  const auto starts = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (bytes.empty()) throw BadSample(cat("'", name, "' is empty; expected a JPEG or PNG image"));
  std::unique_ptr<ImageSource> source;
  if (starts("\xff\xd8\xff"))
    source = open_jpeg(bytes, name);
  else if (starts("\x89PNG\r\n\x1a\n"))
    source = open_png(bytes, name);
  else
    throw BadSample(
        cat("'", name, "' is neither JPEG nor PNG by its first bytes; convert it, or take it out"));
  const ImageInfo& info = source->info;
  if (info.width > most_pixels / std::max<std::int64_t>(info.height, 1))
    throw BadSample(cat("'", name, "' announces ", info.width, " x ", info.height,
                        " pixels; expected at most ", most_pixels, " of them"));
  return source;
}

namespace {

// Torchvision's Resize(shorter side) and CenterCrop(size), as the part of the image that becomes the sample.
Box center_box(const ImageInfo& info, const ImagePreparation& prepare) {
  const auto width = static_cast<double>(info.width), height = static_cast<double>(info.height);
  const double side = std::min(width, height) * static_cast<double>(prepare.size) /
                      static_cast<double>(prepare.shorter_side());
  return {(width - side) / 2.0, (height - side) / 2.0, side, side};
}

}  // namespace

// Where nothing is random the pixels are those of a full decode: scaling in the DCT is allowed only far above
// the size that the filter then averages to.
void prepare_image(ImageSource& source, const ImagePreparation& prepare, Pixels& scratch, std::uint8_t* out) {
  const Box box = center_box(source.info, prepare);
  source.decode(box, 2 * prepare.size, 2 * prepare.size, prepare.channels, scratch);
  resample(scratch, box, prepare.size, prepare.size, out);
}

}  // namespace detail

namespace {

void require_channels(std::int64_t channels) {
  if (channels != 1 && channels != 3)
    throw UsageError(cat("images are read as 3 channels (RGB) or 1 (grey), got ", channels));
}

}  // namespace

ImageInfo image_info(const std::string& path, std::int64_t most_pixels) {
  const auto file = MappedFile::open(path);
  return detail::open_image(file->bytes(), path, most_pixels)->info;
}

Tensor read_image(const std::string& path, std::int64_t channels, std::int64_t most_pixels) {
  require_channels(channels);
  const auto file = MappedFile::open(path);
  const auto source = detail::open_image(file->bytes(), path, most_pixels);
  const std::int64_t width = source->info.width, height = source->info.height;
  detail::Pixels pixels;
  source->decode({0.0, 0.0, static_cast<double>(width), static_cast<double>(height)}, width, height, channels,
                 pixels);
  const Tensor out({DType::U8, {channels, height, width}});
  std::uint8_t* to = out.data<std::uint8_t>();
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = 0; i < width * height; ++i)
      *to++ = pixels.bytes[static_cast<std::size_t>(i * channels + c)];
  return out;
}

}  // namespace ingot
