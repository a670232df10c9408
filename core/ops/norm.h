// Batch and layer normalisation.
//
//   batch_norm        (x, gamma, beta, running_mean, running_var, [valid_rows], [residual])
//                     -> y, save_mean, save_rstd, new_running_mean, new_running_var
//   batch_norm_grad   (dy, x, gamma, save_mean, save_rstd, [valid_rows], [y | beta], [dy2])
//                     -> dx, dgamma, dbeta, [dresidual]
//   batch_norm_apply  (x, gamma, beta, save_mean, save_rstd, [valid_rows], [residual]) -> y
//   batch_norm_infer  (x, gamma, beta, mean, var) -> y
//   layer_norm        (x, gamma, beta) -> y, mean, rstd
//   layer_norm_grad   (dy, x, gamma, mean, rstd) -> dx, dgamma, dbeta
//
// Batch norm (Ioffe and Szegedy 2015, arXiv 1502.03167): x[N, C, ...] is normalised per channel over all
// other axes, y = act(gamma (x - mean) rstd + beta + residual), rstd = 1 / sqrt(var + eps) with the biased
// variance, computed in two passes. The running statistics move by `momentum` towards the batch's, the
// variance unbiased (PyTorch). gamma, beta and all statistics are [C] and have the dtype of x, or f32 when x
// is f16 or bf16. valid_rows (an i32 scalar, present when has_valid) says that only the first so many of the
// N rows count: a short last batch gives the numbers of a batch of that size. In the other rows y, dx and
// dresidual are 0; with no valid row the running statistics stay.
// residual and activation ("relu", "relu6" or "") are an epilogue; batch_norm_grad then reads y to mask dy
// and yields the residual's gradient. With mask_from_x it is given beta in the place of y, and finds where
// the activation was flat from x and the statistics: y had no residual, and need not be kept or read. dy2
// (present when has_dy2) is a second gradient, added to dy before the mask: what two readers of y send back
// need not be added elsewhere. batch_norm_apply yields y again from the statistics that were kept, to their
// rounding; passes put it where y is needed and was not kept. Training on a single value per channel is
// refused, as in PyTorch.
//
// Layer norm (Ba et al. 2016, arXiv 1607.06450): x is normalised over the axes from `axis` on. gamma and beta
// have the shape of those axes, mean and rstd that of the axes before.
//
// Both gradients are closed under one differentiation only. Cost: 8 flops per element, 11 for gradients;
// batch norm reads x twice, its gradient what it reads, or where it stores the residual's gradient that and
// x. Errors: ShapeError when ranks, dtypes or channels do not fit, UsageError for eps < 0 or another
// activation.
//
//   BatchNormResult b = batch_norm(x, gamma, beta, running_mean, running_var);
//   g.add_update(running_mean.id(), b.running_mean.id());
#pragma once

#include <cstdint>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct BatchNormAttrs {
  double eps = 1e-5, momentum = 0.1;
  bool has_valid = false, has_residual = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("eps", s.eps);
    v("momentum", s.momentum);
    v("has_valid", s.has_valid);
    v("has_residual", s.has_residual);
    v("activation", s.activation);
  }
};

struct BatchNormGradAttrs {
  double eps = 1e-5;
  bool has_valid = false;
  std::string activation{};
  bool has_residual = false, has_dy2 = false, mask_from_x = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("eps", s.eps);
    v("has_valid", s.has_valid);
    v("activation", s.activation);
    v("has_residual", s.has_residual);
    v("has_dy2", s.has_dy2);
    v("mask_from_x", s.mask_from_x);
  }
};

struct BatchNormApplyAttrs {
  bool has_valid = false, has_residual = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("has_valid", s.has_valid);
    v("has_residual", s.has_residual);
    v("activation", s.activation);
  }
};

struct BatchNormInferAttrs {
  double eps = 1e-5;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("eps", s.eps);
  }
};

struct LayerNormAttrs {
  std::int64_t axis = -1;  // the first normalised axis; negative counts from the end
  double eps = 1e-5;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("eps", s.eps);
  }
};

struct BatchNormResult {
  Value y, save_mean, save_rstd, running_mean, running_var;
};
struct BatchNormArgs {
  double eps = 1e-5, momentum = 0.1;
  Value valid_rows{};  // i32 scalar; empty: all rows
};
BatchNormResult batch_norm(Value x, Value gamma, Value beta, Value running_mean, Value running_var,
                           const BatchNormArgs& options = {}, SourceLoc loc = SourceLoc::current());
Value batch_norm_infer(Value x, Value gamma, Value beta, Value mean, Value var, double eps = 1e-5,
                       SourceLoc loc = SourceLoc::current());

struct LayerNormResult {
  Value y, mean, rstd;
};
LayerNormResult layer_norm(Value x, Value gamma, Value beta, std::int64_t axis = -1, double eps = 1e-5,
                           SourceLoc loc = SourceLoc::current());

}  // namespace ingot
