// Decoding: the pixels of every kind of JPEG and PNG, parts of images, and files that are wrong.

#include "data/image.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/base/error.h"
#include "data/detail/image_source.h"
#include "gtest/gtest.h"
#include "tests/support/image_files.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

std::uint8_t at(const Tensor& t, std::int64_t c, std::int64_t y, std::int64_t x) {
  const Shape& s = t.shape();
  return t.data<std::uint8_t>()[(c * s[1] + y) * s[2] + x];
}

// The largest difference of the tensor's [C, H, W] to the pixels, of which the first three channels count.
int largest_difference(const Tensor& t, const RawImage& expected) {
  int worst = 0;
  for (std::int64_t c = 0; c < t.shape()[0]; ++c)
    for (std::int64_t y = 0; y < t.shape()[1]; ++y)
      for (std::int64_t x = 0; x < t.shape()[2]; ++x) {
        const std::int64_t from = std::min<std::int64_t>(c, expected.channels - 1);
        const auto k = static_cast<std::size_t>((y * expected.width + x) * expected.channels + from);
        worst = std::max(worst, std::abs(at(t, c, y, x) - expected.pixels[k]));
      }
  return worst;
}

TEST(Image, PngKeepsEveryBit) {
  const TempDir dir;
  const RawImage rgb = gradient(19, 13, 3), grey = gradient(19, 13, 1);
  for (const bool interlaced : {false, true})
    for (const int bits : {8, 16}) {
      write_raw(dir / "rgb.png", png(rgb, {bits, interlaced}));
      write_raw(dir / "grey.png", png(grey, {bits, interlaced}));
      const Tensor a = read_image(dir / "rgb.png"), b = read_image(dir / "grey.png", 1),
                   c = read_image(dir / "grey.png");
      EXPECT_EQ(a.shape(), Shape({3, 13, 19}));
      EXPECT_EQ(largest_difference(a, rgb), 0) << bits << " bits";
      EXPECT_EQ(largest_difference(b, grey), 0) << bits << " bits";
      EXPECT_EQ(largest_difference(c, grey), 0) << "grey as RGB";
      EXPECT_EQ(image_info(dir / "rgb.png").bits, bits);
    }
}

TEST(Image, TransparencyIsLeftOut) {
  const TempDir dir;
  write_raw(dir / "rgba.png", png(gradient(9, 7, 4)));
  write_raw(dir / "ga.png", png(gradient(9, 7, 2)));
  EXPECT_EQ(image_info(dir / "rgba.png").colour, "RGB alpha");
  EXPECT_EQ(image_info(dir / "ga.png").colour, "grey alpha");
  EXPECT_EQ(largest_difference(read_image(dir / "rgba.png"), gradient(9, 7, 4)), 0);
  EXPECT_EQ(largest_difference(read_image(dir / "ga.png", 1), gradient(9, 7, 1)), 0);
}

TEST(Image, ColourBecomesTheGreyOfBt601) {
  const TempDir dir;
  write_raw(dir / "c.png", png({2, 1, 3, {255, 0, 0, 10, 200, 30}}));
  const Tensor grey = read_image(dir / "c.png", 1);
  EXPECT_EQ(at(grey, 0, 0, 0), 76);  // Pillow's convert("L")
  EXPECT_EQ(at(grey, 0, 0, 1), 124);
}

TEST(Image, JpegOfEveryKindIsCloseToItsPixels) {
  const TempDir dir;
  for (const bool progressive : {false, true})
    for (const bool full : {false, true}) {
      const RawImage rgb = gradient(61, 45, 3), grey = gradient(61, 45, 1);
      write_raw(dir / "a.jpg", jpeg(rgb, {98, progressive, full}));
      write_raw(dir / "g.jpg", jpeg(grey, {98, progressive, false}));
      EXPECT_LE(largest_difference(read_image(dir / "a.jpg"), rgb), 8);
      EXPECT_LE(largest_difference(read_image(dir / "g.jpg", 1), grey), 4);
      EXPECT_LE(largest_difference(read_image(dir / "g.jpg", 3), grey), 4);
    }
  EXPECT_EQ(image_info(dir / "a.jpg").colour, "RGB");
  EXPECT_EQ(image_info(dir / "a.jpg").width, 61);
}

