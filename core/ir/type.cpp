#include "core/ir/type.h"

#include <charconv>

#include "core/base/error.h"

namespace ingot {

namespace {

struct Extents {
  std::array<std::int64_t, Shape::kMaxRank> block_total, outer;
};

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

Extents extents(const TensorType& t) {
  Extents e;
  e.block_total.fill(1);
  for (int b = 0; b < t.layout.num_blocks; ++b)
    e.block_total[t.layout.blocks[at(b)].axis] *= t.layout.blocks[at(b)].size;
  for (int a = 0; a < t.shape.rank(); ++a)
    e.outer[at(a)] = (t.shape[a] + e.block_total[at(a)] - 1) / e.block_total[at(a)];
  return e;
}

}  // namespace

Layout Layout::channels_last(int rank) {
  if (rank < 3) return {};
  Layout l;
  l.rank = static_cast<std::uint8_t>(rank);
  l.order[0] = 0;
  for (int i = 1; i + 1 < rank; ++i) l.order[at(i)] = static_cast<std::uint8_t>(i + 1);
  l.order[at(rank - 1)] = 1;
  return l;
}

Layout Layout::canonical() const {
  if (num_blocks != 0) return *this;
  for (int i = 0; i < rank; ++i)
    if (order[at(i)] != i) return *this;
  return {};
}

std::string to_string(const Layout& l) {
  if (l.is_row_major()) return "";
  std::string s = "@";
  for (int i = 0; i < l.rank; ++i) s += static_cast<char>('0' + l.order[at(i)]);
  for (int b = 0; b < l.num_blocks; ++b)
    s += cat(b == 0 ? ":" : ",", static_cast<int>(l.blocks[at(b)].axis), "x", l.blocks[at(b)].size);
  return s;
}

std::int64_t TensorType::physical_numel() const {
  if (!layout.is_blocked()) return shape.numel();
  const Extents e = extents(*this);
  std::int64_t n = 1;
  for (int a = 0; a < shape.rank(); ++a) n *= e.outer[at(a)] * e.block_total[at(a)];
  return n;
}

bool TensorType::same_memory(const TensorType& other) const {
  if (dtype != other.dtype || shape != other.shape) return false;
  if (layout == other.layout) return true;
  if (layout.is_blocked() || other.layout.is_blocked()) return false;
  // Compare the order of the axes that have more than one element.
  const auto visible = [this](const Layout& l) {
    Shape order;
    for (int i = 0; i < shape.rank(); ++i) {
      const int axis = l.is_row_major() ? i : l.order[at(i)];
      if (shape[axis] != 1) order.push_back(axis);
    }
    return order;
  };
  return visible(layout) == visible(other.layout);
}

std::string to_string(const TensorType& t) {
  return cat(name(t.dtype), to_string(t.shape), to_string(t.layout));
}

TensorType parse_type(std::string_view text) {
  const auto fail = [&](std::string_view why) -> FormatError {
    return FormatError(cat("'", text, "' is not a tensor type: ", why,
                           "; expected e.g. f32[8, 16] or f32[8, 16, 4, 4]@0231"));
  };
  const auto open = text.find('['), close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    throw fail("brackets missing");
  TensorType t;
  t.dtype = parse_dtype(text.substr(0, open));
  const auto number = [&](std::string_view s) {
    while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
    std::int64_t v = 0;
    const auto r = std::from_chars(s.data(), s.data() + s.size(), v);
    if (r.ec != std::errc() || r.ptr != s.data() + s.size()) throw fail("bad number");
    return v;
  };
  std::string_view dims = text.substr(open + 1, close - open - 1);
  while (!dims.empty()) {
    const auto comma = dims.find(',');
    t.shape.push_back(number(dims.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    dims.remove_prefix(comma + 1);
  }
  std::string_view rest = text.substr(close + 1);
  if (rest.empty()) return t;
  if (rest.front() != '@') throw fail("expected '@' after the shape");
  rest.remove_prefix(1);
  const auto colon = rest.find(':');
  const std::string_view order = rest.substr(0, colon);
  if (static_cast<int>(order.size()) != t.shape.rank()) throw fail("the layout must name every axis");
  unsigned seen = 0;
  for (const char c : order) {
    if (c < '0' || c - '0' >= t.shape.rank() || (seen >> (c - '0') & 1u))
      throw fail("the layout must name every axis once");
    seen |= 1u << (c - '0');
    t.layout.order[t.layout.rank++] = static_cast<std::uint8_t>(c - '0');
  }
  if (colon == std::string_view::npos) return t;
  std::string_view blocks = rest.substr(colon + 1);
  while (!blocks.empty()) {
    const auto comma = blocks.find(',');
    const std::string_view item = blocks.substr(0, comma);
    const auto x = item.find('x');
    if (x == std::string_view::npos || t.layout.num_blocks == Layout::kMaxBlocks) throw fail("bad block");
    const std::int64_t axis = number(item.substr(0, x)), size = number(item.substr(x + 1));
    if (axis < 0 || axis >= t.shape.rank() || size < 1 || size > 4096) throw fail("bad block");
    t.layout.blocks[t.layout.num_blocks++] = {static_cast<std::uint8_t>(axis),
                                              static_cast<std::uint16_t>(size)};
    if (comma == std::string_view::npos) break;
    blocks.remove_prefix(comma + 1);
  }
  return t;
}

LayoutIndex::LayoutIndex(const TensorType& t)
    : rank_(t.shape.rank()), num_blocks_(t.layout.num_blocks), blocks_(t.layout.blocks) {
  const Extents e = extents(t);
  block_total_ = e.block_total;
  std::int64_t stride = 1;
  for (int b = num_blocks_ - 1; b >= 0; --b) {
    block_stride_[at(b)] = stride;
    stride *= blocks_[at(b)].size;
  }
  for (int i = rank_ - 1; i >= 0; --i) {
    const int axis = t.layout.is_row_major() ? i : t.layout.order[at(i)];
    outer_stride_[at(axis)] = stride;
    stride *= e.outer[at(axis)];
  }
}

std::int64_t LayoutIndex::offset(std::span<const std::int64_t> index) const {
  std::int64_t o = 0;
  if (num_blocks_ == 0) {
    for (int a = 0; a < rank_; ++a) o += index[at(a)] * outer_stride_[at(a)];
    return o;
  }
  std::array<std::int64_t, Shape::kMaxRank> inner{};
  for (int a = 0; a < rank_; ++a) {
    o += index[at(a)] / block_total_[at(a)] * outer_stride_[at(a)];
    inner[at(a)] = index[at(a)] % block_total_[at(a)];
  }
  // The innermost block of an axis takes its lowest digits.
  for (int b = num_blocks_ - 1; b >= 0; --b) {
    auto& digit = inner[blocks_[at(b)].axis];
    o += digit % blocks_[at(b)].size * block_stride_[at(b)];
    digit /= blocks_[at(b)].size;
  }
  return o;
}

}  // namespace ingot
