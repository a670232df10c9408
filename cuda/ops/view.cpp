// Ops that move elements: a view where the bytes stay, a strided copy, a placement among a constant or a
// concatenation where they move. Any dtype, any layouts without blocks; reorder takes blocks too.
#include "core/ops/view.h"

#include "core/ir/walk.h"
#include "cuda/kernels/copy.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/place.h"
#include "cuda/kernels/reblock.h"
#include "cuda/ops/launch_step.h"

namespace ingot::cuda {

namespace {

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

bool strided(const TensorType& t) {
  return !t.layout.is_blocked();
}
bool is_row_major(const TensorType& t) {
  return t.same_memory({t.dtype, t.shape});
}
std::vector<std::int64_t> strides_of(const TensorType& t) {
  return strides_over(t, t.shape);
}
// The logical axis at physical position i, outermost first.
int axis_at(const TensorType& t, int i) {
  return t.layout.is_row_major() ? i : t.layout.order[at(i)];
}

// An empty result's strides say nothing.
std::unique_ptr<Step> nothing_step() {
  return launch_step("copy", [](void* const*, void* const*, void*, const Stream&) {});
}

std::unique_ptr<Step> copy_step(StridedCopy copy) {
  return launch_step(
      "copy", [copy = std::move(copy)](void* const* in, void* const* out, void*, const Stream& stream) {
        strided_copy(copy, in[0], out[0], stream);
      });
}

std::unique_ptr<Step> place_step(const Problem& p, std::vector<PlaceAxis> axes, double value) {
  const DType dtype = p.out().dtype;
  return launch_step(
      "place", [placement = plan_place(std::move(axes), size_of(dtype)), bits = element_bits(dtype, value)](
                   void* const* in, void* const* out, void*, const Stream& stream) {
        place(placement, in[0], bits, out[0], stream);
      });
}

// ---- Layouts --------------------------------------------------------------------------------------------

// All operands and results in the layout of the first operand that is neither row-major nor blocked.
Backend::Layouts keep_layout(const Problem& p, const std::vector<bool>&) {
  Layout l;
  for (int i = 0; i < p.num_inputs() && l.is_row_major(); ++i)
    if (strided(p.in(i))) l = p.in(i).layout;
  return {std::vector<Layout>(at(p.num_inputs()), l), std::vector<Layout>(at(p.num_outputs()), l)};
}
// Any operand without blocks, row-major results.
Backend::Layouts to_row_major(const Problem& p, const std::vector<bool>&) {
  return {{strided(p.in(0)) ? p.in(0).layout : Layout::row_major()}, {Layout::row_major()}};
}
Backend::Layouts reshape_layouts(const Problem& p, const std::vector<bool>&) {
  return {{is_row_major(p.in(0)) ? p.in(0).layout : Layout::row_major()}, {Layout::row_major()}};
}
Backend::Layouts reorder_layouts(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout}, {p.attrs<ReorderAttrs>().layout}};
}

// ---- Ops ------------------------------------------------------------------------------------------------

std::unique_ptr<Step> lower_reshape(const Problem& p) {
  return is_row_major(p.in(0)) && is_row_major(p.out()) ? view_step() : nullptr;
}

std::unique_ptr<Step> lower_transpose(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  if (p.out().numel() == 0) return nothing_step();
  const auto& perm = p.attrs<TransposeAttrs>().perm;
  const auto from = strides_of(p.in(0)), to = strides_of(p.out());
  std::vector<CopyAxis> axes;
  for (std::size_t i = 0; i < perm.size(); ++i)
    axes.push_back({p.out().shape[static_cast<int>(i)], from[static_cast<std::size_t>(perm[i])], to[i]});
  StridedCopy copy = plan_copy(std::move(axes), size_of(p.out().dtype));
  return copy.is_identity() ? view_step() : copy_step(std::move(copy));
}

std::unique_ptr<Step> lower_broadcast_to(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  if (p.out().numel() == 0) return nothing_step();
  const auto from = strides_over(p.in(0), p.out().shape), to = strides_of(p.out());
  std::vector<CopyAxis> axes;
  for (int i = 0; i < p.out().shape.rank(); ++i) axes.push_back({p.out().shape[i], from[at(i)], to[at(i)]});
  return copy_step(plan_copy(std::move(axes), size_of(p.out().dtype)));
}

