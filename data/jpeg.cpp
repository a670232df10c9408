// JPEG by libjpeg-turbo, which reports errors by a jump: between setjmp and the last call of the library a
// function here makes no object that has a destructor.

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

// These want size_t and FILE.
#include <jpeglib.h>

#include <jerror.h>

#include "core/base/error.h"
#include "data/detail/image_source.h"

namespace ingot::detail {

namespace {

// A progressive file of a few bytes may hold any number of scans, each over the whole image.
constexpr int kMostScans = 200;

struct Failure {
  jpeg_error_mgr base;  // first, so that the library's pointer is ours
  std::jmp_buf back;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* const failure = reinterpret_cast<Failure*>(info->err);
  info->err->format_message(info, failure->text);
  std::longjmp(failure->back, 1);
}

// Warnings after which pixels are missing or guessed are errors; bytes between markers and odd headers harm
// nothing.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
      return;
    default:
      on_error(info);
  }
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto* const failure = reinterpret_cast<Failure*>(info->err);
  std::snprintf(failure->text, sizeof failure->text, "expected at most %d scans, it has more", kMostScans);
  std::longjmp(failure->back, 1);
}

class JpegSource final : public ImageSource {
 public:
  JpegSource(std::span<const std::byte> bytes, const std::string& name) : name_(name) {
    std::memset(&jpeg_, 0, sizeof jpeg_);
    std::memset(&progress_, 0, sizeof progress_);
    jpeg_.err = jpeg_std_error(&failure_.base);
    failure_.base.error_exit = on_error;
    failure_.base.emit_message = on_message;
    failure_.text[0] = '\0';
    if (setjmp(failure_.back) == 0) {
      jpeg_create_decompress(&jpeg_);
      progress_.progress_monitor = on_progress;
      jpeg_.progress = &progress_;
      jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
      jpeg_read_header(&jpeg_, TRUE);
    } else {
      jpeg_destroy_decompress(&jpeg_);
      fail();
    }
    info.format = "JPEG";
    info.width = jpeg_.image_width;
    info.height = jpeg_.image_height;
    info.bits = jpeg_.data_precision;
    switch (jpeg_.jpeg_color_space) {
      case JCS_GRAYSCALE:
        info.colour = "grey";
        break;
      case JCS_CMYK:
      case JCS_YCCK:
        info.colour = "CMYK";
        break;
      default:
        info.colour = "RGB";
    }
  }
  ~JpegSource() override { jpeg_destroy_decompress(&jpeg_); }
  JpegSource(const JpegSource&) = delete;
  JpegSource& operator=(const JpegSource&) = delete;

  void decode(const Box& box, std::int64_t least_width, std::int64_t least_height, std::int64_t channels,
              Pixels& out) override {
    const bool cmyk = info.colour == "CMYK";
    jpeg_.out_color_space = cmyk ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    unsigned eighths = 8;
    while (eighths > 1 && box.width * eighths / 16 >= static_cast<double>(least_width) &&
           box.height * eighths / 16 >= static_cast<double>(least_height))
      eighths /= 2;
    jpeg_.scale_num = eighths;
    jpeg_.scale_denom = 8;
    out.scale = eighths / 8.0;
    out.channels = channels;
    begin();
    const Window window = window_of(box, out.scale, jpeg_.output_width, jpeg_.output_height);
    crop(window);
    const std::int64_t stored = cmyk ? 4 : channels;
    out.left = left_;
    out.top = window.top;
    out.width = jpeg_.output_width;
    out.height = window.height;
    const std::int64_t row = out.width * stored;
    out.bytes.resize(static_cast<std::size_t>(row * out.height));
    read_rows(window.top, out.bytes.data(), row, out.height);
    if (cmyk) from_cmyk(out);
  }

 private:
  [[noreturn]] void fail() const {
    throw BadSample(cat("'", name_, "' cannot be decoded as JPEG: ", failure_.text));
  }

  void begin() {
    if (setjmp(failure_.back) != 0) fail();
    jpeg_start_decompress(&jpeg_);
  }
  void crop(const Window& window) {
    if (setjmp(failure_.back) != 0) fail();
    left_ = static_cast<JDIMENSION>(window.left);
    JDIMENSION width = static_cast<JDIMENSION>(window.width);
    if (width < jpeg_.output_width) jpeg_crop_scanline(&jpeg_, &left_, &width);
  }
  void read_rows(std::int64_t skip, std::uint8_t* at, std::int64_t row, std::int64_t rows) {
    if (setjmp(failure_.back) != 0) fail();
    if (skip > 0) jpeg_skip_scanlines(&jpeg_, static_cast<JDIMENSION>(skip));
    constexpr std::int64_t kAtOnce = 16;
    JSAMPROW lines[kAtOnce];
    for (std::int64_t done = 0; done < rows;) {
      const std::int64_t n = std::min(kAtOnce, rows - done);
      for (std::int64_t i = 0; i < n; ++i) lines[i] = at + (done + i) * row;
      done += jpeg_read_scanlines(&jpeg_, lines, static_cast<JDIMENSION>(n));
    }
    // A file that ends here is whole or not; one whose last rows are left out need not be.
    if (jpeg_.output_scanline == jpeg_.output_height) jpeg_finish_decompress(&jpeg_);
  }

  // Adobe's files hold inverted CMYK, and so say all others: what is left of white after the inks.
  void from_cmyk(Pixels& out) const {
    const std::uint8_t* in = out.bytes.data();
    const std::int64_t count = out.width * out.height;
    std::uint8_t* to = out.bytes.data();
    const bool inverted = jpeg_.saw_Adobe_marker;
    for (std::int64_t i = 0; i < count; ++i, in += 4) {
      std::uint8_t rgb[3];
      for (int c = 0; c < 3; ++c) {
        const unsigned ink = inverted ? in[c] : 255u - in[c], black = inverted ? in[3] : 255u - in[3];
        const unsigned product = ink * black + 128;
        rgb[c] = static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
      }
      std::memcpy(to, rgb, 3);
      to += 3;
    }
    if (out.channels == 1) to_grey(out.bytes.data(), count);
  }

  std::string name_;
  jpeg_decompress_struct jpeg_;
  jpeg_progress_mgr progress_;
  Failure failure_;
  JDIMENSION left_ = 0;
};

}  // namespace

std::unique_ptr<ImageSource> open_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  return std::make_unique<JpegSource>(bytes, name);
}

}  // namespace ingot::detail
