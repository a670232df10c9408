// Many tensors in one launch: a table of them goes to the kernel as its argument, and each block finds the
// tensor it works on. For .cu files.
//
// A tensor takes `blocks` blocks of the grid, one behind the other in the order of the table; at least one
// element a block. The table is a kernel argument (__grid_constant__), so it is copied at the call, can be
// captured, and costs no device memory; all arguments of a kernel have 4 KiB. What does not fit goes into
// further launches.
//
//   __global__ void fill_kernel(const __grid_constant__ TensorTable<Entry, 40> table) {
//     const Entry& tensor = table.mine();
//     const long long begin = table.block_of(tensor) * kChunk;
//
//   Batcher<Entry, 40> batch(kChunk, [&](const auto& table, unsigned blocks) { launch(fill_kernel, ...); });
//   for (...) batch.add({x, count});
//   batch.finish();
#pragma once

#include <utility>

#include "core/base/dtype.h"
#include "cuda/kernels/convert.h"

namespace ingot::gpu {

// What a table's entries have in common: `count` elements that begin at block `first`.
struct TensorEntry {
  long long count = 0;
  unsigned first = 0;
};

template <class Entry, int kCapacity>
struct TensorTable {
  Entry at[kCapacity];
  int size = 0;

  // The last entry that does not begin after this block.
  __device__ const Entry& mine() const {
    int low = 0, high = size - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (at[middle].first <= blockIdx.x)
        low = middle;
      else
        high = middle - 1;
    }
    return at[low];
  }
  __device__ static long long block_of(const Entry& entry) {
    return static_cast<long long>(blockIdx.x - entry.first);
  }
};

// Fills tables and calls issue(table, blocks) for each that is full, and at finish() for the rest. Tensors
// without elements are left out.
template <class Entry, int kCapacity, class Issue>
class Batcher {
 public:
  Batcher(long long elements_per_block, Issue issue) : chunk_(elements_per_block), issue_(std::move(issue)) {}

  void add(Entry entry) {
    if (entry.count <= 0) return;
    const long long blocks = (entry.count + chunk_ - 1) / chunk_;
    constexpr long long kMostBlocks = 0x7fffffff;  // of a grid
    if (table_.size == kCapacity || blocks_ + blocks > kMostBlocks) finish();
    entry.first = static_cast<unsigned>(blocks_);
    table_.at[table_.size++] = entry;
    blocks_ += blocks;
  }
  void finish() {
    if (table_.size > 0) issue_(table_, static_cast<unsigned>(blocks_));
    table_.size = 0;
    blocks_ = 0;
  }

 private:
  long long chunk_;
  Issue issue_;
  TensorTable<Entry, kCapacity> table_{};
  long long blocks_ = 0;
};

template <class Entry, int kCapacity, class Issue>
Batcher<Entry, kCapacity, Issue> make_batcher(long long elements_per_block, Issue issue) {
  return {elements_per_block, std::move(issue)};
}

// One element of a tensor whose dtype is known at run time: f32, f16 or bf16.
__device__ inline float load_any(DType dtype, const void* from, long long at) {
  if (dtype == DType::F32) return static_cast<const float*>(from)[at];
  if (dtype == DType::F16) return widen(static_cast<const __half*>(from)[at]);
  return widen(static_cast<const __nv_bfloat16*>(from)[at]);
}

// Eight elements in a row, by accesses of 16 bytes.
template <class T>
__device__ inline void load8(const T* from, float (&to)[8]) {
  constexpr int kSize = Vec16<T>::kSize;
#pragma unroll
  for (int i = 0; i < 8; i += kSize) {
    const Vec16<T> raw = load16(from + i);
#pragma unroll
    for (int k = 0; k < kSize; ++k) to[i + k] = widen(raw.at[k]);
  }
}
__device__ inline void load8_any(DType dtype, const void* from, long long at, float (&to)[8]) {
  if (dtype == DType::F32)
    load8(static_cast<const float*>(from) + at, to);
  else if (dtype == DType::F16)
    load8(static_cast<const __half*>(from) + at, to);
  else
    load8(static_cast<const __nv_bfloat16*>(from) + at, to);
}
template <class T>
__device__ inline void store8(T* to, const float (&from)[8]) {
  constexpr int kSize = Vec16<T>::kSize;
#pragma unroll
  for (int i = 0; i < 8; i += kSize) {
    Vec16<T> raw;
#pragma unroll
    for (int k = 0; k < kSize; ++k) raw.at[k] = narrow<T>(from[i + k]);
    store16(to + i, raw);
  }
}

}  // namespace ingot::gpu
