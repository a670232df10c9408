// Gradients of a convolution whose result was max pooled, from the gradient of the pooled image.
//
//   conv2d_grad_input_unpooled   (dy, offset, weight) -> dx  = conv2d_grad_input(unpool(dy, offset), weight)
//   conv2d_grad_weight_unpooled  (x, dy, offset) -> dw       = conv2d_grad_weight(x, unpool(dy, offset))
//
// where unpool is max_pool2d_grad. Each window of the pooling hands its gradient to one pixel, so unpool(dy,
// offset) is nearly empty: for 2 x 2 windows one element in four, at most, is not zero. These ops never make
// that tensor and multiply only what is in it, a quarter of the work. Zeros of dy are left out as well (0
// times infinity counts as 0).
//
// dy[N, O, PH, PW] and offset are of the pooled image, offset as max_pool2d gives it (u8, or i32 for windows
// of more than 256 cells); x[N, C, H, W], weight[O, C/groups, KH, KW], one floating dtype. The convolution's
// attributes are conv2d's. pool_* are max_pool2d's, and pool_input_shape is the shape of the convolution's
// result.
//
// The pass fuse-unpooling makes them, after differentiation, where the backend has a kernel for them; they
// have no gradients of their own. Cost: 2 N O PH PW (C/groups) KH KW flops. Errors: those of the ops they
// stand for.
//
//   Value dw = conv2d_grad_weight_unpooled(x, dy, offset, attrs);
#pragma once

#include "core/ops/conv.h"
#include "core/ops/pool.h"

namespace ingot {

// What both ops say of the pooling; `pool()` is the gradient's attributes.
struct UnpooledConvAttrs {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  std::array<std::int64_t, 2> pool_kernel{2, 2}, pool_stride{2, 2}, pool_padding{0, 0}, pool_dilation{1, 1};
  bool pool_ceil_mode = false;
  Shape pool_input_shape{};

  void set_conv(const auto& conv) {
    stride = conv.stride;
    padding = conv.padding;
    dilation = conv.dilation;
    groups = conv.groups;
  }
  void set_pool(const MaxPool2dGradAttrs& p) {
    pool_kernel = p.kernel;
    pool_stride = p.stride;
    pool_padding = p.padding;
    pool_dilation = p.dilation;
    pool_ceil_mode = p.ceil_mode;
    pool_input_shape = p.input_shape;
  }
  MaxPool2dGradAttrs pool() const {
    return {pool_kernel, pool_stride, pool_padding, pool_dilation, pool_ceil_mode, pool_input_shape};
  }

 protected:
  template <class Self, class Visit>
  static void shared_fields(Self& s, Visit&& v) {
    v("stride", s.stride);
    v("padding", s.padding);
    v("dilation", s.dilation);
    v("groups", s.groups);
    v("pool_kernel", s.pool_kernel);
    v("pool_stride", s.pool_stride);
    v("pool_padding", s.pool_padding);
    v("pool_dilation", s.pool_dilation);
    v("pool_ceil_mode", s.pool_ceil_mode);
    v("pool_input_shape", s.pool_input_shape);
  }
};

struct Conv2dGradInputUnpooledAttrs : UnpooledConvAttrs {
  Shape input_shape{};
  Conv2dGradInputAttrs conv() const { return {stride, padding, dilation, groups, input_shape}; }
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    shared_fields(s, v);
    v("input_shape", s.input_shape);
  }
};

struct Conv2dGradWeightUnpooledAttrs : UnpooledConvAttrs {
  Shape weight_shape{};
  Conv2dGradWeightAttrs conv() const { return {stride, padding, dilation, groups, weight_shape}; }
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    shared_fields(s, v);
    v("weight_shape", s.weight_shape);
  }
};

Value conv2d_grad_input_unpooled(Value dy, Value offset, Value weight,
                                 const Conv2dGradInputUnpooledAttrs& attrs,
                                 SourceLoc loc = SourceLoc::current());
Value conv2d_grad_weight_unpooled(Value x, Value dy, Value offset, const Conv2dGradWeightUnpooledAttrs& attrs,
                                  SourceLoc loc = SourceLoc::current());

}  // namespace ingot
