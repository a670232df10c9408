// Layer norm on f32 rows. The gradients of gamma and beta are summed per thread and added in order.
#include <algorithm>
#include <cmath>

#include "core/ops/norm.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

bool plain_f32(const Problem& p) {
  const auto fits = [](const TensorType& t) {
    return t.dtype == DType::F32 && t.layout.canonical().is_row_major();
  };
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!fits(p.in(i))) return false;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!fits(p.out(i))) return false;
  return true;
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const std::int64_t rows = p.out(1).numel(), cells = p.in(1).numel();
  if (!plain_f32(p) || cells == 0) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  const double eps = p.attrs<LayerNormAttrs>().eps;
  return make_step(cat("rows:", name(cpu_level())),
                   [=, &k](void* const* in, void* const* out, void*) {
                     const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
                     const auto o = [&](int i) { return static_cast<float*>(out[i]); };
                     parallel_ranges(parts, rows, 1, [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t r = begin; r < end; ++r) {
                         const float* x = f(0) + r * cells;
                         const double n = static_cast<double>(cells), mean = k.sum(x, cells) / n;
                         const auto shift = static_cast<float>(mean);
                         const double off = mean - static_cast<double>(shift);
                         const double var = std::max(k.sum_squares(x, cells, shift) / n - off * off, 0.0);
                         const auto rstd = static_cast<float>(1.0 / std::sqrt(var + eps));
                         k.layer_norm(x, cells, shift, rstd, f(1), f(2), o(0) + r * cells);
                         o(1)[r] = shift;
                         o(2)[r] = rstd;
                       }
                     });
                   },
                   0, {{0, 0}});
}

std::unique_ptr<Step> lower_grad(const Problem& p) {
  const std::int64_t rows = p.in(3).numel(), cells = p.in(2).numel();
  if (!plain_f32(p) || cells == 0) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  Workspace measure(nullptr);
  measure.take<float>(2 * cells * parts);
  return make_step(cat("rows:", name(cpu_level())),
                   [=, &k](void* const* in, void* const* out, void* workspace) {
                     const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
                     const auto o = [&](int i) { return static_cast<float*>(out[i]); };
                     auto* sums = static_cast<float*>(workspace);  // per thread dgamma, dbeta
                     parallel_parts(parts, [&](int part) {
                       float *dgamma = sums + 2 * part * cells, *dbeta = dgamma + cells;
                       std::fill_n(dgamma, 2 * cells, 0.0f);
                       const Range range = part_of(rows, part, parts);
                       for (std::int64_t r = range.begin; r < range.end; ++r) {
                         const float *dy = f(0) + r * cells, *x = f(1) + r * cells;
                         const float mean = f(3)[r], rstd = f(4)[r];
                         double a = 0.0, b = 0.0;
                         k.layer_norm_grad_stats(dy, x, cells, mean, rstd, f(2), dgamma, dbeta, &a, &b);
                         const double n = static_cast<double>(cells);
                         k.layer_norm_grad_apply(dy, x, cells, mean, rstd, f(2), static_cast<float>(a / n),
                                                 static_cast<float>(b / n), o(0) + r * cells);
                       }
                     });
                     for (std::int64_t i = 0; i < cells; ++i) {
                       double dgamma = 0.0, dbeta = 0.0;
                       for (int part = 0; part < parts; ++part) {
                         dgamma += static_cast<double>(sums[2 * part * cells + i]);
                         dbeta += static_cast<double>(sums[(2 * part + 1) * cells + i]);
                       }
                       o(1)[i] = static_cast<float>(dgamma);
                       o(2)[i] = static_cast<float>(dbeta);
                     }
                   },
                   measure.used(), {{0, 0}, {1, 0}});
}

}  // namespace

void add_layer_norm(LoweringTable& table) {
  table.add("layer_norm", {.lower = lower_forward});
  table.add("layer_norm_grad", {.lower = lower_grad});
}

}  // namespace ingot::cpu
