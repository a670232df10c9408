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
constexpr std::int64_t kCached = 24 * 1024;  // bytes of packed x that stay in the first-level cache

// Images as they are packed. Where a window has one cell, pixels that no window touches are left out.
struct Shapes {
  std::int64_t n = 0, pairs = 0;
  std::int64_t c = 0, h = 0, w = 0, o = 0, oh = 0, ow = 0, kh = 0, kw = 0;
  Window window{};
  std::array<std::int64_t, 2> skip{1, 1};  // pixels of x between neighbours in packed x
  std::int64_t rows = 0, columns = 0;      // of packed x
  std::int64_t x_blocks = 0, dy_blocks = 0;

  std::int64_t x_block() const { return odd_lines(pairs * rows * columns * 2 * kLanes); }
  std::int64_t dy_block() const { return odd_lines(pairs * oh * ow * 2 * kOutputs); }

  // An odd number of cache lines: packing writes all blocks side by side, and at a multiple of 4096 bytes
  // they would fight for the same ways of the cache.
  static std::int64_t odd_lines(std::int64_t elements) { return ((elements + 31) / 32 | 1) * 32; }
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
  s.rows = (s.oh - 1) * window.stride[0] + (s.kh - 1) * window.dilation[0] + 1;
  s.columns = (s.ow - 1) * window.stride[1] + (s.kw - 1) * window.dilation[1] + 1;
  s.x_blocks = s.c / kLanes, s.dy_blocks = s.o / kOutputs;
  return s;
}

// One row of all pairs' rows, zeros where there is no pixel.
void pack_x_row(const BFloatConvKernels& k, const Shapes& s, const u16* x, std::int64_t row, u16* packed) {
  const std::int64_t pair = row / s.rows;
  const std::int64_t h = row % s.rows * s.skip[0] - s.window.padding[0];
  const u16* a = x + (2 * pair * s.h + h) * s.w * s.c;
  const u16* b = 2 * pair + 1 < s.n ? a + s.h * s.w * s.c : nullptr;
  u16* to = packed + row * s.columns * 2 * kLanes;
  for (std::int64_t j = 0; j < s.columns; ++j, to += 2 * kLanes) {
    const std::int64_t w = j * s.skip[1] - s.window.padding[1];
    if (h >= 0 && h < s.h && w >= 0 && w < s.w)
      k.pack_x(a + w * s.c, b == nullptr ? nullptr : b + w * s.c, s.c, to, s.x_block());
    else
      for (std::int64_t block = 0; block < s.x_blocks; ++block)
        std::fill_n(to + block * s.x_block(), 2 * kLanes, u16{0});
  }
}

