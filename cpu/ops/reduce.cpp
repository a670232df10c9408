// Reductions of f32 tensors in any layout without blocks, over any axes; results are row-major.
//
// Axes are brought into memory order and joined. When the innermost is reduced, each result is a sum over
// contiguous rows; when it is kept, whole columns are summed at once (channels-last [0, 2, 3] is one such
// block). Sums run in float over short runs and in double beyond; threads take results, or equal parts of the
// rows when there are few results, and their sums are added in order.
#include "core/ops/reduce.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/ir/walk.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

enum class Kind : std::uint8_t { Sum, Mean, Max, Min, Var };

struct Axis {
  std::int64_t size, in, out;
  bool reduced;
};

// Odometer over some axes: how far element `i` lies from the start on both sides.
struct Walk {
  std::vector<Axis> axes;
  std::int64_t count = 1;

  void add(const Axis& a) {
    axes.push_back(a);
    count *= a.size;
  }
  void offsets(std::int64_t i, std::int64_t& in, std::int64_t& out) const {
    in = out = 0;
    for (std::size_t d = axes.size(); d-- > 0;) {
      const std::int64_t k = i % axes[d].size;
      i /= axes[d].size;
      in += k * axes[d].in;
      out += k * axes[d].out;
    }
  }
};

struct Plan {
  Walk kept, reduced;  // outer axes
  Axis inner{1, 1, 0, true};
  std::int64_t rows = 1;   // inner kept: adjacent reduced rows of inner.size elements
  std::int64_t count = 1;  // elements per result
};

bool plan_of(const TensorType& x, const std::vector<bool>& reduced, const TensorType& y, bool keepdim,
             Plan& plan) {
  if (x.dtype != DType::F32 || y.dtype != DType::F32 || x.layout.is_blocked() || x.numel() == 0) return false;
  if (!y.layout.canonical().is_row_major()) return false;
  const auto in = strides_over(x, x.shape);
  const auto out_strides = y.shape.strides();
  std::vector<Axis> axes;
  int o = 0;
  for (int d = 0; d < x.shape.rank(); ++d) {
    const bool r = reduced[static_cast<std::size_t>(d)];
    const std::int64_t out = r ? 0 : out_strides[static_cast<std::size_t>(o)];
    if (!r || keepdim) ++o;
    if (r) plan.count *= x.shape[d];
    if (x.shape[d] != 1) axes.push_back({x.shape[d], in[static_cast<std::size_t>(d)], out, r});
  }
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.in > b.in; });
  std::vector<Axis> joined;
  for (const Axis& a : axes) {
    if (!joined.empty() && joined.back().reduced == a.reduced && joined.back().in == a.in * a.size &&
        (a.reduced || joined.back().out == a.out * a.size))
      joined.back() = {joined.back().size * a.size, a.in, a.out, a.reduced};
    else
      joined.push_back(a);
  }
  if (!joined.empty()) {
    plan.inner = joined.back();
    joined.pop_back();
  }
  if (!plan.inner.reduced && !joined.empty() && joined.back().reduced &&
      joined.back().in == plan.inner.size) {
    plan.rows = joined.back().size;
    joined.pop_back();
  }
  for (const Axis& a : joined) (a.reduced ? plan.reduced : plan.kept).add(a);
  return true;
}

float finish(Kind kind, double sum, std::int64_t count) {
  return static_cast<float>(kind == Kind::Mean ? sum / static_cast<double>(count) : sum);
}

std::string kernel_name(std::string_view what) {
  return cat(what, ":", name(cpu_level()));
}

