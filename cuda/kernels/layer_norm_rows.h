// What the layer-norm kernels share: who works on a row. For .cu files.
//
// A row belongs to a group of threads, a warp or a block, whose thread t holds the elements
// (chunk * group + t) * V + k of it. Chunks beyond the row's end are skipped.
#pragma once

#include "cuda/base/kernel.h"
#include "cuda/kernels/block_reduce.h"
#include "cuda/kernels/layer_norm.h"

namespace ingot::cuda::layer_norm_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kLongThreads = 1024;  // of a block that reads its row twice: few rows, so much of each at once
constexpr std::int64_t kMostCells = std::int64_t{1} << 30;

// Chunks that hold `each` elements per thread.
template <int V>
constexpr int chunks_for(int each) {
  return each / V > 0 ? each / V : 1;
}

inline void check_cells(const char* what, const LayerNormShape& s) {
  if (s.cells > kMostCells)
    throw ShapeError(cat(what, " on a GPU takes rows of up to ", kMostCells, " elements, got ", s.cells));
}

// The sum over the group of the running thread. Back-to-back calls share the block's slots.
template <int Group>
__device__ inline SumPair group_sum(SumPair value) {
  if constexpr (Group == kWarpSize) {
    return {warp_sum(value.a), warp_sum(value.b)};
  } else {
    GPU_SHARED(slots, SumPair, [Group / kWarpSize + 1]);
    return block_sum<Group>(value, &slots[0]);
  }
}

}  // namespace ingot::cuda::layer_norm_kernels
