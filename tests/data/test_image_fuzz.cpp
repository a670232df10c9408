// Damaged images never crash a decoder; the address sanitizer's build runs this too.
// tests/data/fuzz/fuzz_images.cpp goes on where this stops.

#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/data/image_entries.h"
#include "tests/support/image_files.h"
#include "tests/support/image_mutations.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

std::vector<std::string> whole_images() {
  std::vector<std::string> all;
  for (const bool progressive : {false, true})
    for (const bool full : {false, true}) all.push_back(jpeg(gradient(65, 43, 3), {80, progressive, full}));
  all.push_back(jpeg(gradient(50, 40, 1)));
  all.push_back(jpeg(gradient(50, 40, 4)));
  for (const int channels : {1, 2, 3, 4})
    for (const bool interlaced : {false, true})
      all.push_back(png(gradient(45, 30, channels), {channels == 2 ? 16 : 8, interlaced}));
  // Real ones, where they lie beside the source tree: their headers hold more.
  const std::filesystem::path real =
      std::filesystem::path(INGOT_SOURCE_DIR) / "../shared/data/bccd/JPEGImages";
  if (std::filesystem::exists(real))
    for (const auto& entry : std::filesystem::directory_iterator(real))
      if (entry.path().filename() == "BloodImage_00001.jpg") all.push_back(read_raw(entry.path().string()));
  return all;
}

TEST(ImageFuzz, DamagedImagesDecodeOrAreRefused) {
  const std::vector<std::string> images = whole_images();
  int decoded = 0, refused = 0;
  for (std::uint64_t seed = 0; seed < 30000; ++seed) {
    const std::string bytes = mutated(images[seed % images.size()], seed);
    SCOPED_TRACE(seed);
    (try_to_decode(std::as_bytes(std::span(bytes)), seed * 2654435761u) ? decoded : refused)++;
  }
  // Neither all nor nothing: the changes reach what is behind the headers.
  EXPECT_GT(decoded, 2000);
  EXPECT_GT(refused, 8000);
}

TEST(ImageFuzz, EveryPrefixIsRefusedOrDecodes) {
  for (const std::string& image : whole_images()) {
    EXPECT_TRUE(try_to_decode(std::as_bytes(std::span(image)), 2));
    const std::size_t step = 1 + image.size() / 60;
    for (std::size_t n = 0; n < image.size(); n += step)
      try_to_decode(std::as_bytes(std::span(image.data(), n)), n * 2654435761u);
  }
}

}  // namespace
}  // namespace ingot
