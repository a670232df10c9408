// Ops that move elements: a view where the bytes stay, a StridedCopy where they move.
#include "core/ops/view.h"

#include <algorithm>
#include <cstring>

#include "core/ir/walk.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/strided_copy.h"

namespace ingot::cpu {

namespace {

using Dims = std::vector<StridedCopy::Dim>;

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

bool strided(const TensorType& t) {
  return !t.layout.is_blocked();
}

TensorType row_major(TensorType t) {
  t.layout = Layout::row_major();
  return t;
}
bool is_row_major(const TensorType& t) {
  return t.same_memory(row_major(t));
}

std::vector<std::int64_t> strides_of(const TensorType& t) {
  return strides_over(t, t.shape);
}

std::unique_ptr<Step> view_step() {
  auto step = make_step("view", [](void* const*, void* const*, void*) {});
  step->is_view = true;
  return step;
}

std::unique_ptr<Step> copy_step(const Problem& p, StridedCopy copy) {
  const int threads = p.target.threads;
  return make_step("copy", [copy = std::move(copy), threads](void* const* in, void* const* out, void*) {
    copy.run(in[0], out[0], threads);
  });
}

// All operands and results in the layout of operand 0 when that is not blocked.
Backend::Layouts keep_layout(const Problem& p, const std::vector<bool>&) {
  Layout l = p.in(0).layout;
  for (int i = 0; i < p.num_inputs() && (l.is_row_major() || l.is_blocked()); ++i) l = p.in(i).layout;
  if (l.is_blocked()) l = Layout::channels_last(p.in(0).shape.rank());
  return {std::vector<Layout>(at(p.num_inputs()), l), std::vector<Layout>(at(p.num_outputs()), l)};
}
// Any operand that is not blocked, row-major results.
Backend::Layouts to_row_major(const Problem& p, const std::vector<bool>&) {
  return {{strided(p.in(0)) ? p.in(0).layout : Layout::row_major()}, {Layout::row_major()}};
}
Backend::Layouts reshape_layouts(const Problem& p, const std::vector<bool>&) {
  return {{is_row_major(p.in(0)) ? p.in(0).layout : Layout::row_major()}, {Layout::row_major()}};
}

std::unique_ptr<Step> lower_reshape(const Problem& p) {
  return is_row_major(p.in(0)) && is_row_major(p.out()) ? view_step() : nullptr;
}

std::unique_ptr<Step> lower_transpose(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  const auto& perm = p.attrs<TransposeAttrs>().perm;
  const auto from = strides_of(p.in(0)), to = strides_of(p.out());
  Dims dims;
  for (std::size_t i = 0; i < perm.size(); ++i)
    dims.push_back({p.out().shape[static_cast<int>(i)], from[static_cast<std::size_t>(perm[i])], to[i]});
  StridedCopy copy(std::move(dims), size_of(p.out().dtype));
  return copy.is_identity() ? view_step() : copy_step(p, std::move(copy));
}

std::unique_ptr<Step> lower_broadcast_to(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  const auto from = strides_over(p.in(0), p.out().shape), to = strides_of(p.out());
  Dims dims;
  for (int i = 0; i < p.out().shape.rank(); ++i) dims.push_back({p.out().shape[i], from[at(i)], to[at(i)]});
  return copy_step(p, StridedCopy(std::move(dims), size_of(p.out().dtype)));
}

// The copy between `whole` and the part that starts, ends and steps select.
template <class A>
StridedCopy selection(const A& a, const TensorType& whole, const TensorType& part, bool from_whole) {
  const auto w = strides_of(whole), s = strides_of(part);
  std::int64_t base = 0;
  Dims dims;
  for (int i = 0; i < whole.shape.rank(); ++i) {
    base += a.starts[at(i)] * w[at(i)];
    const std::int64_t stride = a.steps[at(i)] * w[at(i)];
    dims.push_back(from_whole ? StridedCopy::Dim{part.shape[i], stride, s[at(i)]}
                              : StridedCopy::Dim{part.shape[i], s[at(i)], stride});
  }
  return StridedCopy(std::move(dims), size_of(whole.dtype), from_whole ? base : 0, from_whole ? 0 : base);
}

std::unique_ptr<Step> lower_slice(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  return copy_step(p, selection(p.attrs<SliceAttrs>(), p.in(0), p.out(), true));
}

std::unique_ptr<Step> lower_slice_grad(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  const StridedCopy copy = selection(p.attrs<SliceGradAttrs>(), p.out(), p.in(0), false);
  const std::size_t bytes = p.out().bytes();
  const int threads = p.target.threads;
  return make_step("copy", [=](void* const* in, void* const* out, void*) {
    std::memset(out[0], 0, bytes);
    copy.run(in[0], out[0], threads);
  });
}

std::unique_ptr<Step> lower_pad(const Problem& p) {
  if (!strided(p.in(0)) || !strided(p.out())) return nullptr;
  const auto& a = p.attrs<PadAttrs>();
  const auto from = strides_of(p.in(0)), to = strides_of(p.out());
  std::int64_t base = 0;
  Dims dims;
  for (int i = 0; i < p.out().shape.rank(); ++i) {
    base += a.before[at(i)] * to[at(i)];
    dims.push_back({p.in(0).shape[i], from[at(i)], to[at(i)]});
  }
  const std::size_t element = size_of(p.out().dtype);
  const StridedCopy copy(std::move(dims), element, 0, base);
  const Tensor value = Tensor::full({p.out().dtype, {}}, a.value);
  // The value everywhere first: a broadcast of one element.
  const StridedCopy fill({{p.out().numel(), 0, 1}}, element);
  const int threads = p.target.threads;
  return make_step("copy", [=](void* const* in, void* const* out, void*) {
    fill.run(value.raw(), out[0], threads);
    copy.run(in[0], out[0], threads);
  });
}

std::unique_ptr<Step> lower_concat(const Problem& p) {
  const int axis = static_cast<int>(p.attrs<ConcatAttrs>().axis);
  if (!strided(p.out())) return nullptr;
  const auto to = strides_of(p.out());
  std::vector<StridedCopy> copies;
  std::int64_t start = 0;
  for (int k = 0; k < p.num_inputs(); ++k) {
    if (!strided(p.in(k))) return nullptr;
    const auto from = strides_of(p.in(k));
    Dims dims;
    for (int i = 0; i < p.out().shape.rank(); ++i) dims.push_back({p.in(k).shape[i], from[at(i)], to[at(i)]});
    copies.emplace_back(std::move(dims), size_of(p.out().dtype), 0, start * to[at(axis)]);
    start += p.in(k).shape[axis];
  }
  const int threads = p.target.threads;
  return make_step("copy", [copies = std::move(copies), threads](void* const* in, void* const* out, void*) {
    for (std::size_t k = 0; k < copies.size(); ++k) copies[k].run(in[k], out[0], threads);
  });
}

// Empty tensors have no element to start from; the reference serves them.
template <LowerFn lower>
std::unique_ptr<Step> unless_empty(const Problem& p) {
  for (int i = 0; i < p.num_inputs(); ++i)
    if (p.in(i).numel() == 0) return nullptr;
  return p.out().numel() == 0 ? nullptr : lower(p);
}

}  // namespace

void add_view(LoweringTable& table) {
  table.add("reshape", {.lower = lower_reshape, .layouts = reshape_layouts});
  table.add("transpose", {.lower = unless_empty<lower_transpose>, .layouts = to_row_major});
  table.add("broadcast_to", {.lower = unless_empty<lower_broadcast_to>, .layouts = to_row_major});
  table.add("slice", {.lower = unless_empty<lower_slice>, .layouts = keep_layout});
  table.add("slice_grad", {.lower = unless_empty<lower_slice_grad>, .layouts = keep_layout});
  table.add("pad", {.lower = unless_empty<lower_pad>, .layouts = keep_layout});
  table.add("concat", {.lower = unless_empty<lower_concat>, .layouts = keep_layout});
}

}  // namespace ingot::cpu
