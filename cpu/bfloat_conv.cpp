#include "cpu/bfloat_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/conv_bf16_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

using u16 = std::uint16_t;
constexpr std::int64_t kLanes = BFloatPairs::kLanes, kOutputs = BFloatPairs::kOutputs;
// Bytes of packed x that stay in the first-level cache; of both operands that stay in the second; of sums
// that stay beside them.
constexpr std::int64_t kFirstLevel = 24 << 10, kSecondLevel = 256 << 10, kSums = 640 << 10;

// Images as they are packed. Where a window has one cell, pixels that no window touches are left out.
struct Shapes {
  std::int64_t n = 0, pairs = 0;
  std::int64_t c = 0, h = 0, w = 0, o = 0, oh = 0, ow = 0, kh = 0, kw = 0;
  Window window{};
  std::array<std::int64_t, 2> skip{1, 1};  // pixels of x between neighbours in packed x
  std::int64_t columns = 0;                // of packed x
  std::int64_t x_blocks = 0, dy_blocks = 0;
};

// An odd number of cache lines: packing writes all blocks side by side, and at a multiple of 4096 bytes they
// would fight for the same ways of the cache.
std::int64_t odd_lines(std::int64_t elements) {
  return ((elements + 31) / 32 | 1) * 32;
}

// Some pairs of images, or some rows of dy and what of x they touch, as they lie packed. Pitches in elements.
struct Packed {
  std::int64_t pairs = 0, rows = 0;  // of dy
  std::int64_t x_rows = 0, x_pair = 0, x_block = 0, dy_pair = 0, dy_block = 0;
  u16 *x = nullptr, *dy = nullptr;

  Packed(const Shapes& s, std::int64_t pairs_, std::int64_t rows_) : pairs(pairs_), rows(rows_) {
    x_rows = (rows - 1) * s.window.stride[0] + (s.kh - 1) * s.window.dilation[0] + 1;
    x_pair = x_rows * s.columns * 2 * kLanes;
    x_block = odd_lines(pairs * x_pair);
    dy_pair = rows * s.ow * 2 * kOutputs;
    dy_block = odd_lines(pairs * dy_pair);
  }
  std::int64_t x_size(const Shapes& s) const { return s.x_blocks * x_block; }
  std::int64_t dy_size(const Shapes& s) const { return s.dy_blocks * dy_block; }
  std::int64_t bytes(const Shapes& s) const { return 2 * (x_size(s) + dy_size(s)); }
};

bool image(const TensorType& t) {
  return t.dtype == DType::BF16 && t.numel() != 0 && lies_channels_last(t);
}

Shapes shapes_of(const Shape& x, const Shape& dy, const Shape& dw, Window window) {
  Shapes s;
  s.n = x[0], s.pairs = (x[0] + 1) / 2;
  s.c = x[1], s.h = x[2], s.w = x[3], s.o = dy[1], s.oh = dy[2], s.ow = dy[3], s.kh = dw[2], s.kw = dw[3];
  if (s.kh == 1 && s.kw == 1) std::swap(s.skip, window.stride);  // stride is 1 over what is packed
  s.window = window;
  s.columns = (s.ow - 1) * window.stride[1] + (s.kw - 1) * window.dilation[1] + 1;
  s.x_blocks = s.c / kLanes, s.dy_blocks = s.o / kOutputs;
  return s;
}

// Row `row` of the rows of x of all pairs, zeros where there is no pixel; `pair` and `top` are the first pair
// and row of dy of what is packed.
void pack_x_row(const BFloatConvKernels& k, const Shapes& s, const u16* x, std::int64_t pair,
                std::int64_t top, std::int64_t row, const Packed& packed) {
  const std::int64_t n = 2 * (pair + row / packed.x_rows);
  const std::int64_t h = (top * s.window.stride[0] + row % packed.x_rows) * s.skip[0] - s.window.padding[0];
  const u16* a = x + (n * s.h + h) * s.w * s.c;
  const u16* b = n + 1 < s.n ? a + s.h * s.w * s.c : nullptr;
  u16* to = packed.x + row * s.columns * 2 * kLanes;
  for (std::int64_t j = 0; j < s.columns; ++j, to += 2 * kLanes) {
    const std::int64_t w = j * s.skip[1] - s.window.padding[1];
    if (h >= 0 && h < s.h && w >= 0 && w < s.w)
      k.pack_x(a + w * s.c, b == nullptr ? nullptr : b + w * s.c, s.c, to, packed.x_block);
    else
      for (std::int64_t block = 0; block < s.x_blocks; ++block)
        std::fill_n(to + block * packed.x_block, 2 * kLanes, u16{0});
  }
}

