// Pieces: many tensors as one row of elements, cut into equal parts for threads.
//
//   const Pieces pieces(sizes, parts);                     // sizes: elements of each tensor
//   parallel_parts(parts, [&](int part) {
//     for (const Piece& p : pieces.of(part)) f(tensors[p.tensor] + p.begin, p.n);
//   });
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "cpu/parallel.h"

namespace ingot::cpu {

// Part of one tensor.
struct Piece {
  std::int64_t tensor, begin, n;
};

class Pieces {
 public:
  Pieces(const std::vector<std::int64_t>& sizes, int parts) {
    std::int64_t total = 0;
    for (const std::int64_t n : sizes) total += n;
    std::int64_t before = 0;
    std::size_t tensor = 0;
    std::int64_t used = 0;
    for (int part = 0; part < parts; ++part) {
      first_.push_back(pieces_.size());
      const std::int64_t end = part_of(total, part, parts, 16).end;
      while (before < end) {
        while (used == sizes[tensor]) ++tensor, used = 0;
        const std::int64_t n = std::min(sizes[tensor] - used, end - before);
        pieces_.push_back({static_cast<std::int64_t>(tensor), used, n});
        used += n;
        before += n;
      }
    }
    first_.push_back(pieces_.size());
  }

  std::span<const Piece> of(int part) const {
    const auto at = static_cast<std::size_t>(part);
    return std::span(pieces_).subspan(first_[at], first_[at + 1] - first_[at]);
  }

 private:
  std::vector<Piece> pieces_;
  std::vector<std::size_t> first_;  // of each part, and the end
};

}  // namespace ingot::cpu
