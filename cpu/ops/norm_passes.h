// Passes over images whose channels are normalised, in f32 and bf16 (parameters and statistics in f32),
// native in channels-last memory and in row-major memory: what batch norm and group norm share.
//
// Channels-last (and rank 2) tensors are n numbers whose position e belongs to channel e % C. Tables per
// channel are repeated to a period that fills whole vectors, so that 16 or 3 channels run as fast as 64.
// Threads take contiguous ranges; their sums, in double, are added in the order of the threads. Row-major
// images are one plane per (image, channel), and threads take channels.
//
//   Geometry g;
//   if (!geometry_of(p.in(0), g)) return nullptr;
//   const Buffers b = Buffers::carve(workspace, g, parts);
//   channel_sums(g, b, parts, g.rows, 1, add);      // into b.sum and b.sq
//   for_pieces(g, b, parts, g.rows, 2, apply, no_after);
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/half.h"
#include "core/ops/activation.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"
#include "cpu/workspace.h"

// Of its own: names as short as these mean other things elsewhere.
namespace ingot::cpu::norm {

inline constexpr std::int64_t kTile = 64;  // the period that the kernels hold in registers
inline constexpr int kTables = 5;

// How the channels of x[N, C, ...] lie in memory.
struct Geometry {
  std::int64_t rows = 0, channels = 0, pixels = 1;  // N, C, the rest
  bool inner = true;                                // channels innermost
  std::int64_t period = 1;                          // of the tables; a multiple of C when `inner`

  std::int64_t row_elements() const { return channels * pixels; }
};

inline bool geometry_of(const TensorType& t, Geometry& g) {
  if (t.shape.rank() < 2 || t.layout.is_blocked()) return false;
  g.rows = t.shape[0];
  g.channels = t.shape[1];
  for (int d = 2; d < t.shape.rank(); ++d) g.pixels *= t.shape[d];
  const Layout layout = t.layout.canonical();
  g.inner = layout == Layout::channels_last(t.shape.rank()).canonical() || g.pixels == 1;
  if (!g.inner && !layout.is_row_major()) return false;
  if (g.channels <= 0) return false;
  if (!g.inner || kTile % g.channels == 0)
    g.period = kTile;
  else if (g.channels < kTile)
    g.period = std::lcm(g.channels, std::int64_t{16});
  else
    g.period = g.channels;
  return true;
}

inline bool same_place(const TensorType& a, const TensorType& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.layout.canonical() == b.layout.canonical();
}

struct Buffers {
  float* values[kTables];  // one number per channel
  float* tables[kTables];  // one period; per thread when channels are outer
  double *sum, *sq;        // totals per channel
  double *thread_sum, *thread_sq;
  float* thread_scratch;

