// A matrix product over the tile kernels, for one element type. For matmul_f32.cu and matmul_half.cu.
//
// a is read as a[m][k], b as b[n][k]; vectors lie along whichever axis is stored innermost. Where pointers or
// inner sizes do not allow 16-byte vectors, one kernel of single elements serves all four forms.
#pragma once

#include "cuda/kernels/matmul_paths.h"
#include "cuda/kernels/tile_launch.h"

namespace ingot::cuda::tile {

template <class T>
Product product_of(const MatmulCall& c) {
  Product p;
  p.dtype = c.dtype;
  p.sizes = c.sizes;
  p.plan = c.plan;
  p.strides = c.strides;
  p.row_stride = c.sizes.n;
  p.y = c.y;
  p.epilogue = c.epilogue;
  p.workspace = c.workspace;
  p.tf32 = c.tf32;
  return p;
}

template <class T>
void tile_matmul(const MatmulCall& c, const Stream& stream) {
  using M = Matrix<T>;
  const auto [m, n, k, batches] = c.sizes;
  const M a{static_cast<const T*>(c.a), m, k, c.transpose_a ? 1 : k, c.transpose_a ? m : 1};
  const M b{static_cast<const T*>(c.b), n, k, c.transpose_b ? k : 1, c.transpose_b ? 1 : n};
  bool aligned = is_aligned<T>(c.a, {c.transpose_a ? m : k}) && is_aligned<T>(c.b, {c.transpose_b ? k : n});
  for (int i = 0; i < c.strides.rank; ++i)
    aligned = aligned && is_aligned<T>(nullptr, {c.strides.a[i], c.strides.b[i]});
  const Product p = product_of<T>(c);
  constexpr int V = Vec16<T>::kSize;
  if (!aligned)
    launch_tiles(Operands<M, M, false, false, 1>{a, b}, p, stream);
  else if (c.transpose_a && c.transpose_b)
    launch_tiles(Operands<M, M, false, true, V>{a, b}, p, stream);
  else if (c.transpose_a)
    launch_tiles(Operands<M, M, false, false, V>{a, b}, p, stream);
  else if (c.transpose_b)
    launch_tiles(Operands<M, M, true, true, V>{a, b}, p, stream);
  else
    launch_tiles(Operands<M, M, true, false, V>{a, b}, p, stream);
}

}  // namespace ingot::cuda::tile