void pack_dy_row(const BFloatConvKernels& k, const Shapes& s, const u16* dy, std::int64_t pair,
                 std::int64_t top, std::int64_t row, const Packed& packed) {
  const std::int64_t n = 2 * (pair + row / packed.rows), h = top + row % packed.rows;
  const u16* a = dy + (n * s.oh + h) * s.ow * s.o;
  const u16* b = n + 1 < s.n ? a + s.oh * s.ow * s.o : nullptr;
  u16* to = packed.dy + row * s.ow * 2 * kOutputs;
  for (std::int64_t j = 0; j < s.ow; ++j, to += 2 * kOutputs)
    k.pack_dy(a + j * s.o, b == nullptr ? nullptr : b + j * s.o, s.o, to, packed.dy_block);
}

// The vectors of x that one tile multiplies: columns of the window, or blocks of channels where it has one.
struct Vectors {
  std::int64_t block = 0, kw = 0;  // the first
  int count = 0;
};

// Where the elements of the gradient lie: their offset is a sum over the axes.
struct Places {
  std::vector<std::int64_t> o, c, kh, kw;

  explicit Places(const TensorType& dw) {
    const LayoutIndex index(dw);
    std::vector<std::int64_t>* const axes[] = {&o, &c, &kh, &kw};
    for (int axis = 0; axis < 4; ++axis)
      for (std::int64_t i = 0; i < dw.shape[axis]; ++i) {
        std::array<std::int64_t, 4> at{};
        at[static_cast<std::size_t>(axis)] = i;
        axes[axis]->push_back(index.offset(at));
      }
  }
};

