// TensorType: dtype + logical shape + physical layout.
//
// The shape is what the user wrote (NCHW as in PyTorch). The layout says how the elements lie in memory: an
// order of the axes, outermost first, and optionally inner blocks (as oneDNN's weight formats have them). A
// dimension that is blocked is padded to a multiple of its block; padding always holds zeros. Layouts appear
// only after the layout pass; graphs built by users are row-major throughout.
//
//   TensorType t{DType::F32, {8, 16, 32, 32}};
//   t.layout = Layout::channels_last(4);      // NHWC
//   t.bytes();                                // 524288
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/dtype.h"
#include "core/base/shape.h"

namespace ingot {

struct Layout {
  struct Block {
    std::uint8_t axis = 0;
    std::uint16_t size = 1;
    friend bool operator==(const Block&, const Block&) = default;
  };
  static constexpr int kMaxBlocks = 4;

  // order[i] is the logical axis at physical position i. rank == 0 means row-major, whatever the tensor's
  // rank.
  std::array<std::uint8_t, Shape::kMaxRank> order{};
  std::uint8_t rank = 0;
  std::uint8_t num_blocks = 0;
  std::array<Block, kMaxBlocks> blocks{};  // inner blocks, outermost first

  static Layout row_major() { return {}; }
  // Axis 1 innermost; equals row_major() for rank below 3.
  static Layout channels_last(int rank);

  bool is_row_major() const { return rank == 0; }
  bool is_blocked() const { return num_blocks != 0; }
  // Turns an identity order without blocks into row_major(), so that == means "same memory".
  Layout canonical() const;
  friend bool operator==(const Layout&, const Layout&) = default;
};

// "" for row-major, "@0231" for NHWC, "@0123:0x16,1x16" with blocks: the suffix that the graph text uses.
std::string to_string(const Layout& layout);

struct TensorType {
  DType dtype = DType::F32;
  Shape shape;
  Layout layout;

  TensorType() = default;
  TensorType(DType d, Shape s, Layout l = {}) : dtype(d), shape(s), layout(l) {}

  std::int64_t numel() const { return shape.numel(); }
  // Elements held in memory, block padding included.
  std::int64_t physical_numel() const;
  std::size_t bytes() const { return static_cast<std::size_t>(physical_numel()) * size_of(dtype); }
  // True when both types have the same bytes for the same elements (unit dimensions may sit anywhere).
  bool same_memory(const TensorType& other) const;
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

// "f32[8, 16, 32, 32]" or "f32[8, 16, 32, 32]@0231".
std::string to_string(const TensorType& type);
// The inverse; throws FormatError with the offending text.
TensorType parse_type(std::string_view text);

// Physical element offset of each logical element, visited in row-major order; used by plain copies and
// references.
class LayoutIndex {
 public:
  explicit LayoutIndex(const TensorType& type);
  std::int64_t offset(std::span<const std::int64_t> index) const;

 private:
  int rank_ = 0;
  std::array<std::int64_t, Shape::kMaxRank> outer_stride_{}, block_total_{};
  int num_blocks_ = 0;
  std::array<Layout::Block, Layout::kMaxBlocks> blocks_{};
  std::array<std::int64_t, Layout::kMaxBlocks> block_stride_{};
};

}  // namespace ingot
