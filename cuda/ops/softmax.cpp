// Softmax, its logarithm and their gradients, along any axis of any layout without blocks.
#include "core/ops/softmax.h"

#include <limits>

#include "core/ir/walk.h"
#include "cuda/kernels/softmax.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// The operands' memory with the axis in the middle; declines operands that lie differently.
bool shape_of(const Problem& p, SoftmaxShape& s) {
  const TensorType& x = p.in(0);
  if (!is_float(x.dtype) || x.layout.is_blocked() || !p.out().same_memory(x)) return false;
  for (int i = 1; i < p.num_inputs(); ++i)
    if (!p.in(i).same_memory(x)) return false;
  const int axis = x.shape.normalize_axis(static_cast<int>(p.attrs<SoftmaxAttrs>().axis));
  const std::int64_t length = x.shape[axis];
  if (length > std::numeric_limits<int>::max()) return false;
  s.length = static_cast<int>(length);
  s.outer = x.numel();
  if (s.outer == 0 || length == 1) return true;
  s.inner = strides_over(x, x.shape)[static_cast<std::size_t>(axis)];
  s.outer /= length * s.inner;
  return true;
}

template <SoftmaxKind kind>
std::unique_ptr<Step> lower_softmax(const Problem& p) {
  SoftmaxShape s;
  if (!shape_of(p, s)) return nullptr;
  return launch_step(
      "softmax",
      [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        softmax(kind, dtype, in[0], out[0], s, stream);
      },
      0, {{0, 0}});
}

template <SoftmaxKind kind>
std::unique_ptr<Step> lower_softmax_grad(const Problem& p) {
  SoftmaxShape s;
  if (!shape_of(p, s)) return nullptr;
  return launch_step(
      "softmax",
      [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        softmax_grad(kind, dtype, in[0], in[1], out[0], s, stream);
      },
      0, {{0, 0}, {1, 0}});
}

// Every operand as operand 0 lies.
Backend::Layouts as_first(const Problem& p, const std::vector<bool>&) {
  const Layout l = p.in(0).layout.is_blocked() ? Layout::row_major() : p.in(0).layout;
  return {std::vector<Layout>(static_cast<std::size_t>(p.num_inputs()), l), {l}};
}

}  // namespace

void add_softmax(LoweringTable& table) {
  table.add("softmax", {.lower = lower_softmax<SoftmaxKind::Plain>, .layouts = as_first});
  table.add("log_softmax", {.lower = lower_softmax<SoftmaxKind::Log>, .layouts = as_first});
  table.add("softmax_grad", {.lower = lower_softmax_grad<SoftmaxKind::Plain>, .layouts = as_first});
  table.add("log_softmax_grad", {.lower = lower_softmax_grad<SoftmaxKind::Log>, .layouts = as_first});
}

}  // namespace ingot::cuda
