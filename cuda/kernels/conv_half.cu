// Tiles of f16 and bf16 convolutions: maths and bytes in conv.cu and tile_mma.h.
#include "cuda/kernels/conv_tile.h"

namespace ingot::cuda {

void tile_conv_half(const ConvCall& call, const Stream& stream) {
  if (call.dtype == DType::F16)
    tile::tile_conv<__half>(call, stream);
  else
    tile::tile_conv<__nv_bfloat16>(call, stream);
}

}  // namespace ingot::cuda
