// How reductions along an axis divide it where its results are too few to keep a GPU busy.
//
//   const std::int64_t parts = reduce_parts(shape);      // 1: in one go
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kernels/reduce.h"

namespace ingot::cuda {

// Blocks of 256 threads: a row takes one, or an eighth of one when it is short; 32 columns take one.
inline std::int64_t reduce_parts(const ReduceShape& s) {
  constexpr std::int64_t kEnough = 512;  // blocks that fill any GPU of today
  constexpr std::int64_t kRowsOfABlock = 8, kColumns = 32;
  constexpr std::int64_t kShortestColumn = 64, kShortestRow = 4096;  // elements of a part, at least
  if (s.inner == 1 && s.outer >= kEnough / kRowsOfABlock) return 1;
  const std::int64_t blocks = s.inner == 1 ? s.outer : s.outer * ((s.inner + kColumns - 1) / kColumns);
  const std::int64_t shortest = s.inner == 1 ? kShortestRow : kShortestColumn;
  if (blocks == 0 || blocks >= kEnough) return 1;
  return std::clamp<std::int64_t>(s.length / shortest, 1, (kEnough + blocks - 1) / blocks);
}

}  // namespace ingot::cuda
