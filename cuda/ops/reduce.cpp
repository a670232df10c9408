// Sum, mean, maximum and minimum over axes that lie side by side in memory; results are row-major.
#include "core/ops/reduce.h"

#include <algorithm>
#include <optional>

#include "core/ir/walk.h"
#include "cuda/kernels/reduce.h"
#include "cuda/ops/launch_step.h"

namespace ingot::cuda {

namespace {

bool is_float(DType d) {
  return d == DType::F32 || d == DType::F16 || d == DType::BF16;
}

// The operand's memory as [outer, length, inner], where the reduced axes make up the middle. Nothing when
// they lie apart, or when the kept ones do not lie in the order of the result.
std::optional<ReduceShape> shape_of(const TensorType& x, const std::vector<bool>& reduced) {
  struct Axis {
    std::int64_t size, stride;
    int logical;
    bool reduced;
  };
  const auto strides = strides_over(x, x.shape);
  std::vector<Axis> axes;
  for (int d = 0; d < x.shape.rank(); ++d) {
    const auto at = static_cast<std::size_t>(d);
    if (x.shape[d] != 1) axes.push_back({x.shape[d], strides[at], d, reduced[at]});
  }
  // An empty tensor's strides say nothing, and nothing is read: any order serves.
  std::stable_sort(axes.begin(), axes.end(), [&](const Axis& a, const Axis& b) {
    return x.numel() == 0 ? a.reduced < b.reduced : a.stride > b.stride;
  });
  ReduceShape s;
  enum { Outer, Middle, Inner } part = Outer;
  int last_kept = -1;
  for (const Axis& a : axes) {
    if (a.reduced) {
      if (part == Inner) return std::nullopt;
      part = Middle;
      s.length *= a.size;
      continue;
    }
    if (a.logical < last_kept && x.numel() != 0) return std::nullopt;
    last_kept = a.logical;
    if (part == Middle) part = Inner;
    (part == Outer ? s.outer : s.inner) *= a.size;
  }
  return s;
}

template <ReduceKind kind>
std::unique_ptr<Step> lower_reduce(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!is_float(x.dtype) || x.layout.is_blocked() || !p.out().layout.canonical().is_row_major())
    return nullptr;
  const auto s = shape_of(x, ops::reduced_axes(p.attrs<ReduceAttrs>().axes, x.shape));
  if (!s) return nullptr;
  return launch_step(
      "reduce",
      [s = *s, dtype = x.dtype](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        reduce(kind, dtype, in[0], out[0], s, workspace, stream);
      },
      reduce_workspace(*s));
}

// As the operand lies, where that serves.
Backend::Layouts as_it_lies(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout.is_blocked() ? Layout::row_major() : p.in(0).layout}, {Layout::row_major()}};
}

template <ReduceKind kind>
void add(LoweringTable& table, std::string_view op) {
  table.add(op, {.lower = lower_reduce<kind>, .layouts = as_it_lies});
  table.add(op, {.lower = lower_reduce<kind>});
}

}  // namespace

void add_reduce(LoweringTable& table) {
  add<ReduceKind::Sum>(table, "reduce_sum");
  add<ReduceKind::Mean>(table, "reduce_mean");
  add<ReduceKind::Max>(table, "reduce_max");
  add<ReduceKind::Min>(table, "reduce_min");
}

}  // namespace ingot::cuda
