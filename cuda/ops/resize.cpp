// Resized channels-last images and their gradient.
#include "core/ops/resize.h"

#include "cuda/kernels/resize.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

template <class A>
ResizeShape shape_of(const A& at, const Shape& x, const Shape& y) {
  const auto side = [](const ResizeAxis& a) { return ResizeSide{a.in, a.out, a.scale, a.offset}; };
  const auto [h, w] = resize_axes(at, x, y);
  return {x[0], x[1], side(h), side(w), h.nearest};
}

bool served(const Problem& p) {
  return is_float(p.in(0).dtype) && all_operands(p, lies_channels_last);
}

std::unique_ptr<Step> lower_resize(const Problem& p) {
  if (!served(p)) return nullptr;
  const ResizeShape s = shape_of(p.attrs<Resize2dAttrs>(), p.in(0).shape, p.out().shape);
  return launch_step(
      "resize", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        resize(dtype, s, in[0], out[0], stream);
      });
}

std::unique_ptr<Step> lower_resize_grad(const Problem& p) {
  if (!served(p)) return nullptr;
  const ResizeShape s = shape_of(p.attrs<Resize2dGradAttrs>(), p.out().shape, p.in(0).shape);
  return launch_step(
      "resize", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        resize_grad(dtype, s, in[0], out[0], stream);
      });
}

}  // namespace

void add_resize(LoweringTable& table) {
  table.add("resize2d", {.lower = lower_resize, .layouts = channels_last_layouts});
  table.add("resize2d_grad", {.lower = lower_resize_grad, .layouts = channels_last_layouts});
}

}  // namespace ingot::cuda
