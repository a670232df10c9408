// Parts of a larger whole: a tensor among a constant (pad, the gradient of a slice), and several tensors side
// by side (concat). Launches of the kernels in place.cu.
//
// Elements have 1, 2, 4 or 8 bytes, whatever they mean; results lie in one piece. Every byte of a result is
// written once, by one launch (concat: one for each 24 operands). Pointers are aligned to their element and
// do not overlap; 16 bytes move at a time where shapes and pointers allow it.
//
//   // [2, 3] in the middle of zeros [4, 7]
//   place(plan_place({{4, 1, 1, 2, 3}, {7, 2, 1, 3, 1}}, sizeof(float)), x, 0, y, stream);
//   concat(operands, std::array{3 * 64L, 5 * 64L}, outer, sizeof(float), y, stream);   // [outer, 3 + 5, 64]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cuda/base/stream.h"

namespace ingot::cuda {

// One axis of the result, outermost first: positions begin, begin + step, ... (count of them, step not 0)
// hold the operand's elements 0, 1, ..., which lie `from` elements apart; the others hold the constant.
struct PlaceAxis {
  std::int64_t size = 1, begin = 0, step = 1, count = 1, from = 0;
};

struct Placement {
  static constexpr int kMaxAxes = 8;
  std::vector<PlaceAxis> axes;  // joined, steps positive, never empty
  std::size_t element = 1;      // bytes
  std::int64_t from_base = 0;   // of the operand's element at the least positions
};

// Throws UsageError for an element of another size, positions outside an axis, and more than 8 axes.
Placement plan_place(std::vector<PlaceAxis> axes, std::size_t element);

// `value`: the constant's bits, in the lowest bytes.
void place(const Placement& placement, const void* from, std::uint64_t value, void* to, const Stream& stream);

// The result is [outer, runs[0] + runs[1] + ...] elements, operand k, at from[k], is [outer, runs[k]].
void concat(const void* const* from, std::span<const std::int64_t> runs, std::int64_t outer,
            std::size_t element, void* to, const Stream& stream);

}  // namespace ingot::cuda
