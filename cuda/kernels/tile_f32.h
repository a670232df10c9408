// Products of f32 matrices in tiles: multiply-adds of the ordinary cores, or tensor cores in TF32. For .cu
// files.
//
//   y[m, n] = act(sum over k of a[m, k] b[n, k] + bias + residual)
//
// 256 threads make a square tile of kTile rows and columns; operands are read once for each tile of the other
// operand's direction, 16 bytes at a time where the caller says so (V = 4). A tile of kDepth 16 waits in
// registers while the one before it is multiplied, then goes into the other of two buffers: one barrier a
// step.
//
// Shared memory holds [k][row] with row xor swizzle(k): the transposing stores of vectors along k, the
// 16-byte reads of the ordinary cores and the fragments of tensor cores are then all free of bank conflicts.
//
// Occupancy: f32_tile_kernel from 12%: a thread has 16 or 64 sums and the next step of both operands in
//   registers: reuse, not threads, hides the latency.
#pragma once

#include "cuda/kernels/tile_epilogue.h"
#include "cuda/kernels/tile_load.h"
#include "cuda/kernels/tile_operands.h"

namespace ingot::cuda::tile {

struct F32Tile {
  static constexpr int kThreads = 256, kDepth = 16, kStages = 2;
  static constexpr int shared_bytes(int tile) {
    return kStages * 2 * tile * kDepth * static_cast<int>(sizeof(float));
  }
};

__device__ inline int swizzle(int k) {
  return ((k ^ (k >> 2)) & 3) << 3;
}

// One operand's way from memory through registers to shared memory.
template <class Source, bool kAlongK, int V, int kTile>
struct F32Pipe {
  using Load = Loader<Source, kAlongK, V, kTile, F32Tile::kDepth, F32Tile::kThreads>;
  Load load;
  float held[Load::kPasses][V];

  __device__ F32Pipe(const Source& s, long long row0, long long k0) : load(s, row0, k0) {}
  __device__ void fetch() {
    load.next([&](int i, const float* from) {
      if (from != nullptr) {
        load_some<V>(from, held[i]);
      } else {
#pragma unroll
        for (int e = 0; e < V; ++e) held[i][e] = 0.0f;
      }
    });
  }
  __device__ void put(float* tile) const {
#pragma unroll
    for (int i = 0; i < Load::kPasses; ++i) {
      const int line = Load::line() + i * Load::kLines, along = Load::along();
      if constexpr (kAlongK) {
#pragma unroll
        for (int e = 0; e < V; ++e) tile[(along + e) * kTile + (line ^ swizzle(along + e))] = held[i][e];
      } else {
        store_some<V>(tile + line * kTile + (along ^ swizzle(line)), held[i]);
      }
    }
  }
};

// 16 x 16 threads with kTile / 16 rows and columns each, in groups of four that lie 64 apart.
template <int kTile>
struct SimtSums {
  static constexpr int kGroups = kTile / 64, kEach = 4 * kGroups;
  float sums[kEach][kEach] = {};

  __device__ void multiply(const float* a, const float* b) {
    const int tx = static_cast<int>(threadIdx.x) % 16 * 4, ty = static_cast<int>(threadIdx.x) / 16 * 4;
#pragma unroll
    for (int k = 0; k < F32Tile::kDepth; ++k) {
      Vec16<float> left[kGroups], right[kGroups];
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        left[g] = load16(a + k * kTile + ((ty + 64 * g) ^ swizzle(k)));
        right[g] = load16(b + k * kTile + ((tx + 64 * g) ^ swizzle(k)));
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += left[i / 4].at[i % 4] * right[j / 4].at[j % 4];
    }
  }

  // A warp holds 8 rows of all columns for each group.
  template <class T>
  __device__ void store(float* shared, long long row0, long long column0, const Output<T>& out) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize,
              warp = static_cast<int>(threadIdx.x) / kWarpSize;
    float* const slab = shared + warp * 8 * kTile;
#pragma unroll 1
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int own = 0; own < kGroups; ++own)
        if (own == g) {
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < kGroups; ++j) {
              const float* const s = &sums[own * 4 + i][j * 4];
              store16(slab + (lane / 16 * 4 + i) * kTile + lane % 16 * 4 + 64 * j,
                      Vec16<float>{{s[0], s[1], s[2], s[3]}});
            }
        }
      __syncwarp();
      store_slab<8, kTile, kTile>(slab, row0 + 64 * g + warp * 8, column0, out);
      __syncwarp();
    }
  }
};

