// Random tensors, and dropout of tensors that lie row-major or channels-last.
#include "core/ops/random.h"

#include <optional>

#include "cuda/kernels/random.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

RandomSource source_of(const void* state, std::int64_t stream) {
  return {static_cast<const std::int64_t*>(state), stream};
}

std::unique_ptr<Step> lower_uniform(const Problem& p) {
  if (!is_float(p.out().dtype) || !p.out().layout.canonical().is_row_major()) return nullptr;
  return launch_step("philox", [a = p.attrs<UniformAttrs>(), type = p.out()](
                                   void* const* in, void* const* out, void*, const Stream& stream) {
    uniform(type.dtype, out[0], type.numel(), source_of(in[0], a.stream), a.lo, a.hi, stream);
  });
}

std::unique_ptr<Step> lower_normal(const Problem& p) {
  if (!is_float(p.out().dtype) || !p.out().layout.canonical().is_row_major()) return nullptr;
  return launch_step("philox", [a = p.attrs<NormalAttrs>(), type = p.out()](void* const* in, void* const* out,
                                                                            void*, const Stream& stream) {
    normal(type.dtype, out[0], type.numel(), source_of(in[0], a.stream), a.mean, a.stddev, stream);
  });
}

// How a tensor's memory counts its elements; nothing when it is neither row-major nor channels-last.
std::optional<DropoutShape> shape_of(const TensorType& t) {
  if (t.layout.canonical().is_row_major()) return DropoutShape{.count = t.numel()};
  const int rank = t.shape.rank();
  if (t.layout.canonical() != Layout::channels_last(rank).canonical()) return std::nullopt;
  DropoutShape s{.count = t.numel(), .channels = t.shape[1]};
  for (int d = 2; d < rank; ++d) s.pixels *= t.shape[d];
  return s;
}

std::unique_ptr<Step> lower_dropout(const Problem& p) {
  const TensorType& x = p.in(0);
  const auto shape = shape_of(x);
  if (!is_float(x.dtype) || !shape) return nullptr;
  for (int o = 0; o < 2; ++o)
    if (p.out(o).layout.canonical() != x.layout.canonical()) return nullptr;
  return launch_step("philox",
                     [a = p.attrs<DropoutAttrs>(), shape = *shape, dtype = x.dtype](
                         void* const* in, void* const* out, void*, const Stream& stream) {
                       dropout(dtype, in[0], out[0], static_cast<bool*>(out[1]), shape,
                               source_of(in[1], a.stream), a.p, stream);
                     },
                     0, {{0, 0}});
}

std::unique_ptr<Step> lower_dropout_grad(const Problem& p) {
  const TensorType& dy = p.in(0);
  const Layout layout = dy.layout.canonical();
  if (!is_float(dy.dtype) || layout.is_blocked() || p.in(1).layout.canonical() != layout ||
      p.out().layout.canonical() != layout)
    return nullptr;
  return launch_step("mask",
                     [rate = p.attrs<DropoutGradAttrs>().p, dtype = dy.dtype, count = dy.numel()](
                         void* const* in, void* const* out, void*, const Stream& stream) {
                       dropout_grad(dtype, in[0], static_cast<const bool*>(in[1]), out[0], count, rate,
                                    stream);
                     },
                     0, {{0, 0}});
}

}  // namespace

void add_random(LoweringTable& table) {
  table.add("uniform", {.lower = lower_uniform});
  table.add("normal", {.lower = lower_normal});
  table.add("dropout", {.lower = lower_dropout, .layouts = elementwise_layouts});
  table.add("dropout", {.lower = lower_dropout});
  table.add("dropout_grad", {.lower = lower_dropout_grad, .layouts = elementwise_layouts});
  table.add("dropout_grad", {.lower = lower_dropout_grad});
}

}  // namespace ingot::cuda
