// Batch norm on images in f32 and bf16 (parameters and statistics in f32), native in channels-last memory and
// in row-major memory.
//
// Channels-last (and rank 2) tensors are n numbers whose position e belongs to channel e % C. Tables per
// channel are repeated to a period that fills whole vectors, so that 16 or 3 channels run as fast as 64.
// Threads take contiguous ranges; their sums, in double, are added in the order of the threads. Row-major
// images are one plane per (image, channel), and threads take channels.
//
// Statistics: sums of x - s and (x - s)^2 in one pass, with s the channel's first value; then one pass
// applies scale and shift, the residual and the ReLU. The gradient likewise reads its operands twice; where
// it has two of them to add, or hands the masked gradient on, that is made in the first pass, a stretch at a
// time, and read again.
#include "core/ops/norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "core/base/half.h"
#include "core/ops/group_norm.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

constexpr std::int64_t kTile = 64;  // the period that the kernels hold in registers
constexpr int kTables = 5;
// Floats that are added up before their sums: they stay in the first cache. Where a period is long, as many
// as make little of what each call has to do once a period; these stay in the second.
constexpr std::int64_t kStretch = 2048, kStretchPeriods = 32;

// How the channels of x[N, C, ...] lie in memory.
struct Geometry {
  std::int64_t rows = 0, channels = 0, pixels = 1;  // N, C, the rest
  bool inner = true;                                // channels innermost
  std::int64_t period = 1;                          // of the tables; a multiple of C when `inner`

  std::int64_t row_elements() const { return channels * pixels; }
};