// Innermost axis reduced: results one by one.
std::unique_ptr<Step> by_rows(const Problem& p, const Plan& plan, Kind kind, double correction) {
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  const std::int64_t n = plan.inner.size;
  // One result over one contiguous run: threads share the run.
  if (plan.kept.count == 1 && plan.reduced.count == 1 && kind != Kind::Var) {
    return make_step(
        kernel_name("rows"),
        [=, &k](void* const* in, void* const* out, void* workspace) {
          const auto* x = static_cast<const float*>(in[0]);
          auto* partial = static_cast<double*>(workspace);
          parallel_parts(parts, [&](int part) {
            const Range r = part_of(n, part, parts, 16);
            const std::int64_t m = r.end - r.begin;
            if (kind == Kind::Max)
              partial[part] =
                  static_cast<double>(k.max(m > 0 ? x + r.begin : x, std::max<std::int64_t>(m, 1)));
            else if (kind == Kind::Min)
              partial[part] =
                  static_cast<double>(k.min(m > 0 ? x + r.begin : x, std::max<std::int64_t>(m, 1)));
            else
              partial[part] = k.sum(x + r.begin, m);
          });
          double total = partial[0];
          for (int part = 1; part < parts; ++part) {
            const double v = partial[part];
            if (kind == Kind::Max)
              total = total > v || total != total ? total : v;
            else if (kind == Kind::Min)
              total = total < v || total != total ? total : v;
            else
              total += v;
          }
          *static_cast<float*>(out[0]) = finish(kind, total, plan.count);
        },
        static_cast<std::size_t>(parts) * sizeof(double));
  }
  return make_step(kernel_name("rows"), [=, &k](void* const* in, void* const* out, void*) {
    parallel_ranges(parts, plan.kept.count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::int64_t first = 0, to = 0;
        plan.kept.offsets(i, first, to);
        const auto* x = static_cast<const float*>(in[0]) + first;
        const auto rows = [&](const auto& f) {
          for (std::int64_t r = 0; r < plan.reduced.count; ++r) {
            std::int64_t at = 0, none = 0;
            plan.reduced.offsets(r, at, none);
            f(x + at);
          }
        };
        float* y = static_cast<float*>(out[0]) + to;
        if (kind == Kind::Max || kind == Kind::Min) {
          float m = x[0];
          rows([&](const float* row) {
            const float v = kind == Kind::Max ? k.max(row, n) : k.min(row, n);
            const bool keep = (kind == Kind::Max ? m > v : m < v) || m != m;
            m = keep ? m : v;
          });
          *y = m;
          continue;
        }
        double sum = 0.0;
        rows([&](const float* row) { sum += k.sum(row, n); });
        if (kind != Kind::Var) {
          *y = finish(kind, sum, plan.count);
          continue;
        }
        const double mean = sum / static_cast<double>(plan.count);
        const auto shift = static_cast<float>(mean);
        double squares = 0.0;
        rows([&](const float* row) { squares += k.sum_squares(row, n, shift); });
        const double off = mean - static_cast<double>(shift), count = static_cast<double>(plan.count);
        const double over = count - correction;
        *y = over > 0.0 ? static_cast<float>((squares - count * off * off) / over)
                        : std::numeric_limits<float>::quiet_NaN();
      }
    });
  });
}

// Innermost axis kept: blocks of plan.rows rows, columns summed together.
std::unique_ptr<Step> by_columns(const Problem& p, const Plan& plan, Kind kind) {
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  const std::int64_t width = plan.inner.size, block = plan.rows * width;
  const bool extremum = kind == Kind::Max || kind == Kind::Min;
  // Narrow rows are read several at a time, so that they fill whole vectors.
  const std::int64_t period = extremum || width >= 64 ? width
                              : 64 % width == 0       ? 64
                                                      : std::lcm(width, std::int64_t{16});
  // Few results: threads share the rows of each block. Otherwise each takes results of its own.
  const bool share_rows = plan.kept.count < parts;
  struct Buffers {
    double* sums;
    float *scratch, *acc;
  };
  const auto carve = [=](Workspace& w) {
    Buffers b{};
    b.sums = w.take<double>(period * parts);
    b.scratch = w.take<float>(2 * period * parts);
    b.acc = w.take<float>(width * parts);
    return b;
  };
  Workspace measure(nullptr);
  carve(measure);
  return make_step(
      kernel_name("columns"),
      [=, &k](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        const Buffers b = carve(w);
        const auto add = [&](const float* x, std::int64_t n, int part) {
          if (kind == Kind::Max)
            k.column_max(x, n, width, b.acc + part * width);
          else if (kind == Kind::Min)
            k.column_min(x, n, width, b.acc + part * width);
          else
            k.column_sums(x, n, period, b.sums + part * period, b.scratch + 2 * part * period);
        };
        const auto clear = [&](const float* first, int part) {
          std::copy_n(first, width, b.acc + part * width);
          std::fill_n(b.sums + part * period, period, 0.0);
        };
        // Writes the sums of parts [from, to).
        const auto write = [&](float* y, int from, int to) {
          for (std::int64_t j = 0; j < width; ++j) {
            float m = b.acc[from * width + j];
            double sum = 0.0;
            for (int part = from; part < to; ++part) {
              const float v = b.acc[part * width + j];
              const bool keep = (kind == Kind::Max ? m > v : m < v) || m != m;
              m = keep ? m : v;
              if (extremum) continue;
              for (std::int64_t c = j; c < period; c += width) sum += b.sums[part * period + c];
            }
            y[j * plan.inner.out] = extremum ? m : finish(kind, sum, plan.count);
          }
        };
        const auto* x = static_cast<const float*>(in[0]);
        auto* y = static_cast<float*>(out[0]);
        if (share_rows) {
          for (std::int64_t i = 0; i < plan.kept.count; ++i) {
            std::int64_t first = 0, to = 0;
            plan.kept.offsets(i, first, to);
            parallel_parts(parts, [&](int part) {
              clear(x + first, part);
              const Range r = part_of(plan.rows, part, parts);
              for (std::int64_t o = 0; o < plan.reduced.count; ++o) {
                std::int64_t at = 0, none = 0;
                plan.reduced.offsets(o, at, none);
                add(x + first + at + r.begin * width, (r.end - r.begin) * width, part);
              }
            });
            write(y + to, 0, parts);
          }
          return;
        }
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(plan.kept.count, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i) {
            std::int64_t first = 0, to = 0;
            plan.kept.offsets(i, first, to);
            clear(x + first, part);
            for (std::int64_t o = 0; o < plan.reduced.count; ++o) {
              std::int64_t at = 0, none = 0;
              plan.reduced.offsets(o, at, none);
              add(x + first + at, block, part);
            }
            write(y + to, part, part + 1);
          }
        });
      },
      measure.used());
}

