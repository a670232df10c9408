// The image decoders under libFuzzer and the sanitizers: it goes on where tests/data/test_image_fuzz.cpp
// stops.
//
//   cmake --build build/release --target fuzz_images
//   build/release/bin/fuzz_images -max_total_time=600 -max_len=20000 CORPUS_FOLDER

#include "tests/data/image_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  // The last eight bytes say which part is decoded and how.
  std::uint64_t seed = 0;
  for (std::size_t i = 1; i <= 8; ++i) seed = seed << 8 | data[size - i];
  ingot::try_to_decode(std::as_bytes(std::span(data, size - 8)), seed);
  return 0;
}