  static Buffers carve(Workspace& w, const Geometry& g, int threads) {
    Buffers b{};
    for (float*& v : b.values) v = w.take<float>(g.channels);
    for (float*& t : b.tables) t = w.take<float>(g.period * (g.inner ? 1 : threads));
    b.sum = w.take<double>(g.channels);
    b.sq = w.take<double>(g.channels);
    b.thread_sum = w.take<double>(g.period * threads);
    b.thread_sq = w.take<double>(g.period * threads);
    b.thread_scratch = w.take<float>(2 * g.period * threads);
    return b;
  }
};

inline std::size_t workspace_bytes(const Geometry& g, int threads) {
  Workspace w(nullptr);
  Buffers::carve(w, g, threads);
  return w.used();
}

// Calls piece(offset, n, tables, part) for contiguous pieces of the first `rows` rows, with the first
// `tables` tables filled from b.values; after(channel, part) follows the pieces of one channel when channels
// are outer.
template <class Piece, class After>
void for_pieces(const Geometry& g, const Buffers& b, int parts, std::int64_t rows, int tables,
                const Piece& piece, const After& after) {
  if (g.inner) {
    for (int t = 0; t < tables; ++t)
      for (std::int64_t at = 0; at < g.period; at += g.channels)
        std::copy_n(b.values[t], g.channels, b.tables[t] + at);
    const std::int64_t n = rows * g.row_elements();
    parallel_parts(parts, [&](int part) {
      const Range r = part_of(n, part, parts, g.period);
      piece(r.begin, r.end - r.begin, b.tables, part);
    });
    return;
  }
  parallel_parts(parts, [&](int part) {
    float* mine[kTables];
    for (int t = 0; t < kTables; ++t) mine[t] = b.tables[t] + part * g.period;
    const Range channels = part_of(g.channels, part, parts);
    for (std::int64_t c = channels.begin; c < channels.end; ++c) {
      for (int t = 0; t < tables; ++t) std::fill_n(mine[t], g.period, b.values[t][c]);
      for (std::int64_t r = 0; r < rows; ++r) piece((r * g.channels + c) * g.pixels, g.pixels, mine, part);
      after(c, part);
    }
  });
}

// Two sums per channel into b.sum and b.sq. add(offset, n, tables, sum, sq, scratch, part) adds a piece's.
template <class Add>
void channel_sums(const Geometry& g, const Buffers& b, int parts, std::int64_t rows, int tables,
                  const Add& add) {
  const auto clear = [&](int part) {
    std::fill_n(b.thread_sum + part * g.period, g.period, 0.0);
    std::fill_n(b.thread_sq + part * g.period, g.period, 0.0);
  };
  for (int part = 0; part < parts; ++part) clear(part);
  for_pieces(
      g, b, parts, rows, tables,
      [&](std::int64_t at, std::int64_t n, float* const* filled, int part) {
        add(at, n, filled, b.thread_sum + part * g.period, b.thread_sq + part * g.period,
            b.thread_scratch + 2 * part * g.period, part);
      },
      [&](std::int64_t c, int part) {
        b.sum[c] = std::accumulate(b.thread_sum + part * g.period, b.thread_sum + (part + 1) * g.period, 0.0);
        b.sq[c] = std::accumulate(b.thread_sq + part * g.period, b.thread_sq + (part + 1) * g.period, 0.0);
        clear(part);
      });
  if (!g.inner) return;
  std::fill_n(b.sum, g.channels, 0.0);
  std::fill_n(b.sq, g.channels, 0.0);
  for (std::int64_t at = 0; at < parts * g.period; at += g.channels)
    for (std::int64_t c = 0; c < g.channels; ++c) {
      b.sum[c] += b.thread_sum[at + c];
      b.sq[c] += b.thread_sq[at + c];
    }
}

// What the kernels do for an activation, and what they make of its operand where they look for its mask.
inline Cut cut_of(const Activation& a) {
  if (a.none()) return {};
  return {.least = 0.0f, .most = static_cast<float>(a.most)};
}
inline Cut mask_cut_of(const Activation& a) {
  Cut cut{.to_zero = true};
  cut.most = static_cast<float>(a.most);
  return cut;
}

inline void no_after(std::int64_t, int) {}

// The images of one step, in elements of their type.
class Images {
 public:
  // Nothing where a level has no kernels for the type, or what is not an image is not f32: an op in half
  // precision throughout goes another way.
  static std::optional<Images> of(const Problem& p, int image) {
    for (int i = 0; i < p.num_inputs(); ++i) {
      const TensorType& t = p.in(i);
      if (t.dtype != DType::F32 && t.dtype != DType::I32 && t.shape != p.in(image).shape) return std::nullopt;
    }
    return of_type(p.in(image).dtype);
  }
  static std::optional<Images> of_type(DType type) {
    const RowKernels& k = row_kernels(cpu_level());
    if (type == DType::F32) return Images(k.norm_f32, type);
    if (type == DType::BF16 && k.norm_bf16.stats != nullptr) return Images(k.norm_bf16, type);
    return std::nullopt;
  }

  const NormKernels& kernels() const { return *kernels_; }
  const void* at(const void* image, std::int64_t element) const {
    return image == nullptr ? nullptr : static_cast<const std::byte*>(image) + element * size_;
  }
  void* at(void* image, std::int64_t element) const {
    return image == nullptr ? nullptr : static_cast<std::byte*>(image) + element * size_;
  }
  std::int64_t bytes(std::int64_t elements) const { return elements * size_; }
  float get(const void* image, std::int64_t element) const {
    const void* from = at(image, element);
    return bf16_ ? static_cast<const bf16*>(from)->to_float() : *static_cast<const float*>(from);
  }
  void zero_rows(const Geometry& g, void* image, std::int64_t from) const {
    const std::int64_t rest = (g.rows - from) * g.row_elements() * size_;
    if (rest != 0) std::memset(at(image, from * g.row_elements()), 0, static_cast<std::size_t>(rest));
  }
  std::string kernel_name(const Geometry& g, std::string_view of = "") const {
    return cat(bf16_ ? "bf16:" : "", g.inner ? "rows:" : "planes:", of, name(cpu_level()));
  }

 private:
  Images(const NormKernels& kernels, DType type)
      : kernels_(&kernels), size_(static_cast<std::int64_t>(size_of(type))), bf16_(type == DType::BF16) {}
  const NormKernels* kernels_;
  std::int64_t size_;
  bool bf16_;
};

inline Backend::Layouts layouts_like(const Problem& p, int model) {
  const TensorType& x = p.in(model);
  Geometry g;
  const Layout layout = geometry_of(x, g) ? x.layout : Layout::channels_last(x.shape.rank());
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i)
    l.inputs.push_back(p.in(i).shape == x.shape && x.shape.rank() > 1 ? layout : Layout::row_major());
  for (int i = 0; i < p.num_outputs(); ++i)
    l.outputs.push_back(p.out(i).shape == x.shape && x.shape.rank() > 1 ? layout : Layout::row_major());
  return l;
}
inline Backend::Layouts forward_layouts(const Problem& p, const std::vector<bool>&) {
  return layouts_like(p, 0);
}
inline Backend::Layouts grad_layouts(const Problem& p, const std::vector<bool>&) {
  return layouts_like(p, 1);
}

}  // namespace ingot::cpu::norm
