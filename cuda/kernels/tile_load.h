// How the threads of a block share the elements of one operand's tile (rows x depth of a source of
// tile_sources.h). For .cu files.
//
// Along k: a thread's vector lies along k; it owns the same k in several rows. Along rows: its vector lies
// along the rows (V = 1 serves any source, neighbours in a warp taking neighbouring rows); it owns the same
// rows at several k. Either way one part of the addresses stays for the whole sum and the other advances by a
// constant.
//
//   Loader<Matrix<float>, true, 4, 128, 16, 256> load(a, row0, k0);
//   load.next([&](int pass, const float* from) { ... });        // once a tile; from is null for zeros
#pragma once

#include "cuda/kernels/tile_sources.h"

namespace ingot::cuda::tile {

template <class Source, bool kAlongK, int kVector, int kRows, int kDepth, int kThreads>
struct Loader {
  static constexpr int kVectors = (kAlongK ? kDepth : kRows) / kVector;  // in one line
  static constexpr int kLines = kThreads / kVectors;                     // fetched at once
  static constexpr int kPasses = (kAlongK ? kRows : kDepth) / kLines;
  static_assert(kThreads % kVectors == 0 && (kAlongK ? kRows : kDepth) % kLines == 0);

  // Of this thread: its line in pass 0, and its first element in a line.
  static __device__ int line() { return static_cast<int>(threadIdx.x) / kVectors; }
  static __device__ int along() { return static_cast<int>(threadIdx.x) % kVectors * kVector; }

  const Source& source;
  typename Source::Row rows[kAlongK ? kPasses : 1];
  typename Source::Depth depth;

  __device__ Loader(const Source& s, long long row0, long long k0)
      : source(s), depth(s.depth(k0 + (kAlongK ? along() : line()), kAlongK ? kDepth : kLines)) {
    if constexpr (kAlongK) {
#pragma unroll
      for (int i = 0; i < kPasses; ++i) rows[i] = s.row(row0 + line() + i * kLines);
    } else {
      rows[0] = s.row(row0 + along());
    }
  }

  template <class Use>
  __device__ void next(Use use) {
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      use(i, source.at(rows[kAlongK ? i : 0], depth));
      if constexpr (!kAlongK) source.advance(depth);
    }
    if constexpr (kAlongK) source.advance(depth);
  }
};

// The offsets that batch entry z adds to both operands.
struct BatchOffsets {
  long long a = 0, b = 0;
};
__device__ inline BatchOffsets batch_offsets(const BatchStrides& s, unsigned z) {
  BatchOffsets offsets;
  for (int i = s.rank - 1; i >= 0; --i) {
    const unsigned rest = z / s.size[i], at = z - rest * s.size[i];
    offsets.a += at * s.a[i];
    offsets.b += at * s.b[i];
    z = rest;
  }
  return offsets;
}

// This block's tile. Tiles go down eight rows of tiles before they go right, so that blocks that run together
// share operands in the second-level cache.
struct TilePlace {
  unsigned m, n;
};
__device__ inline TilePlace tile_place(const Schedule& s) {
  constexpr unsigned kGroup = 8;
  const unsigned in_group = kGroup * s.tiles_n, group = blockIdx.x / in_group;
  const unsigned rest = blockIdx.x - group * in_group, first = group * kGroup;
  const unsigned height = s.tiles_m - first < kGroup ? s.tiles_m - first : kGroup;
  return {first + rest % height, rest / height};
}

}  // namespace ingot::cuda::tile
