// Convolutions that hand batch norm its sums, and what is left of batch norm then.
//
//   conv2d_sums             (x, w) -> y, sum, squares             y as conv2d; sums of y and y^2 per channel
//   batch_norm_statistics   (sum, squares, running_mean, running_var, [valid_rows])
//                           -> save_mean, save_rstd, new_running_mean, new_running_var
//   conv2d_grad_input_sums  (dy, w, x, gamma, beta, save_mean, save_rstd, [dy2, residual])
//                           -> u, dgamma, dbeta
//                           with has_second, for `residual` x, gamma, beta, mean and rstd of the second
//                           -> u, dgamma, dbeta, dgamma of the second, dbeta of the second
//   batch_norm_grad_apply   (u, x, gamma, save_mean, save_rstd, dgamma, dbeta, [valid_rows]) -> dx
//                           with has_second, before valid_rows x, gamma, mean, rstd, dgamma, dbeta of the
//                           second
//                           -> dx, dx of the second
//   batch_norm_apply_two    (x, gamma, beta, save_mean, save_rstd, the same of a second, [valid_rows]) -> y
//
// batch_norm reads its operand twice, for the statistics and for the result; its gradient reads two images or
// more for its sums. A convolution that made the operand, or the gradient, has each element in a register
// when it is stored: conv2d_sums, batch_norm_statistics and batch_norm_apply (core/ops/norm.h) make of x what
// conv2d and batch_norm make, and the other two what conv2d_grad_input and batch_norm_grad make, where
//
//   h = (x - mean) rstd,   flat where gamma h + beta [+ residual] <= 0
//   u = conv2d_grad_input(dy, w) [+ dy2], and 0 where flat;   dbeta = sum u,   dgamma = sum u h
//
// is the gradient behind a ReLU, which the residual's branch reads too. With has_second the residual is
// itself a batch norm's result, not stored: gamma2 h2 + beta2, h2 = (x2 - mean2) rstd2, whose gradients are
// made along; batch_norm_apply_two is the sum of the two, and its activation. batch_norm_statistics is told
// how many rows and pixels were summed. valid_rows is batch_norm's; what is summed must be 0 in the other
// rows, which dy = 0 makes of u.
//
// Images share one floating dtype; gamma, beta, statistics and sums are [C] and of that dtype, or f32 beside
// f16 and bf16; sum and squares are f32 then. Other than batch_norm, which takes the moments in a second pass
// around the mean, the variance is squares / count - mean^2: its error is that of f32 times 1 + mean^2 / var.
// A library may sum y and u before or after they are rounded to 16 bits. The mask takes
// the sign of gamma h + beta + residual before it would have been rounded.
//
// The pass fuse-sums makes them, after differentiation, where the backend has a library's kernel for them;
// they have no gradients of their own. Cost: the convolution's flops, each operand and result once. Errors:
// those of the ops they stand for; UsageError for an epilogue, and for less than two values a channel.
#pragma once

#include "core/ops/conv.h"

namespace ingot {

struct BatchNormStatisticsAttrs {
  std::int64_t rows = 0, pixels = 1;
  double eps = 1e-5, momentum = 0.1;
  bool has_valid = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("rows", s.rows);
    v("pixels", s.pixels);
    v("eps", s.eps);
    v("momentum", s.momentum);
    v("has_valid", s.has_valid);
  }
};

struct BatchNormGradApplyAttrs {
  bool has_valid = false, has_second = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("has_valid", s.has_valid);
    v("has_second", s.has_second);
  }
};

struct Conv2dGradInputSumsAttrs : Conv2dGradInputAttrs {
  bool has_residual = false, has_second = false;  // one of them; with it comes dy2
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    Conv2dGradInputAttrs::fields(s, v);
    v("has_residual", s.has_residual);
    v("has_second", s.has_second);
  }
};

}  // namespace ingot
