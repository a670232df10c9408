// Tiles of f16 and bf16 matrix products: maths and bytes in tile_mma.h.
#include "cuda/kernels/matmul_tile.h"

namespace ingot::cuda {

void tile_matmul_half(const MatmulCall& call, const Stream& stream) {
  if (call.dtype == DType::F16)
    tile::tile_matmul<__half>(call, stream);
  else
    tile::tile_matmul<__nv_bfloat16>(call, stream);
}

}  // namespace ingot::cuda