bool geometry_of(const TensorType& t, Geometry& g) {
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

bool same_place(const TensorType& a, const TensorType& b) {
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

std::size_t workspace_bytes(const Geometry& g, int threads) {
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

void no_after(std::int64_t, int) {}

std::int64_t valid_rows(const Geometry& g, const void* valid) {
  return valid == nullptr ? g.rows
                          : std::clamp<std::int64_t>(*static_cast<const std::int32_t*>(valid), 0, g.rows);
}

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
    const RowKernels& k = row_kernels(cpu_level());
    const DType type = p.in(image).dtype;
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

Backend::Layouts layouts_like(const Problem& p, int model) {
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
Backend::Layouts forward_layouts(const Problem& p, const std::vector<bool>&) {
  return layouts_like(p, 0);
}
Backend::Layouts grad_layouts(const Problem& p, const std::vector<bool>&) {
  return layouts_like(p, 1);
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const auto& at = p.attrs<BatchNormAttrs>();
  Geometry g;
  const auto m = Images::of(p, 0);
  if (!m || !geometry_of(p.in(0), g) || !same_place(p.in(0), p.out(0))) return nullptr;
  const int residual_at = at.has_residual ? 5 + at.has_valid : -1;
  if (at.has_residual && !same_place(p.in(0), p.in(residual_at))) return nullptr;
  const bool relu = at.activation == "relu", has_valid = at.has_valid;
  if (!relu && !at.activation.empty()) return nullptr;
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  const double eps = at.eps, momentum = at.momentum;
  std::vector<std::array<int, 2>> in_place{{0, 0}, {3, 3}, {4, 4}};
  if (at.has_residual) in_place.push_back({residual_at, 0});
  return make_step(
      m->kernel_name(g),
      [=, m = *m, &k = m->kernels()](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const Buffers b = Buffers::carve(w, g, parts);
        const void* x = in[0];
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto o = [&](int i) { return static_cast<float*>(out[i]); };
        const std::int64_t rows = valid_rows(g, has_valid ? in[5] : nullptr);
        const double count = static_cast<double>(rows * g.pixels);
        for (std::int64_t c = 0; c < g.channels; ++c)
          b.values[0][c] = rows > 0 ? m.get(x, g.inner ? c : c * g.pixels) : 0.0f;
        channel_sums(
            g, b, parts, rows, 1,
            [&](std::int64_t first, std::int64_t n, float* const* t, double* sum, double* sq, float* scratch,
                int) { k.stats(m.at(x, first), n, g.period, t[0], sum, sq, scratch); });
        const double move = rows > 0 ? momentum : 0.0;
        for (std::int64_t c = 0; c < g.channels; ++c) {
          double mean = 0.0, m2 = 0.0;
          if (rows > 0) {
            const double offset = b.sum[c] / count;
            mean = static_cast<double>(b.values[0][c]) + offset;
            m2 = std::max(b.sq[c] - b.sum[c] * offset, 0.0);
          }
          const double var = rows > 0 ? m2 / count : 0.0, rstd = 1.0 / std::sqrt(var + eps);
          o(1)[c] = static_cast<float>(mean);
          o(2)[c] = static_cast<float>(rstd);
          o(3)[c] = static_cast<float>((1.0 - move) * static_cast<double>(f(3)[c]) + move * mean);
          o(4)[c] = static_cast<float>((1.0 - move) * static_cast<double>(f(4)[c]) +
                                       move * (m2 / std::max(count - 1.0, 1.0)));
          const double scale = static_cast<double>(f(1)[c]) * rstd;
          b.values[0][c] = static_cast<float>(scale);
          b.values[1][c] = static_cast<float>(static_cast<double>(f(2)[c]) - mean * scale);
        }
        const void* residual = residual_at < 0 ? nullptr : in[residual_at];
        for_pieces(
            g, b, parts, rows, 2,
            [&](std::int64_t first, std::int64_t n, float* const* t, int) {
              k.scale_shift(m.at(x, first), m.at(residual, first), m.at(out[0], first), n, g.period, t[0],
                            t[1], relu);
            },
            no_after);
        m.zero_rows(g, out[0], rows);
      },
      workspace_bytes(g, parts), in_place);
}

std::unique_ptr<Step> lower_grad(const Problem& p) {
  const auto& at = p.attrs<BatchNormGradAttrs>();
  Geometry g;
  const auto m = Images::of(p, 1);
  if (!m || !geometry_of(p.in(1), g) || !same_place(p.in(0), p.in(1)) || !same_place(p.in(1), p.out(0)))
    return nullptr;
  const bool relu = at.activation == "relu", has_valid = at.has_valid, has_residual = at.has_residual;
  const int dy2_at = at.has_dy2 ? p.num_inputs() - 1 : -1;
  if (!relu && !at.activation.empty()) return nullptr;
  if (at.has_dy2 && !same_place(p.in(1), p.in(dy2_at))) return nullptr;
  const bool from_x = at.mask_from_x;
  const int y_at = relu ? 5 + at.has_valid : -1;  // or beta's
  if (relu && !from_x && !same_place(p.in(1), p.in(y_at))) return nullptr;
  if (has_residual && !same_place(p.in(1), p.out(3))) return nullptr;
  const int parts = useful_threads(p.target.threads, p.in(1).numel());
  const std::int64_t stretch = std::max(kStretch / g.period, kStretchPeriods) * g.period;
  const bool wide = at.has_dy2 && m->kernels().grad_stats_two != nullptr;
  const std::int64_t added = at.has_dy2 && !has_residual && !wide ? stretch * parts : 0;
  Workspace sizes(nullptr);
  Buffers::carve(sizes, g, parts);
  sizes.take<float>(added);
  sizes.take<float>(from_x ? stretch * parts : 0);
  return make_step(
      m->kernel_name(g, at.has_dy2 ? "two:" : ""),
      [=, m = *m, &k = m->kernels()](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const Buffers b = Buffers::carve(w, g, parts);
        float *const stretches = w.take<float>(added), *const masks =
                                                           w.take<float>(from_x ? stretch * parts : 0);
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto o = [&](int i) { return static_cast<float*>(out[i]); };
        const void *dy = in[0], *x = in[1], *y = relu && !from_x ? in[y_at] : nullptr;
        const void* dy2 = dy2_at < 0 ? nullptr : in[dy2_at];
        void* dr = has_residual ? out[3] : nullptr;
        // What masks a stretch: y, or what it was before the ReLU, computed again.
        const auto mask_of = [&](std::int64_t i, std::int64_t length, float* const* t,
                                 int part) -> const void* {
          if (!from_x) return m.at(y, i);
          float* const to = masks + part * stretch;
          k.scale_shift(m.at(x, i), nullptr, to, length, g.period, t[1], t[2], false);
          return to;
        };
        const auto by_stretch = [&](std::int64_t first, std::int64_t n, const auto& use) {
          for (std::int64_t i = first; i < first + n; i += stretch) use(i, std::min(stretch, first + n - i));
        };
        // Calls use(at, length, gradient) for stretches of a piece, with the gradient added up in memory of
        // the stretch or of the residual's gradient.
        const auto summed = [&](std::int64_t first, std::int64_t n, float* const* t, int part,
                                const auto& use) {
          by_stretch(first, n, [&](std::int64_t i, std::int64_t length) {
            const void* mask = mask_of(i, length, t, part);
            void* const u = dr == nullptr ? stretches + part * stretch : m.at(dr, i);
            k.masked_sum(m.at(dy, i), m.at(dy2, i), mask, u, length);
            use(i, length, u);
          });
        };
        // Calls use(at, length, mask) for what is masked alike: all of a piece, or stretch by stretch.
        const auto both = [&](std::int64_t first, std::int64_t n, float* const* t, int part,
                              const auto& use) {
          if (!from_x) return use(first, n, m.at(y, first));
          by_stretch(first, n, [&](std::int64_t i, std::int64_t length) {
            use(i, length, mask_of(i, length, t, part));
          });
        };
        const std::int64_t rows = valid_rows(g, has_valid ? in[5] : nullptr);
        const double count = std::max(static_cast<double>(rows * g.pixels), 1.0);
        std::copy_n(f(3), g.channels, b.values[0]);
        for (std::int64_t c = 0; c < g.channels; ++c) {
          const double scale = static_cast<double>(f(2)[c]) * static_cast<double>(f(4)[c]);
          b.values[1][c] = static_cast<float>(scale);
          b.values[2][c] =
              from_x
                  ? static_cast<float>(static_cast<double>(f(y_at)[c]) - static_cast<double>(f(3)[c]) * scale)
                  : 0.0f;
        }
        const bool sums = dr != nullptr || dy2 != nullptr;
        channel_sums(g, b, parts, rows, from_x ? 3 : 1,
                     [&](std::int64_t first, std::int64_t n, float* const* t, double* sum, double* dot,
                         float* scratch, int part) {
                       const float* mean = t[0];
                       if (wide)
                         both(first, n, t, part, [&](std::int64_t i, std::int64_t length, const void* mask) {
                           k.grad_stats_two(m.at(dy, i), m.at(dy2, i), mask, m.at(x, i), length, g.period,
                                            mean, sum, dot, scratch);
                         });
                       else if (sums)
                         summed(first, n, t, part, [&](std::int64_t i, std::int64_t length, const void* u) {
                           k.grad_stats(u, nullptr, m.at(x, i), length, g.period, mean, sum, dot, scratch);
                         });
                       else if (from_x)
                         by_stretch(first, n, [&](std::int64_t i, std::int64_t length) {
                           k.grad_stats(m.at(dy, i), mask_of(i, length, t, part), m.at(x, i), length,
                                        g.period, mean, sum, dot, scratch);
                         });
                       else
                         k.grad_stats(m.at(dy, first), m.at(y, first), m.at(x, first), n, g.period, mean, sum,
                                      dot, scratch);
                     });
        for (std::int64_t c = 0; c < g.channels; ++c) {
          const double rstd = static_cast<double>(f(4)[c]), scale = static_cast<double>(f(2)[c]) * rstd;
          const double dbeta = b.sum[c], dgamma = b.sq[c] * rstd;
          b.values[3][c] = static_cast<float>(scale * rstd * dgamma / count);
          b.values[4][c] = static_cast<float>(scale * dbeta / count);
          o(1)[c] = static_cast<float>(dgamma);
          o(2)[c] = static_cast<float>(dbeta);
        }
        for_pieces(
            g, b, parts, rows, 5,
            [&](std::int64_t first, std::int64_t n, float* const* t, int part) {
              const auto apply = [&](const void* u, const void* mask, std::int64_t i, std::int64_t length) {
                k.grad_apply(u, mask, m.at(x, i), m.at(out[0], i), length, g.period, t[0], t[1], t[3], t[4]);
              };
              if (wide)
                both(first, n, t, part, [&](std::int64_t i, std::int64_t length, const void* mask) {
                  k.grad_apply_two(m.at(dy, i), m.at(dy2, i), mask, m.at(x, i), m.at(out[0], i), m.at(dr, i),
                                   length, g.period, t[0], t[1], t[3], t[4]);
                });
              else if (dr != nullptr)
                apply(m.at(dr, first), nullptr, first, n);
              else if (dy2 != nullptr)
                summed(first, n, t, part, [&](std::int64_t i, std::int64_t length, const void* u) {
                  apply(u, nullptr, i, length);
                });
              else if (from_x)
                by_stretch(first, n, [&](std::int64_t i, std::int64_t length) {
                  apply(m.at(dy, i), mask_of(i, length, t, part), i, length);
                });
              else
                apply(m.at(dy, first), m.at(y, first), first, n);
            },
            no_after);
        m.zero_rows(g, out[0], rows);
        if (dr != nullptr) m.zero_rows(g, dr, rows);
      },
      sizes.used(), op("batch_norm_grad").in_place(p.node.attrs, p.num_inputs()));
}

// x and an optional residual to y, with scale(c) and shift(c, scale) worked out from operands 1 to 4; operand
// 5 may say how many rows count.
template <class Scale>
std::unique_ptr<Step> lower_given(const Problem& p, bool has_valid, int residual_at, bool relu,
                                  const Scale& scale_of) {
  Geometry g;
  const auto m = Images::of(p, 0);
  if (!m || !geometry_of(p.in(0), g) || !same_place(p.in(0), p.out(0))) return nullptr;
  if (residual_at >= 0 && !same_place(p.in(0), p.in(residual_at))) return nullptr;
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  std::vector<std::array<int, 2>> in_place{{0, 0}};
  if (residual_at >= 0) in_place.push_back({residual_at, 0});
  return make_step(
      m->kernel_name(g),
      [=, m = *m, &k = m->kernels()](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const Buffers b = Buffers::carve(w, g, parts);
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const std::int64_t rows = valid_rows(g, has_valid ? in[5] : nullptr);
        for (std::int64_t c = 0; c < g.channels; ++c) {
          const double scale = scale_of(static_cast<double>(f(1)[c]), static_cast<double>(f(4)[c]));
          b.values[0][c] = static_cast<float>(scale);
          b.values[1][c] =
              static_cast<float>(static_cast<double>(f(2)[c]) - static_cast<double>(f(3)[c]) * scale);
        }
        for_pieces(
            g, b, parts, rows, 2,
            [&](std::int64_t first, std::int64_t n, float* const* t, int) {
              k.scale_shift(m.at(in[0], first), residual_at < 0 ? nullptr : m.at(in[residual_at], first),
                            m.at(out[0], first), n, g.period, t[0], t[1], relu);
            },
            no_after);
        m.zero_rows(g, out[0], rows);
      },
      workspace_bytes(g, parts), std::move(in_place));
}

std::unique_ptr<Step> lower_infer(const Problem& p) {
  return lower_given(p, false, -1, false,
                     [eps = p.attrs<BatchNormInferAttrs>().eps](double gamma, double var) {
                       return gamma / std::sqrt(var + eps);
                     });
}
std::unique_ptr<Step> lower_apply(const Problem& p) {
  const auto& at = p.attrs<BatchNormApplyAttrs>();
  return lower_given(p, at.has_valid, at.has_residual ? 5 + at.has_valid : -1, at.activation == "relu",
                     [](double gamma, double rstd) { return gamma * rstd; });
}

// ---- Group norm: the passes of batch norm over one image at a time, whose channels' sums are joined by
// groups.

struct GroupProblem {
  Geometry image;  // rows == 1
  std::int64_t images = 0, groups = 1;
  int outer = 1, inner = 1;  // threads over images, or where these are few within each
  std::size_t bytes = 0;     // of workspace for each of the outer ones
};

std::optional<GroupProblem> group_problem(const Problem& p, int x) {
  GroupProblem g;
  if (!geometry_of(p.in(x), g.image) || !same_place(p.in(x), p.in(0)) || !same_place(p.in(x), p.out(0)))
    return std::nullopt;
  g.images = std::exchange(g.image.rows, 1);
  g.groups = p.attrs<GroupNormAttrs>().groups;
  const int parts = useful_threads(p.target.threads, p.in(x).numel());
  (g.images >= parts ? g.outer : g.inner) = parts;
  Workspace sizes(nullptr);
  Buffers::carve(sizes, g.image, g.inner);
  sizes.take<double>(2 * g.image.channels);
  g.bytes = sizes.used();
  return g;
}

// Calls each(image, its first element, buffers, two doubles per channel of the thread).
template <class Each>
void for_images(const GroupProblem& g, void* workspace, const Each& each) {
  parallel_parts(g.outer, [&](int part) {
    Workspace w(static_cast<std::byte*>(workspace) + static_cast<std::size_t>(part) * g.bytes);
    const Buffers b = Buffers::carve(w, g.image, g.inner);
    auto* const totals = w.take<double>(2 * g.image.channels);
    std::fill_n(totals, 2 * g.image.channels, 0.0);
    const Range r = part_of(g.images, part, g.outer);
    for (std::int64_t i = r.begin; i < r.end; ++i) each(i, i * g.image.row_elements(), b, totals);
  });
}

std::unique_ptr<Step> lower_group_norm(const Problem& p) {
  const auto m = Images::of(p, 0);
  const auto g = group_problem(p, 0);
  if (!m || !g) return nullptr;
  return make_step(
      cat("groups:", m->kernel_name(g->image)),
      [g = *g, m = *m, &k = m->kernels(), eps = p.attrs<GroupNormAttrs>().eps](
          void* const* in, void* const* out, void* workspace) {
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto o = [&](int i) { return static_cast<float*>(out[i]); };
        const std::int64_t channels = g.image.channels, per_group = channels / g.groups;
        const auto pixels = static_cast<double>(g.image.pixels);
        for_images(g, workspace, [&](std::int64_t image, std::int64_t at, const Buffers& b, double*) {
          for (std::int64_t c = 0; c < channels; ++c)
            b.values[0][c] = m.get(in[0], at + (g.image.inner ? c : c * g.image.pixels));
          channel_sums(g.image, b, g.inner, 1, 1,
                       [&](std::int64_t first, std::int64_t n, float* const* t, double* sum, double* sq,
                           float* scratch, int) {
                         k.stats(m.at(in[0], at + first), n, g.image.period, t[0], sum, sq, scratch);
                       });
          for (std::int64_t group = 0; group < g.groups; ++group) {
            const std::int64_t begin = group * per_group, end = begin + per_group;
            const auto mean_of = [&](std::int64_t c) {
              return static_cast<double>(b.values[0][c]) + b.sum[c] / pixels;
            };
            double mean = 0.0, m2 = 0.0;
            for (std::int64_t c = begin; c < end; ++c) mean += mean_of(c);
            mean /= static_cast<double>(per_group);
            for (std::int64_t c = begin; c < end; ++c) {
              const double d = mean_of(c) - mean;
              m2 += std::max(b.sq[c] - b.sum[c] * b.sum[c] / pixels, 0.0) + d * d * pixels;
            }
            const double rstd = 1.0 / std::sqrt(m2 / (pixels * static_cast<double>(per_group)) + eps);
            o(1)[image * g.groups + group] = static_cast<float>(mean);
            o(2)[image * g.groups + group] = static_cast<float>(rstd);
            for (std::int64_t c = begin; c < end; ++c) {
              const double scale = static_cast<double>(f(1)[c]) * rstd;
              b.values[0][c] = static_cast<float>(scale);
              b.values[1][c] = static_cast<float>(static_cast<double>(f(2)[c]) - mean * scale);
            }
          }
          for_pieces(
              g.image, b, g.inner, 1, 2,
              [&](std::int64_t first, std::int64_t n, float* const* t, int) {
                k.scale_shift(m.at(in[0], at + first), nullptr, m.at(out[0], at + first), n, g.image.period,
                              t[0], t[1], false);
              },
              no_after);
        });
      },
      static_cast<std::size_t>(g->outer) * g->bytes, {{0, 0}});
}

std::unique_ptr<Step> lower_group_norm_grad(const Problem& p) {
  const auto m = Images::of(p, 1);
  const auto g = group_problem(p, 1);
  if (!m || !g) return nullptr;
  return make_step(
      cat("groups:", m->kernel_name(g->image)),
      [g = *g, m = *m, &k = m->kernels()](void* const* in, void* const* out, void* workspace) {
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const std::int64_t channels = g.image.channels, per_group = channels / g.groups;
        const auto count = static_cast<double>(per_group * g.image.pixels);
        for_images(g, workspace, [&](std::int64_t image, std::int64_t at, const Buffers& b, double* totals) {
          for (std::int64_t c = 0; c < channels; ++c) b.values[0][c] = f(3)[image * g.groups + c / per_group];
          channel_sums(g.image, b, g.inner, 1, 1,
                       [&](std::int64_t first, std::int64_t n, float* const* t, double* sum, double* dot,
                           float* scratch, int) {
                         k.grad_stats(m.at(in[0], at + first), nullptr, m.at(in[1], at + first), n,
                                      g.image.period, t[0], sum, dot, scratch);
                       });
          for (std::int64_t group = 0; group < g.groups; ++group) {
            const std::int64_t begin = group * per_group, end = begin + per_group;
            const auto rstd = static_cast<double>(f(4)[image * g.groups + group]);
            double sum = 0.0, dot = 0.0;
            for (std::int64_t c = begin; c < end; ++c) {
              sum += static_cast<double>(f(2)[c]) * b.sum[c];
              dot += static_cast<double>(f(2)[c]) * b.sq[c];
              totals[c] += b.sq[c] * rstd;
              totals[channels + c] += b.sum[c];
            }
            for (std::int64_t c = begin; c < end; ++c) {
              b.values[1][c] = static_cast<float>(static_cast<double>(f(2)[c]) * rstd);
              b.values[2][c] = static_cast<float>(rstd * rstd * rstd * dot / count);
              b.values[3][c] = static_cast<float>(rstd * sum / count);
            }
          }
          for_pieces(
              g.image, b, g.inner, 1, 4,
              [&](std::int64_t first, std::int64_t n, float* const* t, int) {
                k.grad_apply(m.at(in[0], at + first), nullptr, m.at(in[1], at + first),
                             m.at(out[0], at + first), n, g.image.period, t[0], t[1], t[2], t[3]);
              },
              no_after);
        });
        for (const int result : {1, 2})
          for (std::int64_t c = 0; c < channels; ++c) {
            double total = 0.0;
            for (int part = 0; part < g.outer; ++part) {
              Workspace w(static_cast<std::byte*>(workspace) + static_cast<std::size_t>(part) * g.bytes);
              Buffers::carve(w, g.image, g.inner);
              total += w.take<double>(2 * channels)[(result - 1) * channels + c];
            }
            static_cast<float*>(out[result])[c] = static_cast<float>(total);
          }
      },
      static_cast<std::size_t>(g->outer) * g->bytes, {{0, 0}, {1, 0}});
}

}  // namespace

void add_norm(LoweringTable& table) {
  table.add("group_norm", {.lower = lower_group_norm, .layouts = forward_layouts});
  table.add("group_norm_grad", {.lower = lower_group_norm_grad, .layouts = grad_layouts});
  table.add("batch_norm", {.lower = lower_forward, .layouts = forward_layouts});
  table.add("batch_norm_grad", {.lower = lower_grad, .layouts = grad_layouts});
  table.add("batch_norm_apply", {.lower = lower_apply, .layouts = forward_layouts});
  table.add("batch_norm_infer", {.lower = lower_infer, .layouts = forward_layouts});
}

}  // namespace ingot::cpu