void pack_dy_row(const BFloatConvKernels& k, const Shapes& s, const u16* dy, std::int64_t row, u16* packed) {
  const std::int64_t pair = row / s.oh, h = row % s.oh, image_size = s.oh * s.ow * s.o;
  const u16* a = dy + 2 * pair * image_size + h * s.ow * s.o;
  const u16* b = 2 * pair + 1 < s.n ? a + image_size : nullptr;
  u16* to = packed + row * s.ow * 2 * kOutputs;
  for (std::int64_t j = 0; j < s.ow; ++j, to += 2 * kOutputs)
    k.pack_dy(a + j * s.o, b == nullptr ? nullptr : b + j * s.o, s.o, to, s.dy_block());
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

// A part's share: a range of (block of x's channels or group of such, block of dy's channels).
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
  // Sums of one group: [block of dy][kh][vector][...]
  std::int64_t sums() const { return s_.dy_blocks * s_.kh * group_vectors() * kOutputs * kLanes; }

  void run(std::int64_t begin, std::int64_t end, const u16* x, const u16* dy, float* sums,
           const Places& places, u16* dw) const {
    while (begin < end) {
      const std::int64_t g = begin / s_.dy_blocks, first = begin % s_.dy_blocks;
      const std::int64_t last = std::min(s_.dy_blocks, first + end - begin);
      const auto& group = groups_[static_cast<std::size_t>(g)];
      const std::int64_t count = (last - first) * s_.kh * vectors_of(group);
      std::fill_n(sums, count * kOutputs * kLanes, 0.0f);
      add(group, first, last, x, dy, sums);
      write(group, first, last, sums, places, dw);
      begin += last - first;
    }
  }

 private:
  using Group = std::vector<Vectors>;

  static std::int64_t vectors_of(const Group& g) {
    std::int64_t n = 0;
    for (const Vectors& v : g) n += v.count;
    return n;
  }
  std::int64_t group_vectors() const { return vectors_of(groups_.front()); }

  void add(const Group& group, std::int64_t first, std::int64_t last, const u16* x, const u16* dy,
           float* sums) const {
    const std::int64_t sh = s_.window.stride[0];
    PairedPixels p;
    p.x_column = s_.window.stride[1] * 2 * kLanes;
    p.x_row = s_.columns * sh * 2 * kLanes;
    p.x_pair = s_.rows * s_.columns * 2 * kLanes;
    p.dy_row = s_.ow * 2 * kOutputs;
    p.dy_pair = s_.oh * p.dy_row;
    p.columns = s_.ow;
    // As many rows at a time, or pairs of images, as leave x in the first-level cache.
    const std::int64_t row_bytes = s_.columns * 4 * kLanes * (s_.kw == 1 ? 2 : 1);
    const std::int64_t cached = std::max<std::int64_t>(1, kCached / row_bytes);
    const std::int64_t pairs = std::clamp<std::int64_t>(cached / s_.rows, 1, s_.pairs);
    const std::int64_t halo = (s_.kh - 1) * s_.window.dilation[0];
    const std::int64_t rows =
        cached >= s_.rows ? s_.oh : std::clamp<std::int64_t>((cached - halo) / sh, 1, s_.oh);
    for (std::int64_t pair = 0; pair < s_.pairs; pair += pairs)
      for (std::int64_t row = 0; row < s_.oh; row += rows) {
        p.pairs = std::min(pairs, s_.pairs - pair);
        p.rows = std::min(rows, s_.oh - row);
        float* to = sums;
        for (std::int64_t b = first; b < last; ++b) {
          const u16* d = dy + b * s_.dy_block() + pair * p.dy_pair + row * p.dy_row;
          for (std::int64_t a = 0; a < s_.kh; ++a) {
            const u16* from =
                x + pair * p.x_pair + row * p.x_row + a * s_.window.dilation[0] * s_.columns * 2 * kLanes;
            for (const Vectors& v : group) {
              std::int64_t offset[BFloatPairs::kMaxVectors];
              for (int i = 0; i < v.count; ++i)
                offset[i] = s_.kw == 1
                                ? (v.block + i) * s_.x_block()
                                : v.block * s_.x_block() + (v.kw + i) * s_.window.dilation[1] * 2 * kLanes;
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

}  // namespace

std::unique_ptr<Step> make_bfloat_grad_weight(const TensorType& x, const TensorType& dy, const TensorType& dw,
                                              Window window, int threads) {
  const BFloatConvKernels* k = bfloat_conv_kernels();
  if (k == nullptr || !image(x) || !image(dy) || dw.dtype != DType::BF16 || x.shape[1] % kLanes != 0 ||
      dy.shape[1] % kOutputs != 0 || dw.shape[1] != x.shape[1])
    return nullptr;
  const Shapes s = shapes_of(x.shape, dy.shape, dw.shape, window);
  const Product product(*k, s);
  const Places places(dw);
  const int parts = useful_threads(threads, dy.numel());
  const std::size_t cleared = dw.physical_numel() != dw.numel() ? dw.bytes() : 0;  // padding of blocks
  const auto carve = [=, sums = product.sums()](Workspace& w) {
    struct {
      u16 *x, *dy;
      float* sums;
    } space{w.take<u16>(s.x_blocks * s.x_block()), w.take<u16>(s.dy_blocks * s.dy_block()),
            w.take<float>(parts * sums)};
    return space;
  };
  Workspace measure(nullptr);
  carve(measure);
  return make_step(
      "bf16:pairs",
      [=](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const auto space = carve(w);
        const auto *from = static_cast<const u16*>(in[0]), *grad = static_cast<const u16*>(in[1]);
        if (cleared != 0) std::memset(out[0], 0, cleared);
        const std::int64_t x_rows = s.pairs * s.rows, dy_rows = s.pairs * s.oh;
        parallel_ranges(parts, x_rows, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) pack_x_row(*k, s, from, r, space.x);
        });
        parallel_ranges(parts, dy_rows, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) pack_dy_row(*k, s, grad, r, space.dy);
        });
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(product.items(), part, parts);
          product.run(r.begin, r.end, space.x, space.dy, space.sums + part * product.sums(), places,
                      static_cast<u16*>(out[0]));
        });
      },
      measure.used());
}

}  // namespace ingot::cpu
