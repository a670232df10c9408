// Group norm: the passes of batch norm over one image at a time, whose channels' sums are joined by groups.
#include "core/ops/group_norm.h"

#include <cmath>
#include <utility>

#include "cpu/ops/norm_passes.h"

namespace ingot::cpu {

using namespace norm;

namespace {

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
                              t[0], t[1], {});
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

void add_group_norm(LoweringTable& table) {
  table.add("group_norm", {.lower = lower_group_norm, .layouts = forward_layouts});
  table.add("group_norm_grad", {.lower = lower_group_norm_grad, .layouts = grad_layouts});
}

}  // namespace ingot::cpu