template <Kind kind>
std::unique_ptr<Step> lower_reduce(const Problem& p) {
  Axes axes;
  bool keepdim = false;
  double correction = 0.0;
  if constexpr (kind == Kind::Var) {
    const auto& a = p.attrs<ReduceVarAttrs>();
    axes = a.axes, keepdim = a.keepdim, correction = a.correction;
  } else {
    const auto& a = p.attrs<ReduceAttrs>();
    axes = a.axes, keepdim = a.keepdim;
  }
  Plan plan;
  if (!plan_of(p.in(0), ops::reduced_axes(axes, p.in(0).shape), p.out(), keepdim, plan)) return nullptr;
  if (plan.inner.reduced) return by_rows(p, plan, kind, correction);
  return kind == Kind::Var ? nullptr : by_columns(p, plan, kind);
}

std::unique_ptr<Step> lower_argmax(const Problem& p) {
  const auto& a = p.attrs<ArgmaxAttrs>();
  const TensorType& x = p.in(0);
  const int axis = x.shape.normalize_axis(static_cast<int>(a.axis));
  if (x.dtype != DType::F32 || x.numel() == 0 || !x.layout.canonical().is_row_major() ||
      axis != x.shape.rank() - 1)
    return nullptr;
  const std::int64_t width = x.shape[axis], rows = x.numel() / width;
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, x.numel());
  return make_step(kernel_name("rows"), [=, &k](void* const* in, void* const* out, void*) {
    parallel_ranges(parts, rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        static_cast<std::int64_t*>(out[0])[r] = k.argmax(static_cast<const float*>(in[0]) + r * width, width);
    });
  });
}

Backend::Layouts reduce_layouts(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout.is_blocked() ? Layout::row_major() : p.in(0).layout}, {Layout::row_major()}};
}

}  // namespace

void add_reduce(LoweringTable& table) {
  table.add("reduce_sum", {.lower = lower_reduce<Kind::Sum>, .layouts = reduce_layouts});
  table.add("reduce_mean", {.lower = lower_reduce<Kind::Mean>, .layouts = reduce_layouts});
  table.add("reduce_max", {.lower = lower_reduce<Kind::Max>, .layouts = reduce_layouts});
  table.add("reduce_min", {.lower = lower_reduce<Kind::Min>, .layouts = reduce_layouts});
  table.add("reduce_var", {.lower = lower_reduce<Kind::Var>, .layouts = reduce_layouts});
  table.add("argmax", {.lower = lower_argmax});
}

}  // namespace ingot::cpu
