// Damaged images for the decoders: an image file, changed as a careless disk or a careful attacker would,
// reproducibly.
//
//   const std::string bad = mutated(jpeg(gradient(40, 30, 3)), seed);
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>

namespace ingot {

// Makes every chunk's checksum right again, so that a decoder goes on into what was changed.
inline void repair_png(std::string& bytes) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i]));
  };
  for (std::size_t at = 8; at + 12 <= bytes.size();) {
    const std::size_t length = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    if (length > bytes.size() - at - 12) return;
    const auto* const chunk = reinterpret_cast<const Bytef*>(bytes.data() + at + 4);
    const uLong sum = crc32(0, chunk, static_cast<uInt>(length + 4));
    for (std::size_t k = 0; k < 4; ++k) bytes[at + 8 + length + k] = static_cast<char>(sum >> (24 - 8 * k));
    at += length + 12;
  }
}

// One to eight changes: bytes and bits set, parts removed, repeated, moved or zeroed, the end cut off.
inline std::string mutated(std::string bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random() % n); };
  const std::size_t changes = 1 + below(8);
  for (std::size_t i = 0; i < changes && !bytes.empty(); ++i) {
    // Headers are short and decide most: half of the changes go there.
    const std::size_t at = below(below(2) == 0 ? std::min<std::size_t>(bytes.size(), 700) : bytes.size());
    const std::size_t length = std::min(bytes.size() - at, 1 + below(40));
    switch (below(8)) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes[at] = static_cast<char>(0xff);
        break;
      case 3:
        bytes[at] = 0;
        break;
      case 4:
        bytes.erase(at, length);
        break;
      case 5:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 6:
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, '\0');
        break;
      default:
        if (below(4) == 0) bytes.resize(at);
    }
  }
  if (bytes.size() > 8 && bytes.starts_with("\x89PNG") && below(4) != 0) repair_png(bytes);
  return bytes;
}

}  // namespace ingot
