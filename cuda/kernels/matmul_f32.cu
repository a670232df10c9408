// Tiles of f32 matrix products (and TF32): maths and bytes in tile_f32.h.
#include "cuda/kernels/matmul_tile.h"

namespace ingot::cuda {

void tile_matmul_f32(const MatmulCall& call, const Stream& stream) {
  tile::tile_matmul<float>(call, stream);
}

}  // namespace ingot::cuda
