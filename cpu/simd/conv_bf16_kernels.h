// The products of a convolution's weight gradient in bf16, on AVX-512 BF16.
//
// An instruction there multiplies pairs and adds both products to one f32 lane. The pairs here are two images
// of the batch: both operands are packed so that the numbers of two images at one place are neighbours. Then
// every tap of a window reads the same packed image at another place, and no pixel is odd.
//
//   packed x  [block of 16 channels][pair of images][row][column][16][2]
//   packed dy [block of  8 channels][pair of images][row][column][ 8][2]
#pragma once

#include <cstdint>

namespace ingot::cpu {

struct BFloatPairs {
  static constexpr std::int64_t kLanes = 16, kOutputs = 8;  // channels of x in a vector, of dy in a tile
  static constexpr int kMaxVectors = 3;                     // of x in a tile
};

// The pixels of dy that a call goes over; pitches in elements, of x between neighbours of dy.
struct PairedPixels {
  std::int64_t pairs = 0, rows = 0, columns = 0;
  std::int64_t x_pair = 0, x_row = 0, x_column = 0;
  std::int64_t dy_pair = 0, dy_row = 0;
};

struct BFloatConvKernels {
  // to[2 c] = a[c], to[2 c + 1] = b[c] of one pixel; the block of channels k lies at to + k * pitch. b may be
  // null: zeros.
  void (*pack_x)(const std::uint16_t* a, const std::uint16_t* b, std::int64_t channels, std::uint16_t* to,
                 std::int64_t pitch);
  void (*pack_dy)(const std::uint16_t* a, const std::uint16_t* b, std::int64_t channels, std::uint16_t* to,
                  std::int64_t pitch);
  // For each of `vectors` vectors of x, which start at x + offset[v]: sums[(o * vectors + v) * 16 + lane] +=
  // the products with output channel o, over all pixels.
  void (*products)(const PairedPixels& p, int vectors, const std::uint16_t* x, const std::int64_t* offset,
                   const std::uint16_t* dy, float* sums);
  // Rounded to bf16.
  void (*round)(const float* from, std::uint16_t* to, std::int64_t vectors);
};

// Null where the processor lacks the instructions.
const BFloatConvKernels* bfloat_conv_kernels();

}  // namespace ingot::cpu
