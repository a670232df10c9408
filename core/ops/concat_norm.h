// Batch norm of a concatenation that is never made.
//
//   concat_batch_norm        (gamma, beta, running_mean, running_var, [valid_rows], x_1, ..., x_k)
//                            -> y, save_mean, save_rstd, new_running_mean, new_running_var
//   concat_batch_norm_apply  (gamma, beta, save_mean, save_rstd, [valid_rows], x_1, ..., x_k) -> y
//   concat_batch_norm_grad   (dy, gamma, save_mean, save_rstd, [valid_rows], [beta], x_1, ..., x_k, [a_1,
//   ..., a_k])
//                            -> dx_1, ..., dx_k, dgamma, dbeta
//
// With x = concat(x_1, ..., x_k) along the channels they are batch_norm(x), batch_norm_apply(x) and
// batch_norm_grad(dy, x) (core/ops/norm.h), whose dx is cut in the same places. `beta` is there where the
// activation is not "", whose mask is found from x. With has_added other gradients a_i of the same pieces are
// added: dx_i = (piece i of dx) + a_i.
//
// A dense block (Huang et al. 2017, arXiv 1608.06993) reads the concatenation of all its layers' results so
// far in every layer: made as tensors, they take memory and time that grow with the square of the layers, and
// their gradients are cut and added piece by piece. The pass fuse-concat makes these ops, after
// differentiation, where the backend has kernels for them; they have no gradients of their own. Cost and
// errors: those of the ops they stand for.
#pragma once

#include <cstdint>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct ConcatBatchNormAttrs {
  double eps = 1e-5, momentum = 0.1;
  bool has_valid = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("eps", s.eps);
    v("momentum", s.momentum);
    v("has_valid", s.has_valid);
    v("activation", s.activation);
  }
  // Where x_1 stands among the operands.
  int first_piece() const { return 4 + has_valid; }
};

struct ConcatBatchNormApplyAttrs {
  bool has_valid = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("has_valid", s.has_valid);
    v("activation", s.activation);
  }
  int first_piece() const { return 4 + has_valid; }
};

struct ConcatBatchNormGradAttrs {
  double eps = 1e-5;
  bool has_valid = false, has_added = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("eps", s.eps);
    v("has_valid", s.has_valid);
    v("has_added", s.has_added);
    v("activation", s.activation);
  }
  int first_piece() const { return 4 + has_valid + !activation.empty(); }
  int pieces(int num_inputs) const { return (num_inputs - first_piece()) / (has_added ? 2 : 1); }
};

}  // namespace ingot
