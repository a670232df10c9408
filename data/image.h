// Images in files, and folders of them as a data set: JPEG and PNG.
//
// What is wrong with a file is a BadSample that names it, never a crash: a DataLoader throws it or leaves the
// sample out (LoaderOptions::bad_samples). Which parts of an image are read is decided before it is decoded,
// so that a random crop of a large JPEG costs little more than the crop.
//
//   Tensor cat = read_image("cat.jpg");                                      // u8[3, H, W]
//   auto train = image_folder("pets", Split::Train, {.size = 224});          // pets/train/<class>/*.jpg
//   DataLoader loader(train, {.batch_size = 64, .shuffle = true, .augment = {.random_resized_crop =
//   {{0.08, 1.0}}}});
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "data/dataset.h"

namespace ingot {

// More pixels than this are refused before anything is allocated for them: Pillow's limit.
inline constexpr std::int64_t kMostPixels = 89'478'485;

struct ImageInfo {
  std::string_view format;  // "JPEG", "PNG"
  std::string_view colour =
      "";  // "grey", "RGB", "CMYK", "palette"; with "alpha" behind it where there is transparency
  std::int64_t width = 0, height = 0;
  int bits = 8;  // of a channel
};

// From the header alone. Throws BadSample naming the file.
ImageInfo image_info(const std::string& path, std::int64_t most_pixels = kMostPixels);

// All pixels as u8[channels, height, width]; `channels` is 3 for RGB or 1 for grey, whatever the file holds.
// Throws BadSample naming the file.
Tensor read_image(const std::string& path, std::int64_t channels = 3, std::int64_t most_pixels = kMostPixels);

// u8[3, H, W] or u8[1, H, W] as a PNG file, by AtomicFile: the old file or all of the new one. Throws
// ShapeError for another tensor, Error when the bytes cannot reach the disk.
void write_png(const std::string& path, const Tensor& pixels);

// From a file to what a network takes when nothing is random: torchvision's Resize(resize), CenterCrop(size).
// Part of what weights mean, so checkpoints hold it.
struct ImagePreparation {
  std::int64_t size = 224;    // of the samples, both sides
  std::int64_t channels = 3;  // 3: RGB, 1: grey
  // The shorter side before the crop; 0: 8/7 of size from 128 on (256 for 224), else size.
  std::int64_t resize = 0;

  std::int64_t shorter_side() const { return resize > 0 ? resize : size >= 128 ? size * 8 / 7 : size; }
  // "size 224, channels 3, resize 256", and back; parse throws FormatError.
  std::string text() const;
  static ImagePreparation parse(std::string_view text);
  friend bool operator==(const ImagePreparation&, const ImagePreparation&) = default;
};

// The prepared image as u8[channels, size, size], channels-last in memory. Throws BadSample naming the file.
Tensor read_prepared_image(const std::string& path, const ImagePreparation& preparation,
                           std::int64_t most_pixels = kMostPixels);

struct ImageFolderOptions {
  ImagePreparation prepare{};
  // Where there is no folder for the other split: this share of each class, chosen by the files' names alone,
  // is for Split::Test. At least one image of each class stays on either side.
  double test_share = 0.2;
  std::int64_t most_pixels = kMostPixels;
  // Looks at every file's header when the folder is opened, and refuses all bad ones in one error.
  bool check_headers = true;
};

// Whether image_folder() would find images there.
bool is_image_folder(const std::string& dir);

// A folder per class, in `dir`/train and `dir`/val (or `dir`/test), or in `dir` itself, from which the test
// part is then split off. Classes are the folders' names in the order of the alphabet; images are the files
// *.jpg, *.jpeg,
// *.png (in capitals too) below them. Throws FormatError that says what was found.
std::unique_ptr<Dataset> image_folder(const std::string& dir, Split split,
                                      const ImageFolderOptions& options = {});

}  // namespace ingot