// The products by groups of x's blocks and blocks of dy: an item is one block of dy for one group.
class Product {
 public:
  Product(const BFloatConvKernels& k, const Shapes& s) : k_(k), s_(s) {
    if (s.kw == 1) {
      for (std::int64_t b = 0; b < s.x_blocks; b += 2)
        groups_.push_back({{b, 0, static_cast<int>(std::min<std::int64_t>(2, s.x_blocks - b))}});
      return;
    }
    const std::int64_t tiles = (s.kw + BFloatPairs::kMaxVectors - 1) / BFloatPairs::kMaxVectors;
    for (std::int64_t b = 0; b < s.x_blocks; ++b) {
      auto& group = groups_.emplace_back();
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t begin = s.kw * t / tiles, end = s.kw * (t + 1) / tiles;
        group.push_back({b, begin, static_cast<int>(end - begin)});
      }
    }
  }

  std::int64_t items() const { return static_cast<std::int64_t>(groups_.size()) * s_.dy_blocks; }
  std::int64_t item_sums() const { return s_.kh * vectors_of(groups_.front()) * kOutputs * kLanes; }

  // Makes the items [begin, end) of the gradient from all that is packed; `sums` are dy_blocks * item_sums().
  void make(std::int64_t begin, std::int64_t end, const Packed& packed, float* sums, const Places& places,
            u16* dw) const {
    by_group(begin, end, [&](const Group& group, std::int64_t first, std::int64_t last) {
      std::fill_n(sums, (last - first) * item_sums(), 0.0f);
      add(group, first, last, packed, sums);
      write(group, first, last, sums, places, dw);
    });
  }
  // Adds what is packed to the items [begin, end), whose sums lie one behind the other.
  void add(std::int64_t begin, std::int64_t end, const Packed& packed, float* sums) const {
    by_group(begin, end, [&](const Group& group, std::int64_t first, std::int64_t last) {
      add(group, first, last, packed, sums);
      sums += (last - first) * item_sums();
    });
  }
  void write(std::int64_t begin, std::int64_t end, const float* sums, const Places& places, u16* dw) const {
    by_group(begin, end, [&](const Group& group, std::int64_t first, std::int64_t last) {
      write(group, first, last, sums, places, dw);
      sums += (last - first) * item_sums();
    });
  }

 private:
  using Group = std::vector<Vectors>;

  static std::int64_t vectors_of(const Group& g) {
    std::int64_t n = 0;
    for (const Vectors& v : g) n += v.count;
    return n;
  }
  template <class F>
  void by_group(std::int64_t begin, std::int64_t end, const F& f) const {
    while (begin < end) {
      const std::int64_t first = begin % s_.dy_blocks;
      const std::int64_t last = std::min(s_.dy_blocks, first + end - begin);
      f(groups_[static_cast<std::size_t>(begin / s_.dy_blocks)], first, last);
      begin += last - first;
    }
  }

  void add(const Group& group, std::int64_t first, std::int64_t last, const Packed& packed,
           float* sums) const {
    const std::int64_t sh = s_.window.stride[0];
    PairedPixels p;
    p.x_column = s_.window.stride[1] * 2 * kLanes;
    p.x_row = s_.columns * sh * 2 * kLanes;
    p.x_pair = packed.x_pair;
    p.dy_row = s_.ow * 2 * kOutputs;
    p.dy_pair = packed.dy_pair;
    p.columns = s_.ow;
    // As many rows at a time, or pairs of images, as leave x in the first-level cache.
    const std::int64_t row_bytes = s_.columns * 4 * kLanes * (s_.kw == 1 ? 2 : 1);
    const std::int64_t cached = std::max<std::int64_t>(1, kFirstLevel / row_bytes);
    const std::int64_t pairs = std::clamp<std::int64_t>(cached / packed.x_rows, 1, packed.pairs);
    const std::int64_t halo = (s_.kh - 1) * s_.window.dilation[0];
    const std::int64_t rows = cached >= packed.x_rows
                                  ? packed.rows
                                  : std::clamp<std::int64_t>((cached - halo) / sh, 1, packed.rows);
    for (std::int64_t pair = 0; pair < packed.pairs; pair += pairs)
      for (std::int64_t row = 0; row < packed.rows; row += rows) {
        p.pairs = std::min(pairs, packed.pairs - pair);
        p.rows = std::min(rows, packed.rows - row);
        float* to = sums;
        for (std::int64_t b = first; b < last; ++b) {
          const u16* d = packed.dy + b * packed.dy_block + pair * p.dy_pair + row * p.dy_row;
          for (std::int64_t a = 0; a < s_.kh; ++a) {
            const u16* from = packed.x + pair * p.x_pair + row * p.x_row +
                              a * s_.window.dilation[0] * s_.columns * 2 * kLanes;
            for (const Vectors& v : group) {
              std::int64_t offset[BFloatPairs::kMaxVectors];
              for (int i = 0; i < v.count; ++i)
                offset[i] = s_.kw == 1
                                ? (v.block + i) * packed.x_block
                                : v.block * packed.x_block + (v.kw + i) * s_.window.dilation[1] * 2 * kLanes;
              k_.products(p, v.count, from, offset, d, to);
              to += v.count * kOutputs * kLanes;
            }
          }
        }
      }
  }

  void write(const Group& group, std::int64_t first, std::int64_t last, const float* sums,
             const Places& places, u16* dw) const {
    u16 lanes[BFloatPairs::kMaxVectors * kLanes];
    for (std::int64_t b = first; b < last; ++b)
      for (std::int64_t a = 0; a < s_.kh; ++a)
        for (const Vectors& v : group)
          for (std::int64_t o = 0; o < kOutputs; ++o, sums += v.count * kLanes) {
            k_.round(sums, lanes, v.count);
            for (int i = 0; i < v.count; ++i) {
              const std::int64_t block = s_.kw == 1 ? v.block + i : v.block, kw = s_.kw == 1 ? 0 : v.kw + i;
              const std::int64_t* c = places.c.data() + block * kLanes;
              u16* to = dw + places.o[static_cast<std::size_t>(b * kOutputs + o)] +
                        places.kh[static_cast<std::size_t>(a)] + places.kw[static_cast<std::size_t>(kw)];
              for (std::int64_t l = 0; l < kLanes; ++l) to[c[l]] = lanes[i * kLanes + l];
            }
          }
  }

  const BFloatConvKernels& k_;
  Shapes s_;
  std::vector<Group> groups_;
};

// Large gradients: everything is packed first, then each part makes some of the sums.
std::unique_ptr<Step> split_channels(const BFloatConvKernels& k, const Shapes& s, const Product& product,
                                     const Places& places, int parts, std::size_t cleared) {
  const Packed whole(s, s.pairs, s.oh);
  const std::int64_t sums = whole_lines(s.dy_blocks * product.item_sums());
  const auto carve = [=](Workspace& w, Packed& packed) {
    packed.x = w.take<u16>(packed.x_size(s));
    packed.dy = w.take<u16>(packed.dy_size(s));
    return w.take<float>(parts * sums);
  };
  Workspace measure(nullptr);
  Packed unused = whole;
  carve(measure, unused);
  return make_step(
      "bf16:pairs",
      [=, &k](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        Packed packed = whole;
        float* const space = carve(w, packed);
        const auto *from = static_cast<const u16*>(in[0]), *grad = static_cast<const u16*>(in[1]);
        auto* const to = static_cast<u16*>(out[0]);
        if (cleared != 0) std::memset(to, 0, cleared);
        parallel_ranges(parts, s.pairs * packed.x_rows, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) pack_x_row(k, s, from, 0, 0, r, packed);
        });
        parallel_ranges(parts, s.pairs * s.oh, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) pack_dy_row(k, s, grad, 0, 0, r, packed);
        });
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(product.items(), part, parts);
          product.make(r.begin, r.end, packed, space + part * sums, places, to);
        });
      },
      measure.used());
}

