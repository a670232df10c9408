#include "core/plan/reuse.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace ingot {

void ReuseDistances::split(std::uint64_t at) {
  auto after = pieces_.upper_bound(at);
  if (after == pieces_.begin()) return;
  const auto piece = std::prev(after);
  if (piece->first == at || piece->second.end <= at) return;
  pieces_.emplace_hint(after, at, piece->second);
  piece->second.end = at;
}

std::vector<Touched> ReuseDistances::step(std::span<const MemoryRange> ranges) {
  const std::int64_t now = steps_++;
  // The pieces of this step, with the time of their last touch; what is not there yet is made.
  struct Again {
    double bytes;
    std::int64_t last;
  };
  std::map<std::int64_t, double> again;  // bytes of this step by when they were touched last
  for (const MemoryRange& r : ranges) {
    if (r.begin >= r.end) continue;
    split(r.begin), split(r.end);
    std::uint64_t at = r.begin;
    for (auto p = pieces_.lower_bound(r.begin); at < r.end;) {
      if (p == pieces_.end() || p->first > at) {
        const std::uint64_t end = p == pieces_.end() ? r.end : std::min(r.end, p->first);
        p = pieces_.emplace_hint(p, at, Piece{end, -1});
      }
      Piece& piece = p->second;
      if (piece.last != now) again[piece.last] += static_cast<double>(piece.end - at);
      piece.last = now;
      at = piece.end;
      ++p;
    }
  }
  std::map<std::int64_t, double> others;  // bytes of everything else
  double total = 0.0;
  for (const auto& [begin, piece] : pieces_)
    if (piece.last != now) others[piece.last] += static_cast<double>(piece.end - begin);
  for (const auto& [last, bytes] : again) total += bytes;
  std::vector<Touched> found;
  for (const auto& [last, bytes] : again) {
    if (last < 0) {
      found.push_back({bytes, std::numeric_limits<double>::infinity()});
      continue;
    }
    // On average: half of what the same step touched beside it then and not now; all that was touched in
    // between; and half of what is touched beside it now that was last touched earlier.
    double distance = bytes;
    for (const auto& [then, size] : others)
      if (then >= last) distance += then == last ? 0.5 * size : size;
    for (const auto& [then, size] : again)
      if (then != last) distance += then > last ? size : 0.5 * size;
    found.push_back({bytes, distance});
  }
  return found;
}

}  // namespace ingot
