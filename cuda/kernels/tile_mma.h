// Products of f16 or bf16 matrices in tiles on tensor cores, summed in f32. For .cu files.
//
//   y[m, n] = act(sum over k of a[m, k] b[n, k] + bias + residual)
//
// A block makes a square tile of kTile rows and columns in steps of 32 along k. Operands with vectors of
// eight elements (V = 8) come by asynchronous copies, four steps deep: 4 x 16 KiB under way for a tile of
// 128. Others (V = 1) pass through registers, one step ahead.
//
// Shared memory keeps the direction of the operand's vectors: [row][k] is read by ldmatrix, [k][row] by its
// transposing form. Chunks of 16 bytes are xored with the line, so that the eight rows of an 8 x 8 matrix lie
// in different banks.
//
// Occupancy: mma_tile_kernel from 12%: the sums of a tile are in registers; asynchronous copies, not
//   threads, hide the latency of memory.
#pragma once

#include "cuda/kernels/tile_epilogue.h"
#include "cuda/kernels/tile_load.h"
#include "cuda/kernels/tile_operands.h"

namespace ingot::cuda::tile {

template <int kTile_>
struct MmaTile {
  static constexpr int kTile = kTile_, kDepth = 32;
  static constexpr int kWarpsDown = 2, kWarpsAcross = kTile / 32;
  static constexpr int kThreads = kWarpSize * kWarpsDown * kWarpsAcross;  // 256, or 128 for a tile of 64
  static constexpr int kRows = kTile / kWarpsDown, kColumns = 32;         // of a warp
  static constexpr int kOperand = kTile * kDepth;                         // elements
  template <int kVector>
  static constexpr int kStages = kVector == 1 ? 2 : 4;
  static constexpr int kSlabBytes = kThreads / kWarpSize * kFragmentSlab<kColumns / 8> * 4;
  template <int kVector>
  static constexpr int kSharedBytes = std::max(kStages<kVector> * 2 * kOperand * 2, kSlabBytes);
};

// Where element (row, k) of an operand lies in its tile.
template <bool kAlongK, int kTile>
__device__ inline int place_in_tile(int row, int k) {
  if constexpr (kAlongK)
    return row * 32 + (((k / 8) ^ ((row / 2) & 3)) * 8) + k % 8;
  else
    return k * kTile + (((row / 8) ^ (k & 7)) * 8) + row % 8;
}

// One operand's way from memory to shared memory.
template <class Source, bool kAlongK, int V, class C>
struct MmaPipe {
  using T = typename Source::Element;
  using Load = Loader<Source, kAlongK, V, C::kTile, C::kDepth, C::kThreads>;
  Load load;
  T held[V == 1 ? Load::kPasses : 1];

  __device__ MmaPipe(const Source& s, long long row0, long long k0) : load(s, row0, k0) {}

  static __device__ int place(int pass) {
    const int line = Load::line() + pass * Load::kLines, along = Load::along();
    return kAlongK ? place_in_tile<true, C::kTile>(line, along) : place_in_tile<false, C::kTile>(along, line);
  }
  __device__ void copy(T* tile) {
    load.next([&](int i, const T* from) {
      copy_async16(tile + place(i), from != nullptr ? from : load.source.p, from != nullptr ? 16 : 0);
    });
  }
  __device__ void fetch() {
    load.next([&](int i, const T* from) { held[i] = from != nullptr ? *from : narrow<T>(0.0f); });
  }
  __device__ void put(T* tile) const {
#pragma unroll
    for (int i = 0; i < Load::kPasses; ++i) tile[place(i)] = held[i];
  }
};

template <class T, class P, class C>
struct MmaSums {
  static constexpr int kDown = C::kRows / 16, kAcross = C::kColumns / 8;
  float sums[kDown][kAcross][4] = {};