// Small ones: each part packs some of its images at a time, and the parts' sums are added.
std::unique_ptr<Step> split_images(const BFloatConvKernels& k, const Shapes& s, const Product& product,
                                   const Places& places, int parts, std::size_t cleared) {
  std::int64_t pairs = 1, rows = s.oh;
  const auto fits = [&](std::int64_t p, std::int64_t r) { return Packed(s, p, r).bytes(s) <= kSecondLevel; };
  while (rows > 1 && !fits(1, rows)) --rows;
  while (rows == s.oh && pairs * parts < s.pairs && fits(pairs + 1, rows)) ++pairs;
  const std::int64_t bands = (s.oh + rows - 1) / rows, chunks = (s.pairs + pairs - 1) / pairs * bands;
  const Packed largest(s, pairs, rows);
  const std::int64_t sums = whole_lines(product.items() * product.item_sums());
  const auto carve = [=](Workspace& w, Packed& packed) {
    packed.x = w.take<u16>(packed.x_size(s));
    packed.dy = w.take<u16>(packed.dy_size(s));
    return w.take<float>(sums);
  };
  Workspace measure(nullptr);
  Packed unused = largest;
  carve(measure, unused);
  const std::size_t own_bytes = measure.used();
  return make_step(
      "bf16:pairs",
      [=, &k](void* const* in, void* const* out, void* workspace) {
        const auto *from = static_cast<const u16*>(in[0]), *grad = static_cast<const u16*>(in[1]);
        auto* const to = static_cast<u16*>(out[0]);
        if (cleared != 0) std::memset(to, 0, cleared);
        const auto space = [&](int part, Packed& packed) {
          Workspace w(static_cast<std::byte*>(workspace) + static_cast<std::size_t>(part) * own_bytes);
          return carve(w, packed);
        };
        parallel_parts(parts, [&](int part) {
          Packed own = largest;
          float* const mine = space(part, own);
          std::fill_n(mine, sums, 0.0f);
          const Range r = part_of(chunks, part, parts);
          for (std::int64_t chunk = r.begin; chunk < r.end; ++chunk) {
            const std::int64_t pair = chunk / bands * pairs, top = chunk % bands * rows;
            Packed packed(s, std::min(pairs, s.pairs - pair), std::min(rows, s.oh - top));
            packed.x = own.x, packed.dy = own.dy;
            for (std::int64_t i = 0; i < packed.pairs * packed.x_rows; ++i)
              pack_x_row(k, s, from, pair, top, i, packed);
            for (std::int64_t i = 0; i < packed.pairs * packed.rows; ++i)
              pack_dy_row(k, s, grad, pair, top, i, packed);
            product.add(0, product.items(), packed, mine);
          }
        });
        parallel_ranges(parts, product.items(), 1, [&](std::int64_t begin, std::int64_t end) {
          Packed ignored = largest;
          float* const total = space(0, ignored) + begin * product.item_sums();
          for (int part = 1; part < parts; ++part) {
            const float* const other = space(part, ignored) + begin * product.item_sums();
            for (std::int64_t i = 0; i < (end - begin) * product.item_sums(); ++i) total[i] += other[i];
          }
          product.write(begin, end, total, places, to);
        });
      },
      static_cast<std::size_t>(parts) * own_bytes);
}

}  // namespace

std::unique_ptr<Step> make_bfloat_grad_weight(const TensorType& x, const TensorType& dy, const TensorType& dw,
                                              Window window, int threads) {
  const BFloatConvKernels* k = bfloat_conv_kernels();
  if (k == nullptr || !image(x) || !image(dy) || dw.dtype != DType::BF16 || x.shape[1] % kLanes != 0 ||
      dy.shape[1] % kOutputs != 0 || dw.shape[1] != x.shape[1])
    return nullptr;
  const Shapes s = shapes_of(x.shape, dy.shape, dw.shape, window);
  const Product product(*k, s);
  const int parts = useful_threads(threads, dy.numel());
  const std::size_t cleared = dw.physical_numel() != dw.numel() ? dw.bytes() : 0;  // padding of blocks
  const Places places(dw);
  if (product.items() * product.item_sums() * 4 <= kSums)
    return split_images(*k, s, product, places, parts, cleared);
  return split_channels(*k, s, product, places, parts, cleared);
}

}  // namespace ingot::cpu
