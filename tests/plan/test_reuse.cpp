// Reuse distances by hand, and against a cache of single bytes that is searched from its most recent end.
#include "core/plan/reuse.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace ingot {
namespace {

// Bytes and mean distance of a step.
struct Sum {
  double bytes = 0.0, distance = 0.0;
};
Sum sum_of(const std::vector<Touched>& all) {
  Sum s;
  for (const Touched& t : all) s.bytes += t.bytes, s.distance += t.bytes * t.distance;
  if (s.bytes > 0.0) s.distance /= s.bytes;
  return s;
}

TEST(ReuseDistances, AStepThatRepeatsSeesItsWorkingSet) {
  ReuseDistances reuse;
  const std::vector<MemoryRange> step = {{0, 100}, {100, 400}};
  EXPECT_TRUE(std::isinf(sum_of(reuse.step(step)).distance)) << "nothing has touched them";
  const Sum again = sum_of(reuse.step(step));
  EXPECT_EQ(again.bytes, 400.0);
  EXPECT_EQ(again.distance, 400.0);
}

TEST(ReuseDistances, WhatThePreviousStepWrote) {
  ReuseDistances reuse;
  reuse.step(std::vector<MemoryRange>{{1000, 2000}});
  reuse.step(std::vector<MemoryRange>{{0, 100}, {100, 200}});
  // Its own 100, half of the 100 that were read beside it, half of the 1000 that come beside it now.
  const auto found = reuse.step(std::vector<MemoryRange>{{100, 200}, {1000, 2000}});
  ASSERT_EQ(found.size(), 2u);
  const Touched& near = found[0].bytes == 100.0 ? found[0] : found[1];
  const Touched& far = found[0].bytes == 100.0 ? found[1] : found[0];
  EXPECT_EQ(near.distance, 100.0 + 50.0 + 500.0);
  EXPECT_EQ(far.bytes, 1000.0);
  EXPECT_EQ(far.distance, 1000.0 + 100.0 + 100.0) << "all that the step between touched";
}

TEST(ReuseDistances, PartsOfARangeAndRangesThatOverlap) {
  ReuseDistances reuse;
  reuse.step(std::vector<MemoryRange>{{0, 100}});
  reuse.step(std::vector<MemoryRange>{{40, 60}});
  const auto found = reuse.step(std::vector<MemoryRange>{{0, 100}, {50, 100}, {7, 7}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(sum_of(found).bytes, 100.0) << "each byte once";
  for (const Touched& t : found) EXPECT_EQ(t.bytes, t.bytes < 50.0 ? 20.0 : 80.0);
}

// Every byte on a list, the last touched first; steps pass through their ranges side by side.
class Bytes {
 public:
  Sum step(const std::vector<MemoryRange>& ranges) {
    std::uint64_t longest = 0;
    for (const MemoryRange& r : ranges) longest = std::max(longest, r.end - r.begin);
    Sum s;
    for (std::uint64_t i = 0; i < longest; ++i)
      for (const MemoryRange& r : ranges) {  // each at its own speed: all end together
        const std::uint64_t length = r.end - r.begin;
        for (std::uint64_t at = r.begin + i * length / longest; at < r.begin + (i + 1) * length / longest;
             ++at) {
          const auto found = std::find(recent_.begin(), recent_.end(), at);
          s.bytes += 1.0, s.distance += static_cast<double>(found - recent_.begin()) + 1.0;
          if (found != recent_.end()) recent_.erase(found);
          recent_.insert(recent_.begin(), at);
        }
      }
    s.distance /= s.bytes;
    return s;
  }

 private:
  std::vector<std::uint64_t> recent_;
};

TEST(ReuseDistances, LikeAListOfEveryByte) {
  std::mt19937 rng(7);
  ReuseDistances reuse;
  Bytes bytes;
  constexpr std::uint64_t kRanges = 12, kBytes = 60;  // of each; used whole, or by halves
  double ours = 0.0, theirs = 0.0;
  for (int step = 0; step < 300; ++step) {
    std::vector<MemoryRange> ranges;
    for (std::uint64_t r = 0; r < kRanges; ++r)
      if (step == 0 || rng() % 5 == 0)
        ranges.push_back({r * kBytes, r * kBytes + (step == 0 || rng() % 2 == 0 ? kBytes : kBytes / 2)});
    if (ranges.empty()) continue;
    const Sum found = sum_of(reuse.step(ranges)), expected = bytes.step(ranges);
    EXPECT_EQ(found.bytes, expected.bytes);
    if (step == 0) continue;
    EXPECT_NEAR(found.distance, expected.distance, 0.2 * expected.distance + 15.0) << step;
    ours += found.distance, theirs += expected.distance;
  }
  EXPECT_NEAR(ours / theirs, 1.0, 0.05);
}

}  // namespace
}  // namespace ingot
