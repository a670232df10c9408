// Vector kernels of 3x3 convolutions with stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and
// Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).
//
// A tile of 4x4 results needs 144 products for each pair of channels when computed directly. Here the 6x6
// pixels below it, the 3x3 taps and the results are evaluated at 6x6 points, where a convolution is one
// product a point:
//
//   results  y = A' [(G g G') * (B' d B)] A     the gradient of the taps  dg = G' [(B' d B) * (A dy A')] G
//
// 36 products, four times fewer. The sum over channels (or, for the taps, over tiles) is a product of
// matrices at each point. The points along an axis are 0, +-1/sqrt(2), +-sqrt(2) and infinity: the root mean
// square error of results in f32 is then 7e-7 of theirs, two to four times that of direct sums, where the
// usual 0, +-1, +-2 make it twice as large again.
//
// Lanes are channels, so channel counts are multiples of kChannels. Everything between two transforms is f32;
// images may be bf16. Serial; threads are the callers' matter. A set of evaluations lies as
// [36][rows][columns] with `pitch` floats from point to point; an odd number of cache lines, see pitch_of().
//
//   const WinogradKernels* k = winograd_kernels(cpu_level());   // null below AVX2
//   k->patches(DType::F32, grid, x, 0, 24, v, pitch);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cpu/simd/level.h"

namespace ingot::cpu {

// Channels-last images and the tiles over them: tile (i, j) of an image begins at row kTile i - top and
// column kTile j - left. Tiles are counted through all images, row by row.
struct WinogradGrid {
  static constexpr std::int64_t kTile = 4, kPoints = 36, kChannels = 16;
  std::int64_t c = 0, h = 0, w = 0;
  std::int64_t rows = 0, columns = 0;  // of tiles
  std::int64_t top = 0, left = 0;

  static std::int64_t pitch_of(std::int64_t floats) { return ((floats + 15) / 16 | 1) * 16; }
};

// Where evaluated tiles lie: channel c of tile t at
//   data + point * pitch + t * channels + (c / channels) * block + c % channels.
struct WinogradPoints {
  float* data = nullptr;
  std::int64_t pitch = 0, channels = 0, block = 0;
};

// What is added to results before they are stored.
struct WinogradEpilogue {
  const void* bias = nullptr;      // of every channel of the image, in its type
  const void* residual = nullptr;  // an image as the result
  bool relu = false;
};

struct WinogradKernels {
  // Outputs that are multiplied together: the width of the panels that `products` wants.
  std::int64_t (*panel)(std::int64_t outputs);
  // Rows that are multiplied together with such a panel.
  std::int64_t (*rows)(std::int64_t panel);

  // `count` tiles from `first` on: their 6x6 pixels, evaluated. Pixels outside are 0.
  void (*patches)(DType dtype, const WinogradGrid& x, const void* image, std::int64_t first,
                  std::int64_t count, const WinogradPoints& to);
  // The 4x4 pixels of a gradient of results, as the second factor of the taps' gradient.
  void (*gradients)(DType dtype, const WinogradGrid& dy, const void* image, std::int64_t first,
                    std::int64_t count, const WinogradPoints& to);
  // to[i * row + l] = from[rows[l] + i] for kChannels i and l.
  void (*transpose)(DType dtype, const void* from, const std::int64_t* rows, float* to, std::int64_t row);
  // `n` floats of every tap, taps[9][n], evaluated to u[36][n].
  void (*taps)(const float* taps, std::int64_t n, float* u, std::int64_t pitch);
  // u[36][n], sums at the points, to the gradients of the taps [9][n].
  void (*tap_gradients)(const float* u, std::int64_t pitch, std::int64_t n, float* taps);
  // Sums at the points, m[36][count][channels], to the channels from `channel` on of the tiles' results.
  void (*results)(DType dtype, const WinogradGrid& y, const float* m, std::int64_t pitch, std::int64_t first,
                  std::int64_t count, std::int64_t channel, std::int64_t channels, const WinogradEpilogue& e,
                  void* image);

  // One point: m[t][panel] (+)= sum over k of v[t][k] u[k][panel]; `rows` is a multiple of rows(panel), the
  // rows of v lie `v_row` floats apart. Meanwhile the next call's operands are fetched into the second-level
  // cache.
  void (*products)(const float* v, std::int64_t v_row, const float* u, std::int64_t k, std::int64_t rows,
                   std::int64_t panel, float* m, bool add, const float* next_v, const float* next_u);
  // One point: m[c][panel] += sum over t of v[t][c] w[t][panel]; `channels`, a multiple of kChannels, and
  // `panel` floats from row to row.
  void (*outer_products)(const float* v, std::int64_t channels, const float* w, std::int64_t panel,
                         std::int64_t t, float* m, const float* next_v, const float* next_w);
};

const WinogradKernels* winograd_kernels(CpuLevel level);

}  // namespace ingot::cpu
