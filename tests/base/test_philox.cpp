// Philox against the known answers of its authors' library (Random123, kat_vectors: philox4x32, 10 rounds).
#include "core/base/philox.h"

#include <gtest/gtest.h>

#include <array>

namespace ingot {
namespace {

using Four = std::array<philox::Word, 4>;

Four draw(philox::Wide key, philox::Wide counter_lo, philox::Wide counter_hi) {
  const Philox4 p = philox4x32(key, counter_lo, counter_hi);
  return {p.v[0], p.v[1], p.v[2], p.v[3]};
}

TEST(Philox, KnownAnswers) {
  constexpr philox::Wide kOnes = ~philox::Wide{0};
  EXPECT_EQ(draw(0, 0, 0), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(draw(kOnes, kOnes, kOnes), (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(draw(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, BitsAreTheLanesOfItsBlocks) {
  const Philox rng(7, random_stream(3, 5));
  for (const philox::Wide i : {0ull, 3ull, 4ull, 1000001ull})
    EXPECT_EQ(rng.bits(i), draw(7, i / 4, (3ull << 20) + 5)[i % 4]);
}

}  // namespace
}  // namespace ingot