TEST(Image, CmykBecomesRgbAsInPillow) {
  const TempDir dir;
  RawImage image{8, 8, 4, {}};
  // Written with Adobe's marker, whose inks are inverted: cyan 55, magenta 155, yellow 205, black 15.
  for (int i = 0; i < 64; ++i)
    for (const int v : {200, 100, 50, 240}) image.pixels.push_back(static_cast<std::uint8_t>(v));
  write_raw(dir / "c.jpg", jpeg(image, {100, false, true}));
  EXPECT_EQ(image_info(dir / "c.jpg").colour, "CMYK");
  const Tensor rgb = read_image(dir / "c.jpg");
  EXPECT_NEAR(at(rgb, 0, 3, 3), 200 * 240 / 255, 2);
  EXPECT_NEAR(at(rgb, 1, 3, 3), 100 * 240 / 255, 2);
  EXPECT_NEAR(at(rgb, 2, 3, 3), 50 * 240 / 255, 2);
}

// Of each box the decoded window holds the box's pixels at the place it says, whatever the scaling.
TEST(Image, PartsOfAJpegLieWhereTheWindowSays) {
  for (const bool progressive : {false, true})
    for (const bool full : {false, true}) {
      const RawImage image = gradient(203, 157, 3);
      const std::string bytes = jpeg(image, {98, progressive, full});
      const auto span = std::as_bytes(std::span(bytes));
      for (const detail::Box box :
           {detail::Box{0, 0, 203, 157}, {60, 20, 100, 90}, {1, 1, 1, 1}, {195, 150, 8, 7}, {33, 0, 170, 40}})
        for (const std::int64_t least : {1, 20, 60, 203}) {
          const auto source = detail::open_image(span, "part", kMostPixels);
          detail::Pixels p;
          source->decode(box, least, least, 3, p);
          EXPECT_LE(static_cast<double>(p.left), box.left * p.scale);
          EXPECT_GE(static_cast<double>(p.left + p.width) + 1e-9, (box.left + box.width) * p.scale);
          EXPECT_LE(static_cast<double>(p.top), box.top * p.scale);
          EXPECT_GE(static_cast<double>(p.top + p.height) + 1e-9, (box.top + box.height) * p.scale);
          if (p.scale < 1.0) {
            EXPECT_GE(box.width * p.scale, static_cast<double>(least));
            EXPECT_GE(box.height * p.scale, static_cast<double>(least));
          }
          ASSERT_EQ(std::ssize(p.bytes), p.width * p.height * 3);
          for (std::int64_t y = 0; y < p.height; ++y)
            for (std::int64_t x = 0; x < p.width; ++x) {
              const double image_x = (static_cast<double>(x + p.left) + 0.5) / p.scale - 0.5;
              const double image_y = (static_cast<double>(y + p.top) + 0.5) / p.scale - 0.5;
              const double red = std::clamp(image_x, 0.0, 202.0) * 255 / 202,
                           green = std::clamp(image_y, 0.0, 156.0) * 255 / 156;
              const std::uint8_t* const pixel = p.bytes.data() + (y * p.width + x) * 3;
              ASSERT_NEAR(pixel[0], red, 12.0) << x << ", " << y << " at scale " << p.scale;
              ASSERT_NEAR(pixel[1], green, 12.0) << x << ", " << y << " at scale " << p.scale;
            }
        }
    }
}

