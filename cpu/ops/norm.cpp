// Batch norm by the passes of cpu/ops/norm_passes.h.
//
// Statistics: sums of x - s and (x - s)^2 in one pass, with s the channel's first value; then one pass
// applies scale and shift, the residual and the ReLU. The gradient likewise reads its operands twice. In f32,
// where it has two of them to add, or hands the masked gradient on, that is made in the first pass, a stretch
// at a time, and read again; in bf16 two are added in registers in both passes, and their sum is never
// rounded.
#include "core/ops/norm.h"

#include <array>
#include <cmath>

#include "core/ops/activation.h"
#include "cpu/ops/norm_passes.h"

namespace ingot::cpu {

using namespace norm;

namespace {

// Floats that are added up before their sums: they stay in the first cache. Where a period is long, as many
// as make little of what each call has to do once a period; these stay in the second.
constexpr std::int64_t kStretch = 2048, kStretchPeriods = 32;

// Tables that leave elements as they are.
constexpr std::int64_t kUnit = 64;
constexpr auto kZeros = std::array<float, kUnit>{};
constexpr auto kOnes = [] {
  auto a = kZeros;
  a.fill(1.0f);
  return a;
}();

std::int64_t valid_rows(const Geometry& g, const void* valid) {
  return valid == nullptr ? g.rows
                          : std::clamp<std::int64_t>(*static_cast<const std::int32_t*>(valid), 0, g.rows);
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const auto& at = p.attrs<BatchNormAttrs>();
  Geometry g;
  const auto m = Images::of(p, 0);
  if (!m || !geometry_of(p.in(0), g) || !same_place(p.in(0), p.out(0))) return nullptr;
  const int residual_at = at.has_residual ? 5 + at.has_valid : -1;
  if (at.has_residual && !same_place(p.in(0), p.in(residual_at))) return nullptr;
  const Cut cut = cut_of(clip_of(p.node.op, at.activation));
  const bool has_valid = at.has_valid;
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
                            t[1], cut);
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
  const Activation act = clip_of(p.node.op, at.activation);
  const bool relu = !act.none(), has_valid = at.has_valid, has_residual = at.has_residual;
  const int dy2_at = at.has_dy2 ? p.num_inputs() - 1 : -1;
  if (at.has_dy2 && !same_place(p.in(1), p.in(dy2_at))) return nullptr;
  // A stretch's mask is made before it is used where y is not at hand, or not positive where it counts.
  const bool from_x = at.mask_from_x, made = from_x || act.has_top();
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
  sizes.take<float>(made ? stretch * parts : 0);
  return make_step(
      m->kernel_name(g, at.has_dy2 ? "two:" : ""),
      [=, m = *m, &k = m->kernels()](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const Buffers b = Buffers::carve(w, g, parts);
        float *const stretches = w.take<float>(added), *const masks =
                                                           w.take<float>(made ? stretch * parts : 0);
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto o = [&](int i) { return static_cast<float*>(out[i]); };
        const void *dy = in[0], *x = in[1], *y = relu && !from_x ? in[y_at] : nullptr;
        const void* dy2 = dy2_at < 0 ? nullptr : in[dy2_at];
        void* dr = has_residual ? out[3] : nullptr;
        // What masks a stretch: y, or what it was before the activation, computed again; 0 where that has a
        // top and y reached it.
        const Cut mask_cut = mask_cut_of(act);
        const auto mask_of = [&](std::int64_t i, std::int64_t length, float* const* t,
                                 int part) -> const void* {
          if (!made) return m.at(y, i);
          float* const to = masks + part * stretch;
          if (from_x)
            k.scale_shift(m.at(x, i), nullptr, to, length, g.period, t[1], t[2], mask_cut);
          else
            k.scale_shift(m.at(y, i), nullptr, to, length, kUnit, kOnes.data(), kZeros.data(), mask_cut);
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
          if (!made) return use(first, n, m.at(y, first));
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
                       else if (made)
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
              else if (made)
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
std::unique_ptr<Step> lower_given(const Problem& p, bool has_valid, int residual_at, const Cut& cut,
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
                            m.at(out[0], first), n, g.period, t[0], t[1], cut);
            },
            no_after);
        m.zero_rows(g, out[0], rows);
      },
      workspace_bytes(g, parts), std::move(in_place));
}

std::unique_ptr<Step> lower_infer(const Problem& p) {
  return lower_given(p, false, -1, {}, [eps = p.attrs<BatchNormInferAttrs>().eps](double gamma, double var) {
    return gamma / std::sqrt(var + eps);
  });
}
std::unique_ptr<Step> lower_apply(const Problem& p) {
  const auto& at = p.attrs<BatchNormApplyAttrs>();
  return lower_given(p, at.has_valid, at.has_residual ? 5 + at.has_valid : -1,
                     cut_of(clip_of(p.node.op, at.activation)),
                     [](double gamma, double rstd) { return gamma * rstd; });
}

}  // namespace

void add_norm(LoweringTable& table) {
  table.add("batch_norm", {.lower = lower_forward, .layouts = forward_layouts});
  table.add("batch_norm_grad", {.lower = lower_grad, .layouts = grad_layouts});
  table.add("batch_norm_apply", {.lower = lower_apply, .layouts = forward_layouts});
  table.add("batch_norm_infer", {.lower = lower_infer, .layouts = forward_layouts});
}

}  // namespace ingot::cpu