std::unique_ptr<Step> lower_slice(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  if (p.out().numel() == 0) return nothing_step();
  const auto& a = p.attrs<SliceAttrs>();
  const auto from = strides_of(p.in(0)), to = strides_of(p.out());
  std::int64_t base = 0;
  std::vector<CopyAxis> axes;
  for (int i = 0; i < p.out().shape.rank(); ++i) {
    base += a.starts[at(i)] * from[at(i)];
    axes.push_back({p.out().shape[i], a.steps[at(i)] * from[at(i)], to[at(i)]});
  }
  return copy_step(plan_copy(std::move(axes), size_of(p.out().dtype), base));
}

std::unique_ptr<Step> lower_slice_grad(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  if (p.out().numel() == 0) return nothing_step();
  const auto& a = p.attrs<SliceGradAttrs>();
  const auto from = strides_of(p.in(0));
  std::vector<PlaceAxis> axes;
  for (int i = 0; i < p.out().shape.rank(); ++i) {
    const int axis = axis_at(p.out(), i);
    axes.push_back(
        {p.out().shape[axis], a.starts[at(axis)], a.steps[at(axis)], p.in(0).shape[axis], from[at(axis)]});
  }
  return place_step(p, std::move(axes), 0.0);
}

std::unique_ptr<Step> lower_pad(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  if (p.out().numel() == 0) return nothing_step();
  const auto& a = p.attrs<PadAttrs>();
  const auto from = strides_of(p.in(0));
  std::vector<PlaceAxis> axes;
  for (int i = 0; i < p.out().shape.rank(); ++i) {
    const int axis = axis_at(p.out(), i);
    axes.push_back({p.out().shape[axis], a.before[at(axis)], 1, p.in(0).shape[axis], from[at(axis)]});
  }
  return place_step(p, std::move(axes), a.value);
}

// Everything lies alike: what precedes the axis in memory counts rows, the rest is in one piece.
std::unique_ptr<Step> lower_concat(const Problem& p) {
  const TensorType& y = p.out();
  if (!strided(y)) return nullptr;
  for (int k = 0; k < p.num_inputs(); ++k)
    if (p.in(k).layout.canonical() != y.layout.canonical()) return nullptr;
  const int axis = y.shape.normalize_axis(static_cast<int>(p.attrs<ConcatAttrs>().axis));
  std::int64_t outer = 1, inner = 1;
  bool before = true;
  for (int i = 0; i < y.shape.rank(); ++i) {
    const int d = axis_at(y, i);
    if (d == axis)
      before = false;
    else
      (before ? outer : inner) *= y.shape[d];
  }
  std::vector<std::int64_t> runs;
  for (int k = 0; k < p.num_inputs(); ++k) runs.push_back(p.in(k).shape[axis] * inner);
  return launch_step("concat", [=, element = size_of(y.dtype), runs = std::move(runs)](
                                   void* const* in, void* const* out, void*, const Stream& stream) {
    concat(in, runs, outer, element, out[0], stream);
  });
}

std::unique_ptr<Step> lower_reorder(const Problem& p) {
  const TensorType &x = p.in(0), &y = p.out();
  // To the layout that it has: a copy (core/ops/view.h).
  if (x.layout.canonical() == y.layout.canonical())
    return copy_step(plan_copy({{y.physical_numel(), 1, 1}}, size_of(y.dtype)));
  if (x.same_memory(y)) return view_step();
  if (y.numel() == 0) return nothing_step();
  if (strided(x) && strided(y)) {
    const auto from = strides_of(x), to = strides_of(y);
    std::vector<CopyAxis> axes;
    for (int i = 0; i < y.shape.rank(); ++i) axes.push_back({y.shape[i], from[at(i)], to[at(i)]});
    return copy_step(plan_copy(std::move(axes), size_of(y.dtype)));
  }
  return launch_step("reblock", [x, y](void* const* in, void* const* out, void*, const Stream& stream) {
    reblock(x, y, in[0], out[0], stream);
  });
}

}  // namespace

void add_view(LoweringTable& table) {
  table.add("reshape", {.lower = lower_reshape, .layouts = reshape_layouts});
  table.add("transpose", {.lower = lower_transpose, .layouts = to_row_major});
  table.add("broadcast_to", {.lower = lower_broadcast_to, .layouts = to_row_major});
  table.add("slice", {.lower = lower_slice, .layouts = keep_layout});
  table.add("slice_grad", {.lower = lower_slice_grad, .layouts = keep_layout});
  table.add("pad", {.lower = lower_pad, .layouts = keep_layout});
  table.add("concat", {.lower = lower_concat, .layouts = keep_layout});
  table.add("reorder", {.lower = lower_reorder, .layouts = reorder_layouts});
}

}  // namespace ingot::cuda
