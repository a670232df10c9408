// Launches of tile kernels: the choice of tile, the slices of k and their second pass. For .cu files.
//
//   launch_tiles(Operands<...>{a, b}, product, stream);
#pragma once

#include <type_traits>

#include "core/base/error.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/tile_f32.h"
#include "cuda/kernels/tile_finish.h"
#include "cuda/kernels/tile_mma.h"
#include "cuda/kernels/tile_output.h"

namespace ingot::cuda::tile {

// All of a product but its operands.
struct Product {
  DType dtype = DType::F32;
  ProductSizes sizes;
  TilePlan plan;
  BatchStrides strides{};
  long long row_stride = 0;  // of y
  RowMap map{};              // in place of row_stride
  void* y = nullptr;
  Epilogue epilogue{};
  void* workspace = nullptr;
  bool tf32 = false;
};

template <class P, class T>
void launch_tile_size(const P& operands, const Output<T>& out, const Schedule& s, dim3 grid, bool large,
                      bool tf32, const Stream& stream) {
  const auto go = [&](auto kernel, int threads, int shared) {
    launch(kernel, grid, dim3(static_cast<unsigned>(threads)), static_cast<std::size_t>(shared), stream,
           operands, out, s);
  };
  if constexpr (std::is_same_v<T, float>) {
    constexpr int kThreads = F32Tile::kThreads;
    if constexpr (P::kVector != 1) {
      constexpr int kLarge = F32Tile::shared_bytes(kLargeTile);
      if (large && tf32) return go(f32_tile_kernel<P, kLargeTile, true>, kThreads, kLarge);
      if (large) return go(f32_tile_kernel<P, kLargeTile, false>, kThreads, kLarge);
      if (tf32) return go(f32_tile_kernel<P, kSmallTile, true>, kThreads, F32Tile::shared_bytes(kSmallTile));
    }
    go(f32_tile_kernel<P, kSmallTile, false>, kThreads, F32Tile::shared_bytes(kSmallTile));
  } else {
    if constexpr (P::kVector != 1) {
      using Large = MmaTile<kLargeTile>;
      if (large)
        return go(mma_tile_kernel<P, Large>, Large::kThreads, Large::template kSharedBytes<P::kVector>);
    }
    using Small = MmaTile<kSmallTile>;
    go(mma_tile_kernel<P, Small>, Small::kThreads, Small::template kSharedBytes<P::kVector>);
  }
}

// Kernels of single elements (kVector 1) exist with small tiles and without TF32 only.
template <class P>
void launch_tiles(const P& operands, const Product& p, const Stream& stream) {
  using T = typename P::A::Element;
  const ProductSizes& sizes = p.sizes;
  if (sizes.m == 0 || sizes.n == 0 || sizes.batches == 0) return;
  if (p.plan.slices > 0) {
    const bool large = p.plan.large && P::kVector != 1;
    const int tile = large ? kLargeTile : kSmallTile;
    Schedule s;
    s.tiles_m = static_cast<unsigned>(divide_up(sizes.m, tile));
    s.tiles_n = static_cast<unsigned>(divide_up(sizes.n, tile));
    s.k = sizes.k;
    s.slice = p.plan.slice;
    s.batches = static_cast<unsigned>(sizes.batches);
    s.strides = p.strides;
    Output<T> out = make_output<T>(p.y, p.epilogue, sizes, p.row_stride, p.strides, &p.map);
    if (p.plan.through_workspace) out.partial = static_cast<float*>(p.workspace);
    for_each_batch_launch(s, [&](unsigned batches) {
      const dim3 grid(s.tiles_m * s.tiles_n, static_cast<unsigned>(p.plan.slices), batches);
      launch_tile_size(operands, out, s, grid, large, p.tf32, stream);
    });
  }
  if (p.plan.through_workspace)
    finish_product(p.dtype,
                   {sizes, p.plan.slices, static_cast<const float*>(p.workspace), p.y, p.row_stride,
                    p.strides.y, p.strides.bias},
                   p.epilogue, stream, &p.map);
}

}  // namespace ingot::cuda::tile
