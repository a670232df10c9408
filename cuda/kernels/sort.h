// Order along an axis, all of it or its first elements: launches of the kernels in sort.cu.
//
// A tensor is seen as [outer, length, inner], the axis in the middle; results hold `keep` of its elements.
// The order is that of core/ops/sort.h: stable, NaN greatest, -0 equal to 0. Any numeric dtype. Memory does
// not overlap. The same result in every run, and no atomics.
//
//   const SortShape s{.outer = rows, .length = classes, .inner = 1, .keep = 5};
//   sort(DType::F32, logits, values, indices, s, true, workspace, stream);    // the five greatest
//
// The other functions are for sorting by a library: keys and places to sort together, and results from the
// sorted places. Element l of line (o, i) is at place (o * inner + i) * length + l.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct SortShape {
  std::int64_t outer = 1, length = 1, inner = 1, keep = 1;

  std::int64_t lines() const { return outer * inner; }
  std::int64_t elements() const { return lines() * length; }
};

// Up to here a line is sorted inside one block: x is read once and nothing but the results is written.
constexpr std::int64_t kSortedInBlock = 2048;

// Bytes of device memory, aligned to 16, that sort() uses while it runs; 0 for lines of up to kSortedInBlock.
std::size_t sort_workspace(DType dtype, const SortShape& shape);

// Throws UsageError for bool and for lines of 2^32 - 1 elements and more.
void sort(DType dtype, const void* x, void* values, std::int64_t* indices, const SortShape& shape,
          bool descending, void* workspace, const Stream& stream);

// Whether keys of this dtype leave the line no room beside them: then a stable sort by key is followed by one
// by line (sort_keys_by_line).
bool has_wide_keys(DType dtype);
// keys[p], places[p] = p for each place p: sorted by key, the places of narrow keys are sorted line by line.
// elements() is at most 2^31 - 1.
void make_sort_keys(DType dtype, const void* x, const SortShape& shape, bool descending,
                    unsigned long long* keys, unsigned* places, const Stream& stream);
// keys[j] = the line of places[j].
void sort_keys_by_line(const unsigned* places, const SortShape& shape, unsigned long long* keys,
                       const Stream& stream);
void take_sorted(DType dtype, const void* x, const unsigned* places, const SortShape& shape, void* values,
                 std::int64_t* indices, const Stream& stream);

}  // namespace ingot::cuda
