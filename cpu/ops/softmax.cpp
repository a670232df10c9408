// Softmax, its logarithm, cross entropy and their gradients on f32 rows (the classes innermost).
#include "core/ops/softmax.h"

#include <atomic>
#include <cmath>

#include "core/ops/loss.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"

namespace ingot::cpu {

namespace {

std::string rows_kernel() {
  return cat("rows:", name(cpu_level()));
}

bool plain(const TensorType& t, DType dtype = DType::F32) {
  return t.dtype == dtype && t.layout.canonical().is_row_major();
}

// Rows of the last axis; declines another axis.
bool rows_of(const Problem& p, std::int64_t& rows, std::int64_t& width) {
  const TensorType& x = p.in(0);
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!plain(p.in(i))) return false;
  const int axis = x.shape.normalize_axis(static_cast<int>(p.attrs<SoftmaxAttrs>().axis));
  if (!plain(p.out()) || axis != x.shape.rank() - 1 || x.numel() == 0) return false;
  width = x.shape[axis];
  rows = x.numel() / width;
  return true;
}

// row(row index, offset) for every row.
template <class Row>
void each_row(int parts, std::int64_t rows, std::int64_t width, const Row& row) {
  parallel_ranges(parts, rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) row(r, r * width);
  });
}

template <bool logarithm>
std::unique_ptr<Step> lower_softmax(const Problem& p) {
  std::int64_t rows = 0, width = 0;
  if (!rows_of(p, rows, width)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, 4 * rows * width);
  return make_step(rows_kernel(),
                   [=, &k](void* const* in, void* const* out, void*) {
                     each_row(parts, rows, width, [&](std::int64_t, std::int64_t at) {
                       const float* x = static_cast<const float*>(in[0]) + at;
                       float* y = static_cast<float*>(out[0]) + at;
                       const float top = k.max(x, width);
                       if constexpr (logarithm) {
                         const double total = k.exp_sum_only(x, width, top);
                         // Two subtractions: one of top + log(total) would round away small logarithms.
                         k.affine(x, width, 1.0f, -top, y);
                         k.affine(y, width, 1.0f, static_cast<float>(-std::log(total)), y);
                       } else {
                         const double total = k.exp_sum(x, width, top, y);
                         k.affine(y, width, static_cast<float>(1.0 / total), 0.0f, y);
                       }
                     });
                   },
                   0, {{0, 0}});
}

template <bool logarithm>
std::unique_ptr<Step> lower_softmax_grad(const Problem& p) {
  std::int64_t rows = 0, width = 0;
  if (!rows_of(p, rows, width)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, 4 * rows * width);
  return make_step(rows_kernel(),
                   [=, &k](void* const* in, void* const* out, void*) {
                     each_row(parts, rows, width, [&](std::int64_t, std::int64_t at) {
                       const float *dy = static_cast<const float*>(in[0]) + at,
                                   *y = static_cast<const float*>(in[1]) + at;
                       float* dx = static_cast<float*>(out[0]) + at;
                       if constexpr (logarithm)
                         k.log_softmax_grad(dy, y, width, static_cast<float>(k.sum(dy, width)), dx);
                       else
                         k.softmax_grad(dy, y, width, static_cast<float>(k.dot(dy, y, width)), dx);
                     });
                   },
                   0, {{0, 0}, {1, 0}});
}

constexpr std::int64_t kIgnored = -1;

struct Labels {
  const void* data;
  bool wide;
  std::int64_t ignore, classes;

  std::int64_t at(std::int64_t row) const {
    return wide ? static_cast<const std::int64_t*>(data)[row] : static_cast<const std::int32_t*>(data)[row];
  }
  bool ignored(std::int64_t row) const { return at(row) == ignore; }
  bool fits(std::int64_t row) const { return at(row) >= 0 && at(row) < classes; }
  // kIgnored, or the class; sets `bad` for a label outside the classes, since threads may not throw.
  std::int64_t operator()(std::int64_t row, std::atomic<bool>& bad) const {
    if (ignored(row)) return kIgnored;
    if (fits(row)) return at(row);
    bad.store(true, std::memory_order_relaxed);
    return kIgnored;
  }
  // Throws for the first row whose label made it bad.
  void check(const std::atomic<bool>& bad) const {
    if (!bad.load()) return;
    std::int64_t row = 0;
    while (ignored(row) || fits(row)) ++row;
    throw UsageError(bad_label_message(at(row), row, classes, ignore));
  }
};

