// How much else was touched since a range of memory was touched last: what tells whether a cache still has it
// (LRU stack distance: Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems Journal
// 9(2), 1970). Steps are taken to pass through all of their ranges side by side, once.
//
//   ReuseDistances reuse;
//   const std::vector<MemoryRange> step = {{0, 4096}, {4096, 8192}};  // reads one, writes the other
//   reuse.step(step);
//   reuse.step(step)[0];  // 8192 bytes, each after 8192: all that the step touches
//
// A program that repeats: let one run pass, and take the distances of the second.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace ingot {

struct MemoryRange {
  std::uint64_t begin = 0, end = 0;
};

// Bytes that were touched last at the same time, and how many different ones (their own among them) are
// touched from one touch to the next, on average over them.
struct Touched {
  double bytes = 0.0;
  double distance = 0.0;
};

class ReuseDistances {
 public:
  // The next step, which touches these ranges; where some overlap, each byte counts once. Bytes that nothing
  // has touched yet are infinitely far. The result is in no particular order.
  std::vector<Touched> step(std::span<const MemoryRange> ranges);

 private:
  struct Piece {
    std::uint64_t end = 0;
    std::int64_t last = -1;  // the step that touched it last
  };
  void split(std::uint64_t at);

  std::map<std::uint64_t, Piece> pieces_;  // by where they begin; they do not overlap
  std::int64_t steps_ = 0;
};

}  // namespace ingot
