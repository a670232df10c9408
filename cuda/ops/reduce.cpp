// Sum, mean, extrema, variance and argmax; results are row-major.
//
// Axes that lie side by side in memory are reduced where they lie. Others are first brought together: a
// strided copy into the workspace, kept axes in front in the order of the result.
#include "core/ops/reduce.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "core/ir/walk.h"
#include "cuda/kernels/argmax.h"
#include "cuda/kernels/copy.h"
#include "cuda/kernels/reduce.h"
#include "cuda/kernels/variance.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// What an op does with [outer, length, inner], and along which axes of its operand.
struct Reduction {
  std::string kernel;
  std::vector<bool> reduced;
  std::function<void(const void* x, void* y, const ReduceShape& s, void* workspace, const Stream& stream)>
      run;
  std::function<std::size_t(const ReduceShape& s)> workspace;
};

template <ReduceKind kind>
std::optional<Reduction> fold_of(const Problem& p) {
  const TensorType& x = p.in(0);
  if (x.dtype == DType::Bool) return std::nullopt;
  return Reduction{
      "reduce", ops::reduced_axes(p.attrs<ReduceAttrs>().axes, x.shape),
      [dtype = x.dtype](const void* in, void* out, const ReduceShape& s, void* workspace,
                        const Stream& stream) { reduce(kind, dtype, in, out, s, workspace, stream); },
      [dtype = x.dtype](const ReduceShape& s) { return reduce_workspace(s, dtype); }};
}

std::optional<Reduction> variance_of(const Problem& p) {
  const TensorType& x = p.in(0);
  if (!is_float(x.dtype)) return std::nullopt;
  const auto& a = p.attrs<ReduceVarAttrs>();
  return Reduction{"variance", ops::reduced_axes(a.axes, x.shape),
                   [dtype = x.dtype, correction = a.correction](
                       const void* in, void* out, const ReduceShape& s, void* workspace,
                       const Stream& stream) { variance(dtype, in, out, s, correction, workspace, stream); },
                   variance_workspace};
}

std::optional<Reduction> argmax_of(const Problem& p) {
  const TensorType& x = p.in(0);
  if (x.dtype == DType::Bool) return std::nullopt;
  return Reduction{"argmax", ops::reduced_axes({p.attrs<ArgmaxAttrs>().axis}, x.shape),
                   [dtype = x.dtype](const void* in, void* out, const ReduceShape& s, void* workspace,
                                     const Stream& stream) {
                     argmax(dtype, in, static_cast<std::int64_t*>(out), s, workspace, stream);
                   },
                   argmax_workspace};
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

using MakeFn = std::optional<Reduction> (*)(const Problem&);

template <MakeFn make>
std::unique_ptr<Step> lower_in_place(const Problem& p) {
  const TensorType& x = p.in(0);
  if (x.layout.is_blocked() || !p.out().layout.canonical().is_row_major()) return nullptr;
  const auto r = make(p);
  if (!r) return nullptr;
  const auto s = shape_of(x, r->reduced);
  if (!s) return nullptr;
  return launch_step(
      r->kernel,
      [s = *s, run = r->run](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        run(in[0], out[0], s, workspace, stream);
      },
      r->workspace(*s));
}

// Elements of an argmax keep their order, since one axis is reduced.
template <MakeFn make>
std::unique_ptr<Step> lower_brought_together(const Problem& p) {
  const TensorType& x = p.in(0);
  if (x.layout.is_blocked() || !p.out().layout.canonical().is_row_major() || x.numel() == 0) return nullptr;
  const auto r = make(p);
  if (!r) return nullptr;
  const auto from = strides_over(x, x.shape);
  std::vector<CopyAxis> axes;
  ReduceShape s;
  std::int64_t to = 1;
  for (const bool reduced : {true, false})
    for (int d = x.shape.rank() - 1; d >= 0; --d) {
      const auto at = static_cast<std::size_t>(d);
      if (r->reduced[at] != reduced) continue;
      axes.push_back({x.shape[d], from[at], to});
      to *= x.shape[d];
      (reduced ? s.length : s.outer) *= x.shape[d];
    }
  const std::size_t moved = (x.bytes() + 15) / 16 * 16;
  return launch_step(
      r->kernel + ":moved",
      [s, moved, run = r->run, copy = plan_copy(std::move(axes), size_of(x.dtype))](
          void* const* in, void* const* out, void* workspace, const Stream& stream) {
        strided_copy(copy, in[0], workspace, stream);
        run(workspace, out[0], s, static_cast<std::byte*>(workspace) + moved, stream);
      },
      moved + r->workspace(s));
}

// As the operand lies, where that serves.
Backend::Layouts as_it_lies(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout.is_blocked() ? Layout::row_major() : p.in(0).layout}, {Layout::row_major()}};
}

template <MakeFn make>
void add(LoweringTable& table, std::string_view op) {
  table.add(op, {.lower = lower_in_place<make>, .layouts = as_it_lies});
  table.add(op, {.lower = lower_brought_together<make>, .layouts = as_it_lies});
}

}  // namespace

void add_reduce(LoweringTable& table) {
  add<fold_of<ReduceKind::Sum>>(table, "reduce_sum");
  add<fold_of<ReduceKind::Mean>>(table, "reduce_mean");
  add<fold_of<ReduceKind::Max>>(table, "reduce_max");
  add<fold_of<ReduceKind::Min>>(table, "reduce_min");
  add<variance_of>(table, "reduce_var");
  add<argmax_of>(table, "argmax");
}

}  // namespace ingot::cuda
