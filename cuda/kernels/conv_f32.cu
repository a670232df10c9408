// Tiles of f32 convolutions (and TF32): maths and bytes in conv.cu and tile_f32.h.
#include "cuda/kernels/conv_tile.h"

namespace ingot::cuda {

void tile_conv_f32(const ConvCall& call, const Stream& stream) {
  tile::tile_conv<float>(call, stream);
}

}  // namespace ingot::cuda
