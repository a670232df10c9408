// Pooling of channels-last images and its gradients.
#include "core/ops/pool.h"

#include "cuda/kernels/pool.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// The windows between image x and pooled y; adaptive pooling has attributes without a kernel.
template <class A>
PoolShape shape_of(const A& at, const Shape& x, const Shape& y) {
  PoolShape s;
  s.images = x[0];
  s.channels = x[1];
  PoolAxis* const axes[] = {&s.h, &s.w};
  for (const std::size_t i : {0u, 1u}) {
    axes[i]->in = x[static_cast<int>(i) + 2];
    axes[i]->out = y[static_cast<int>(i) + 2];
    if constexpr (requires { at.kernel; }) {
      axes[i]->kernel = at.kernel[i];
      axes[i]->stride = at.stride[i];
      axes[i]->padding = at.padding[i];
    }
    if constexpr (requires { at.dilation; }) axes[i]->dilation = at.dilation[i];
  }
  if constexpr (requires { at.count_include_pad; }) s.count_include_pad = at.count_include_pad;
  s.adaptive = requires {
    at.output_size;
  };
  return s;
}

bool served(const Problem& p) {
  return is_float(p.in(0).dtype) && all_operands(p, lies_channels_last);
}

std::unique_ptr<Step> lower_max(const Problem& p) {
  if (!served(p)) return nullptr;
  const PoolShape s = shape_of(p.attrs<MaxPool2dAttrs>(), p.in(0).shape, p.out().shape);
  return launch_step(
      "pool", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        max_pool(dtype, s, in[0], out[0], out[1], stream);
      });
}

std::unique_ptr<Step> lower_max_grad(const Problem& p) {
  if (!served(p)) return nullptr;
  const PoolShape s = shape_of(p.attrs<MaxPool2dGradAttrs>(), p.out().shape, p.in(0).shape);
  return launch_step(
      "pool", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        max_pool_grad(dtype, s, in[0], in[1], out[0], stream);
      });
}

template <class A>
std::unique_ptr<Step> lower_average(const Problem& p) {
  if (!served(p)) return nullptr;
  const PoolShape s = shape_of(p.attrs<A>(), p.in(0).shape, p.out().shape);
  return launch_step(
      "pool", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        average_pool(dtype, s, in[0], out[0], stream);
      });
}

template <class A>
std::unique_ptr<Step> lower_average_grad(const Problem& p) {
  if (!served(p)) return nullptr;
  const PoolShape s = shape_of(p.attrs<A>(), p.out().shape, p.in(0).shape);
  return launch_step(
      "pool", [s, dtype = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
        average_pool_grad(dtype, s, in[0], out[0], stream);
      });
}

}  // namespace

void add_pool(LoweringTable& table) {
  const auto add = [&](std::string_view op, LowerFn lower) {
    table.add(op, {.lower = lower, .layouts = channels_last_layouts});
  };
  add("max_pool2d", lower_max);
  add("max_pool2d_grad", lower_max_grad);
  add("avg_pool2d", lower_average<AvgPool2dAttrs>);
  table.add("avg_pool2d", {.lower = cudnn_avg_pool2d,
                           .layouts = channels_last_layouts,
                           .name = "cudnn",
                           .alternatives = kCompiledCudnnPlans});
  add("avg_pool2d_grad", lower_average_grad<AvgPool2dGradAttrs>);
  add("adaptive_avg_pool2d", lower_average<AdaptiveAvgPool2dAttrs>);
  add("adaptive_avg_pool2d_grad", lower_average_grad<AdaptiveAvgPool2dGradAttrs>);
}

}  // namespace ingot::cuda