// A box that is as large as the result is copied, and an average is one.
TEST(Image, ResamplingCopiesAndAverages) {
  detail::Pixels in;
  in.width = 8;
  in.height = 4;
  in.channels = 3;
  for (int i = 0; i < 8 * 4 * 3; ++i) in.bytes.push_back(static_cast<std::uint8_t>(i * 7 % 256));
  std::vector<std::uint8_t> out(4 * 2 * 3);
  detail::resample(in, {3, 1, 4, 2}, 4, 2, out.data());
  for (std::size_t y = 0; y < 2; ++y)
    for (std::size_t k = 0; k < 12; ++k) EXPECT_EQ(out[y * 12 + k], in.bytes[(y + 1) * 24 + 9 + k]);

  // Pillow: Image.fromarray(a).resize((2, 1), BILINEAR, box=(0, 0, 8, 4)) for the row 0, 36, ..., 252 in
  // every row.
  detail::Pixels grey;
  grey.width = 8;
  grey.height = 4;
  grey.channels = 1;
  for (int i = 0; i < 32; ++i) grey.bytes.push_back(static_cast<std::uint8_t>(i % 8 * 36));
  std::vector<std::uint8_t> two(2);
  detail::resample(grey, {0, 0, 8, 4}, 2, 1, two.data());
  EXPECT_EQ(two[0], 68);
  EXPECT_EQ(two[1], 184);
}

TEST(Image, PreparationTakesTheMiddle) {
  const TempDir dir;
  write_raw(dir / "a.png", png(gradient(100, 60, 3)));
  const ImagePreparation same{.size = 60, .channels = 3, .resize = 60};
  const Tensor x = read_prepared_image(dir / "a.png", same).contiguous();
  ASSERT_EQ(x.shape(), Shape({3, 60, 60}));
  const RawImage whole = gradient(100, 60, 3);
  for (std::int64_t y = 0; y < 60; ++y)
    EXPECT_EQ(at(x, 0, y, 0), whole.pixels[static_cast<std::size_t>((y * 100 + 20) * 3)]);
  EXPECT_EQ(ImagePreparation::parse(ImagePreparation{.size = 224}.text()).shorter_side(), 256);
  EXPECT_TRUE(
      says(message_of<FormatError>([] { ImagePreparation::parse("size 12, channels x"); }), "channels"));
}

// Every way in which a file is wrong names the file.
TEST(Image, BadFilesAreNamed) {
  const TempDir dir;
  const std::string good = jpeg(gradient(64, 64, 3)), other = png(gradient(64, 64, 3));
  const auto refused = [&](const char* name, std::string_view bytes, const char* what) {
    write_raw(dir / name, bytes);
    const std::string message = message_of<BadSample>([&] { read_image(dir / name); });
    EXPECT_TRUE(says(message, dir / name)) << message;
    EXPECT_TRUE(says(message, what)) << message;
  };
  refused("empty.jpg", "", "is empty");
  refused("text.jpg", "not an image", "neither JPEG nor PNG");
  refused("gif.png", "GIF89a", "neither JPEG nor PNG");
  refused("cut.jpg", std::string_view(good).substr(0, good.size() * 2 / 3), "Premature end");
  refused("header.jpg", std::string_view(good).substr(0, 30), "cannot be decoded as JPEG");
  refused("cut.png", std::string_view(other).substr(0, other.size() * 2 / 3), "cut short");
  std::string flipped = other;
  flipped[other.size() / 2] = static_cast<char>(flipped[other.size() / 2] ^ 0x10);
  refused("bits.png", flipped, "cannot be decoded as PNG");
  // 60,000 x 60,000 pixels announced, none there.
  std::string huge = good;
  const std::size_t frame = huge.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (const std::size_t k : {5u, 7u}) {
    huge[frame + k] = static_cast<char>(0xea);
    huge[frame + k + 1] = 0x60;
  }
  refused("huge.jpg", huge, "60000 x 60000");
}

TEST(Image, BytesBehindAJpegDoNoHarm) {
  const TempDir dir;
  write_raw(dir / "a.jpg", jpeg(gradient(32, 32, 3)) + "and a few more");
  EXPECT_LE(largest_difference(read_image(dir / "a.jpg"), gradient(32, 32, 3)), 12);
}

}  // namespace
}  // namespace ingot