bool labels_fit(const TensorType& t) {
  return plain(t, DType::I32) || plain(t, DType::I64);
}

std::unique_ptr<Step> lower_cross_entropy(const Problem& p) {
  if (!plain(p.in(0)) || !labels_fit(p.in(1)) || p.in(0).numel() == 0) return nullptr;
  const auto at = p.attrs<SoftmaxCrossEntropyAttrs>();
  const std::int64_t rows = p.in(0).shape[0], classes = p.in(0).shape[1];
  const bool wide = p.in(1).dtype == DType::I64;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, 4 * rows * classes);
  return make_step(rows_kernel(), [=, &k](void* const* in, void* const* out, void*) {
    const Labels labels{in[1], wide, at.ignore_index, classes};
    std::atomic<bool> bad{false};
    each_row(parts, rows, classes, [&](std::int64_t r, std::int64_t first) {
      const float* x = static_cast<const float*>(in[0]) + first;
      const float top = k.max(x, classes);
      const double lse = static_cast<double>(top) + std::log(k.exp_sum_only(x, classes, top));
      const std::int64_t label = labels(r, bad);
      double loss = 0.0;
      if (label != kIgnored) {
        loss = lse - (1.0 - at.label_smoothing) * static_cast<double>(x[label]);
        if (at.label_smoothing != 0.0)
          loss -= at.label_smoothing / static_cast<double>(classes) * k.sum(x, classes);
      }
      static_cast<float*>(out[0])[r] = static_cast<float>(loss);
      static_cast<float*>(out[1])[r] = static_cast<float>(lse);
    });
    labels.check(bad);
  });
}

std::unique_ptr<Step> lower_cross_entropy_grad(const Problem& p) {
  if (!plain(p.in(0)) || !plain(p.in(1)) || !labels_fit(p.in(2)) || !plain(p.in(3)) || p.in(1).numel() == 0)
    return nullptr;
  const auto at = p.attrs<SoftmaxCrossEntropyAttrs>();
  const std::int64_t rows = p.in(1).shape[0], classes = p.in(1).shape[1];
  const bool wide = p.in(2).dtype == DType::I64;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, 4 * rows * classes);
  return make_step(rows_kernel(),
                   [=, &k](void* const* in, void* const* out, void*) {
                     const Labels labels{in[2], wide, at.ignore_index, classes};
                     std::atomic<bool> bad{false};
                     each_row(parts, rows, classes, [&](std::int64_t r, std::int64_t first) {
                       const float* x = static_cast<const float*>(in[1]) + first;
                       float* dx = static_cast<float*>(out[0]) + first;
                       const float up = static_cast<const float*>(in[0])[r],
                                   lse = static_cast<const float*>(in[3])[r];
                       const std::int64_t label = labels(r, bad);
                       if (label == kIgnored) {
                         std::fill_n(dx, classes, 0.0f);
                         return;
                       }
                       k.scaled_exp(x, classes, lse, up, dx);
                       if (at.label_smoothing != 0.0)
                         k.affine(dx, classes, 1.0f,
                                  static_cast<float>(-static_cast<double>(up) * at.label_smoothing /
                                                     static_cast<double>(classes)),
                                  dx);
                       dx[label] -= up * static_cast<float>(1.0 - at.label_smoothing);
                     });
                     labels.check(bad);
                   },
                   0, {{1, 0}});
}

}  // namespace

void add_softmax(LoweringTable& table) {
  table.add("softmax", {.lower = lower_softmax<false>});
  table.add("log_softmax", {.lower = lower_softmax<true>});
  table.add("softmax_grad", {.lower = lower_softmax_grad<false>});
  table.add("log_softmax_grad", {.lower = lower_softmax_grad<true>});
  table.add("softmax_cross_entropy", {.lower = lower_cross_entropy});
  table.add("softmax_cross_entropy_grad", {.lower = lower_cross_entropy_grad});
}

}  // namespace ingot::cpu