  __device__ void multiply(const T* a, const T* b) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize,
              warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int row = warp / C::kWarpsAcross * C::kRows, column = warp % C::kWarpsAcross * C::kColumns;
    const int in = lane % 8, odd = lane / 8 % 2, high = lane / 16;  // of 8 x 8 matrix lane / 8
#pragma unroll
    for (int k0 = 0; k0 < C::kDepth; k0 += 16) {
      unsigned left[kDown][4], right[kAcross / 2][4];
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        // Matrices: rows 0 to 7 and 8 to 15 of the first eight k, then of the others.
        const int r = row + 16 * i + 8 * odd, k = k0 + 8 * high;
        if constexpr (P::kAlongKA)
          ldmatrix_x4(left[i], a + place_in_tile<true, C::kTile>(r + in, k));
        else
          ldmatrix_x4_transposed(left[i], a + place_in_tile<false, C::kTile>(r, k + in));
      }
#pragma unroll
      for (int j = 0; j < kAcross / 2; ++j) {
        // Both halves of k for eight columns, then for the next eight.
        const int r = column + 16 * j + 8 * high, k = k0 + 8 * odd;
        if constexpr (P::kAlongKB)
          ldmatrix_x4(right[j], b + place_in_tile<true, C::kTile>(r + in, k));
        else
          ldmatrix_x4_transposed(right[j], b + place_in_tile<false, C::kTile>(r, k + in));
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i)
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          const unsigned pair[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
          mma_m16n8k16(T{}, sums[i][j], left[i], pair);
        }
    }
  }
};

// Bound by: arithmetic: each element that is read takes part in as many sums as the tile is wide.
template <class P, class C>
__global__ void __launch_bounds__(C::kThreads)
    mma_tile_kernel(P operands, Output<typename P::A::Element> out, Schedule s) {
  using T = typename P::A::Element;
  constexpr int kStages = C::template kStages<P::kVector>;
  GPU_DYN_SHARED(T, shared);
  const TilePlace place = tile_place(s);
  const unsigned z = s.first_batch + blockIdx.z;
  const long long row0 = static_cast<long long>(place.m) * C::kTile;
  const long long column0 = static_cast<long long>(place.n) * C::kTile;
  const long long k0 = blockIdx.y * s.slice, left = s.k - k0, length = left < s.slice ? left : s.slice;
  const BatchOffsets offsets = batch_offsets(s.strides, z);
  operands.a.shift(offsets.a);
  operands.b.shift(offsets.b);
  out.shift(s, z, blockIdx.y);

  MmaPipe<typename P::A, P::kAlongKA, P::kVector, C> a(operands.a, row0, k0);
  MmaPipe<typename P::B, P::kAlongKB, P::kVector, C> b(operands.b, column0, k0);
  MmaSums<T, P, C> sums;
  const int steps = static_cast<int>((length + C::kDepth - 1) / C::kDepth);
  const auto stage = [&](int step) { return shared + step % kStages * 2 * C::kOperand; };

  if constexpr (P::kVector == 1) {
    a.fetch();
    b.fetch();
    a.put(stage(0));
    b.put(stage(0) + C::kOperand);
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
      const bool more = step + 1 < steps;
      if (more) {
        a.fetch();
        b.fetch();
      }
      sums.multiply(stage(step), stage(step) + C::kOperand);
      if (more) {
        a.put(stage(step + 1));
        b.put(stage(step + 1) + C::kOperand);
      }
      __syncthreads();
    }
  } else {
    // One group a step, empty at the end, so that the wait's count stays a constant.
    const auto copy = [&](int step) {
      if (step < steps) {
        a.copy(stage(step));
        b.copy(stage(step) + C::kOperand);
      }
      copy_async_commit();
    };
    for (int step = 0; step < kStages - 1; ++step) copy(step);
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<kStages - 2>();
      __syncthreads();  // this step has landed for all, and nobody reads the stage that is filled next
      copy(step + kStages - 1);
      sums.multiply(stage(step), stage(step) + C::kOperand);
    }
    copy_async_wait<0>();
    __syncthreads();
  }
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  float* const slab = reinterpret_cast<float*>(shared) + warp * kFragmentSlab<C::kColumns / 8>;
  store_fragments(sums.sums, slab, row0 + warp / C::kWarpsAcross * C::kRows,
                  column0 + warp % C::kWarpsAcross * C::kColumns, out);
}

}  // namespace ingot::cuda::tile
