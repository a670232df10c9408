// Two-dimensional convolution and its two gradients: launches of the kernels in conv*.cu.
//
//   conv_forward      y  = act(sum over taps and channels of x w + bias + residual)
//   conv_grad_input   dx = sum over taps and output channels of dy w
//   conv_grad_weight  dw = sum over images and pixels of x dy
//
// exactly as core/ops/conv.h defines them. Images lie channels-last, x [n, h, w, c], y [n, oh, ow, o];
// weights and their gradients likewise, [o, kh, kw, c / groups] (Layout::channels_last(4) of [O, C/groups,
// KH, KW]). Elements are f32, f16 or bf16, summed in f32 in an order that depends on the sizes alone. Any
// number of channels and groups; channels per group that fill 16 bytes, and aligned pointers, give vector
// accesses. f16 and bf16 run on tensor cores, f32 only with allow_tf32. groups == c == o (depthwise) has
// direct kernels.
//
//   ConvProblem p{.dtype = DType::F16, .n = 8, .c = 64, .h = 56, .w = 56, .o = 64, .kh = 3, .kw = 3};
//   p.padding = {1, 1};
//   conv_forward(p, x, w, y, {.bias = b}, workspace, stream);   // conv_forward_workspace(p) bytes, aligned
//   to 16
//
// Errors: UsageError for another dtype and for sizes of 2^30 or more along one axis (padding and dilation
// included).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/epilogue.h"

namespace ingot::cuda {

struct ConvProblem {
  DType dtype = DType::F32;
  std::int64_t n = 0, c = 0, h = 0, w = 0, o = 0, kh = 1, kw = 1;
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool allow_tf32 = false;

  std::int64_t oh() const;
  std::int64_t ow() const;
};

// Bytes of device memory, aligned to 16, that each uses while it runs; 0 for most sizes.
std::size_t conv_forward_workspace(const ConvProblem& problem, ScalarOp activation = ScalarOp::None);
std::size_t conv_grad_input_workspace(const ConvProblem& problem);
std::size_t conv_grad_weight_workspace(const ConvProblem& problem);

// y may be the residual. The bias has o elements.
void conv_forward(const ConvProblem& problem, const void* x, const void* w, void* y, const Epilogue& epilogue,
                  void* workspace, const Stream& stream);
void conv_grad_input(const ConvProblem& problem, const void* dy, const void* w, void* dx, void* workspace,
                     const Stream& stream);
void conv_grad_weight(const ConvProblem& problem, const void* x, const void* dy, void* dw, void* workspace,
                      const Stream& stream);

}  // namespace ingot::cuda
