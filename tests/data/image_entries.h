// Everything that reads an image's bytes, on bytes that may be anything: they decode to what the header says,
// or throw BadSample. Shared by the seeded test and the libFuzzer program.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "data/detail/image_source.h"

namespace ingot {

// Small, so that bytes which announce much and hold little cost nothing.
inline constexpr std::int64_t kFuzzPixels = 1 << 20;

// Whether all was decoded. `seed` says which part and how.
inline bool try_to_decode(std::span<const std::byte> bytes, std::uint64_t seed) {
  const auto require = [](bool holds) {
    if (!holds) std::abort();
  };
  try {
    const auto source = detail::open_image(bytes, "fuzz", kFuzzPixels);
    const ImageInfo info = source->info;
    require(info.width > 0 && info.height > 0 && info.width * info.height <= kFuzzPixels);
    const std::int64_t channels = seed % 3 == 0 ? 1 : 3, side = 1 + static_cast<std::int64_t>(seed / 3 % 64);
    detail::Pixels pixels;
    if (seed % 2 == 0) {
      std::vector<std::uint8_t> out(static_cast<std::size_t>(side * side * channels));
      detail::prepare_image(*source, {side, channels, side + static_cast<std::int64_t>(seed / 7 % 9)}, pixels,
                            out.data());
      return true;
    }
    const auto part = [&](std::int64_t size, std::uint64_t a, std::uint64_t b, double& from, double& length) {
      const std::int64_t first = static_cast<std::int64_t>(a % static_cast<std::uint64_t>(size));
      from = static_cast<double>(first);
      length = 1.0 + static_cast<double>(b % static_cast<std::uint64_t>(size - first));
    };
    detail::Box box;
    part(info.width, seed / 11, seed / 13, box.left, box.width);
    part(info.height, seed / 17, seed / 19, box.top, box.height);
    source->decode(box, side, side, channels, pixels);
    require(pixels.width > 0 && pixels.height > 0);
    require(std::ssize(pixels.bytes) >= pixels.width * pixels.height * channels);
    std::vector<std::uint8_t> out(static_cast<std::size_t>(side * side * channels));
    detail::resample(pixels, box, side, side, out.data());
    return true;
  } catch (const BadSample&) {
    return false;
  }
}

}  // namespace ingot
