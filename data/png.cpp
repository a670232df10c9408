// PNG by libpng, which reports errors by a jump: between setjmp and the last call of the library a function
// here makes no object that has a destructor.

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/detail/image_source.h"
#include "data/image.h"

namespace ingot::detail {

namespace {

// libpng sets this aside for each compressed text, colour profile or other extra that it meets.
constexpr png_alloc_size_t kMostOfAChunk = 8u << 20;

class PngSource final : public ImageSource {
 public:
  PngSource(std::span<const std::byte> bytes, const std::string& name) : name_(name), bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
    if (setjmp(back_) == 0) {
      png_set_read_fn(png_, this, on_read);
      png_set_chunk_malloc_max(png_, kMostOfAChunk);
      png_set_user_limits(png_, 0x7fffffff, 0x7fffffff);  // the product is held against most_pixels
      png_read_info(png_, info_);
    } else {
      png_destroy_read_struct(&png_, &info_, nullptr);
      fail();
    }
    info.format = "PNG";
    info.width = png_get_image_width(png_, info_);
    info.height = png_get_image_height(png_, info_);
    info.bits = png_get_bit_depth(png_, info_);
    const bool clear = png_get_valid(png_, info_, PNG_INFO_tRNS) != 0;
    switch (png_get_color_type(png_, info_)) {
      case PNG_COLOR_TYPE_GRAY:
        info.colour = clear ? "grey alpha" : "grey";
        break;
      case PNG_COLOR_TYPE_GRAY_ALPHA:
        info.colour = "grey alpha";
        break;
      case PNG_COLOR_TYPE_PALETTE:
        info.colour = clear ? "palette alpha" : "palette";
        break;
      case PNG_COLOR_TYPE_RGB_ALPHA:
        info.colour = "RGB alpha";
        break;
      default:
        info.colour = clear ? "RGB alpha" : "RGB";
    }
  }
  ~PngSource() override { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngSource(const PngSource&) = delete;
  PngSource& operator=(const PngSource&) = delete;

  void decode(const Box&, std::int64_t, std::int64_t, std::int64_t channels, Pixels& out) override {
    const bool grey = info.colour.starts_with("grey");
    out.scale = 1.0;
    out.left = out.top = 0;
    out.width = info.width;
    out.height = info.height;
    out.channels = channels;
    const std::int64_t stored = grey && channels == 1 ? 1 : 3, row = out.width * stored;
    const int passes = begin(stored == 3 && grey);
    if (row_bytes_ != row)
      throw BadSample(
          cat("'", name_, "' cannot be decoded as PNG: expected rows of ", row, " bytes, got ", row_bytes_));
    out.bytes.resize(static_cast<std::size_t>(row * out.height));
    read_rows(out.bytes.data(), row, passes);
    if (stored == 3 && channels == 1) to_grey(out.bytes.data(), out.width * out.height);
  }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* const self = static_cast<PngSource*>(png_get_error_ptr(png));
    std::snprintf(self->text_, sizeof self->text_, "%s", message);
    std::longjmp(self->back_, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, std::size_t count) {
    auto* const self = static_cast<PngSource*>(png_get_io_ptr(png));
    if (count > self->bytes_.size() - self->at_) png_error(png, "it is cut short");
    std::memcpy(out, self->bytes_.data() + self->at_, count);
    self->at_ += count;
  }
  [[noreturn]] void fail() const { throw BadSample(cat("'", name_, "' cannot be decoded as PNG: ", text_)); }

  int begin(bool to_rgb) {
    if (setjmp(back_) != 0) fail();
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_strip_alpha(png_);
    if (to_rgb) png_set_gray_to_rgb(png_);
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    row_bytes_ = static_cast<std::int64_t>(png_get_rowbytes(png_, info_));
    return passes;
  }
  void read_rows(std::uint8_t* at, std::int64_t row, int passes) {
    if (setjmp(back_) != 0) fail();
    for (int pass = 0; pass < passes; ++pass)
      for (std::int64_t y = 0; y < info.height; ++y) png_read_row(png_, at + y * row, nullptr);
    png_read_end(png_, nullptr);
  }

  std::string name_;
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::int64_t row_bytes_ = 0;
  char text_[200] = "";
  std::jmp_buf back_;
};

}  // namespace

std::unique_ptr<ImageSource> open_png(std::span<const std::byte> bytes, const std::string& name) {
  return std::make_unique<PngSource>(bytes, name);
}

}  // namespace ingot::detail

namespace ingot {

// libpng's simplified interface, which returns its errors instead of jumping.
void write_png(const std::string& path, const Tensor& pixels) {
  const Shape& s = pixels.shape();
  if (pixels.dtype() != DType::U8 || s.rank() != 3 || (s[0] != 1 && s[0] != 3) || s[1] < 1 || s[2] < 1 ||
      s[1] > 65535 || s[2] > 65535)
    throw ShapeError(cat("'", path,
                         "': a PNG file is written of u8[3, height, width] or u8[1, height, width], got ",
                         to_string(pixels.type())));
  const Tensor plain = pixels.contiguous();
  const std::int64_t channels = s[0], plane = s[1] * s[2];
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(channels * plane));
  for (std::int64_t p = 0; p < plane; ++p)
    for (std::int64_t c = 0; c < channels; ++c)
      rows[static_cast<std::size_t>(p * channels + c)] = plain.data<std::uint8_t>()[c * plane + p];
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(s[2]);
  image.height = static_cast<png_uint_32>(s[1]);
  image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  if (png_image_write_to_memory(&image, file.data(), &bytes, 0, rows.data(), 0, nullptr) == 0)
    throw Error(cat("'", path, "': libpng cannot write it: ", image.message));
  file.resize(bytes);
  write_file(path, file);
}

}  // namespace ingot