// 2 x 4 warps, each kTile / 2 rows and kTile / 4 columns in fragments of 16 x 8.
template <int kTile>
struct Tf32Sums {
  static constexpr int kRows = kTile / 2, kColumns = kTile / 4, kDown = kRows / 16, kAcross = kColumns / 8;
  float sums[kDown][kAcross][4] = {};

  __device__ void multiply(const float* a, const float* b) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize,
              warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int g = lane / 4, t = lane % 4, row = warp / 4 * kRows + g, column = warp % 4 * kColumns + g;
#pragma unroll
    for (int k0 = 0; k0 < F32Tile::kDepth; k0 += 8) {
      unsigned left[kDown][4], right[kAcross][2];
      const auto at = [](const float* tile, int k, int r) {
        return to_tf32(tile[k * kTile + (r ^ swizzle(k))]);
      };
#pragma unroll
      for (int i = 0; i < kDown; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) left[i][e] = at(a, k0 + t + e / 2 * 4, row + 16 * i + e % 2 * 8);
#pragma unroll
      for (int j = 0; j < kAcross; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) right[j][e] = at(b, k0 + t + e * 4, column + 8 * j);
#pragma unroll
      for (int i = 0; i < kDown; ++i)
#pragma unroll
        for (int j = 0; j < kAcross; ++j) mma_m16n8k8_tf32(sums[i][j], left[i], right[j]);
    }
  }

  template <class T>
  __device__ void store(float* shared, long long row0, long long column0, const Output<T>& out) const {
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    store_fragments<kDown, kAcross>(sums, shared + warp * kFragmentSlab<kAcross>, row0 + warp / 4 * kRows,
                                    column0 + warp % 4 * kColumns, out);
  }
};

// Bound by: arithmetic: each element that is read takes part in as many sums as the tile is wide.
template <class P, int kTile, bool kTf32>
__global__ void __launch_bounds__(F32Tile::kThreads, kTile == kSmallTile ? 2 : 1)
    f32_tile_kernel(P operands, Output<float> out, Schedule s) {
  GPU_DYN_SHARED(float, shared);
  constexpr int kOperand = kTile * F32Tile::kDepth;
  const TilePlace place = tile_place(s);
  const unsigned z = s.first_batch + blockIdx.z;
  const long long row0 = static_cast<long long>(place.m) * kTile,
                  column0 = static_cast<long long>(place.n) * kTile;
  const long long k0 = blockIdx.y * s.slice, left = s.k - k0, length = left < s.slice ? left : s.slice;
  const BatchOffsets offsets = batch_offsets(s.strides, z);
  operands.a.shift(offsets.a);
  operands.b.shift(offsets.b);
  out.shift(s, z, blockIdx.y);

  F32Pipe<typename P::A, P::kAlongKA, P::kVector, kTile> a(operands.a, row0, k0);
  F32Pipe<typename P::B, P::kAlongKB, P::kVector, kTile> b(operands.b, column0, k0);
  std::conditional_t<kTf32, Tf32Sums<kTile>, SimtSums<kTile>> sums;
  const int steps = static_cast<int>((length + F32Tile::kDepth - 1) / F32Tile::kDepth);
  a.fetch();
  b.fetch();
  a.put(shared);
  b.put(shared + kOperand);
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    if (more) {
      a.fetch();
      b.fetch();
    }
    float* const now = shared + step % 2 * 2 * kOperand;
    sums.multiply(now, now + kOperand);
    if (more) {
      float* const next = shared + (step + 1) % 2 * 2 * kOperand;
      a.put(next);
      b.put(next + kOperand);
    }
    __syncthreads();
  }
  sums.store(shared, row0, column0, out);
}

}  // namespace ingot::cuda::tile
