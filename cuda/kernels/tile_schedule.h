// How a matrix product is cut into blocks: what host and device agree on. Plain C++ for both.
//
// Every product here, and every convolution seen as one, is  y[m, n] = sum over k of a[m, k] b[n, k]  for
// each of `batches` independent products (batch entries, or groups of a convolution). A block makes one tile
// of y; grid.x runs over tiles, grid.y over slices of k, grid.z over batches. With more than one slice each
// writes its sums to the workspace and a second pass adds them in order.
//
// A plan depends on sizes alone, never on pointers or on the GPU, so results have the same bits everywhere.
//
//   const TilePlan plan = plan_tiles({.m = 64, .n = 576, .k = 401408});       // 29 slices of a long sum
//   plan.workspace(sizes);                                                    // bytes
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ingot::cuda {

struct ProductSizes {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t batches = 1;
};

// Tiles have kLargeTile or kSmallTile rows and columns. Slices of k are multiples of kSliceUnit, which every
// tile's depth divides.
constexpr int kLargeTile = 128, kSmallTile = 64, kSliceUnit = 32;

struct TilePlan {
  bool large = false;
  int slices = 1;          // 0 where there is nothing to sum
  std::int64_t slice = 0;  // length of a slice along k
  bool through_workspace = false;

  std::size_t workspace(const ProductSizes& s) const {
    return through_workspace ? static_cast<std::size_t>(slices * s.batches * s.m * s.n) * sizeof(float) : 0;
  }
};

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// `second_pass` asks for sums in the workspace even where one slice is enough.
inline TilePlan plan_tiles(const ProductSizes& s, bool second_pass = false) {
  // Blocks that keep a large GPU busy, and the least work along k that pays for writing and reading sums.
  constexpr std::int64_t kEnoughBlocks = 264, kLeastSlice = 256;
  const auto tiles = [&](int size) { return divide_up(s.m, size) * divide_up(s.n, size) * s.batches; };
  TilePlan plan;
  plan.large = s.m > kSmallTile && s.n > kSmallTile && tiles(kLargeTile) >= kEnoughBlocks / 2;
  const std::int64_t blocks = tiles(plan.large ? kLargeTile : kSmallTile);
  std::int64_t slices = 1;
  if (blocks > 0 && blocks < kEnoughBlocks / 2)
    slices = std::clamp<std::int64_t>(std::min(kEnoughBlocks / blocks, s.k / kLeastSlice), 1, kEnoughBlocks);
  plan.slice = divide_up(divide_up(s.k, slices), kSliceUnit) * kSliceUnit;
  plan.slices = s.k == 0 ? 0 : static_cast<int>(divide_up(s.k, plan.slice));
  plan.through_workspace = plan.slices != 1 || second_pass;
  return plan;
}

// Offsets of the operands of product z: batch axes that broadcast have stride 0. Offsets of y and of the bias
// are multiples of z.
struct BatchStrides {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  unsigned size[kMaxRank] = {};
  long long a[kMaxRank] = {}, b[kMaxRank] = {};
  long long y = 0, bias = 0;
};

struct Schedule {
  unsigned tiles_m = 0, tiles_n = 0;
  long long k = 0, slice = 0;
  unsigned first_batch = 0, batches = 1;
  BatchStrides strides{};
};

}  // namespace ingot::cuda
