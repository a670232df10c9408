// The three passes of a convolution over the tile kernels, for one element type. For conv_f32.cu and
// conv_half.cu.
//
// Vectors lie along channels, so they are used where the channels of a group fill whole vectors; then a group
// also starts at 16 bytes.
#pragma once

#include "cuda/kernels/conv_paths.h"
#include "cuda/kernels/conv_phases.h"
#include "cuda/kernels/tile_launch.h"

namespace ingot::cuda::tile {

template <class T>
Product product_of(const ConvCall& c) {
  const ConvGeometry& g = c.geometry;
  const long long weights = static_cast<long long>(g.kh) * g.kw * g.cg, group = weights * g.og;
  Product p;
  p.dtype = c.dtype;
  p.sizes = conv_product(c.pass, g);
  p.plan = plan_tiles(p.sizes, !is_fast(c.epilogue.activation));
  p.strides.rank = g.groups > 1 ? 1 : 0;
  p.strides.size[0] = static_cast<unsigned>(g.groups);
  switch (c.pass) {
    case ConvPass::Forward:
      p.strides.a[0] = g.cg, p.strides.b[0] = group;
      p.strides.y = p.strides.bias = g.og;
      p.row_stride = g.o;
      break;
    case ConvPass::GradInput:
      p.strides.a[0] = g.og, p.strides.b[0] = group;
      p.strides.y = g.cg;
      p.row_stride = g.c;
      break;
    case ConvPass::GradWeight:
      p.strides.a[0] = g.og, p.strides.b[0] = g.cg;
      p.strides.y = group;
      p.row_stride = weights;
      break;
  }
  p.y = c.result;
  p.epilogue = c.epilogue;
  p.workspace = c.workspace;
  p.tf32 = c.tf32;
  return p;
}

// The gradient of the input over one phase: its pixels lie a stride apart.
template <class T>
Product phase_of(Product p, const ConvPhase& phase, const ConvGeometry& g) {
  const ConvGeometry& q = phase.geometry;
  p.sizes = conv_product(ConvPass::GradInput, q);
  p.plan = plan_tiles(p.sizes);
  if (q.h == g.h && q.w == g.w) return p;
  const long long line = static_cast<long long>(g.w) * g.c;
  p.y = static_cast<T*>(p.y) + phase.top * line + static_cast<long long>(phase.left) * g.c;
  p.map = {.used = true,
           .by_width = Divider(q.w),
           .by_height = Divider(q.h),
           .image = line * g.h,
           .down = line * g.stride_h,
           .across = static_cast<long long>(g.c) * g.stride_w};
  return p;
}

template <class T>
void tile_conv(const ConvCall& c, const Stream& stream) {
  const ConvGeometry& g = c.geometry;
  const Product p = product_of<T>(c);
  const auto* const first = static_cast<const T*>(c.first);
  const auto* const second = static_cast<const T*>(c.second);
  constexpr int V = Vec16<T>::kSize;
  const bool pointers = is_aligned<T>(first, {}) && is_aligned<T>(second, {});
  const bool inputs = pointers && g.cg % V == 0, all = inputs && g.og % V == 0;
  using M = Matrix<T>;
  if (c.pass == ConvPass::Forward) {
    const ForwardImage<T> a{first, g};
    const M b{second, p.sizes.n, p.sizes.k, p.sizes.k, 1};
    if (inputs)
      launch_tiles(Operands<ForwardImage<T>, M, true, true, V>{a, b}, p, stream);
    else
      launch_tiles(Operands<ForwardImage<T>, M, false, false, 1>{a, b}, p, stream);
  } else if (c.pass == ConvPass::GradInput) {
    for (const ConvPhase& phase : grad_input_phases(g)) {
      const GradImage<T> a{first, phase.geometry};
      const long long across = g.cg, down = across * g.kw;
      const TapWeight<T> b{second + phase.first_h * down + phase.first_w * across, phase.geometry,
                           down * g.kh, down * phase.step_h, across * phase.step_w};
      const Product q = phase_of<T>(p, phase, g);
      // A phase's first tap starts as aligned as the first of all: channels fill vectors.
      if (all)
        launch_tiles(Operands<GradImage<T>, TapWeight<T>, true, false, V>{a, b}, q, stream);
      else
        launch_tiles(Operands<GradImage<T>, TapWeight<T>, false, false, 1>{a, b}, q, stream);
    }
  } else {
    const M a{second, p.sizes.m, p.sizes.k, 1, g.o};
    const PixelImage<T> b{first, g};
    if (all)
      launch_tiles(Operands<M, PixelImage<T>, false, false, V>{a, b}, p, stream);
    else
      launch_tiles(Operands<M, PixelImage<T>, false, false, 1>{a, b}, p, stream);
  }
}

}  // namespace ingot::cuda::tile
