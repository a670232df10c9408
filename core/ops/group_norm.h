// Normalisation over groups of channels (Wu and He 2018, arXiv 1803.08494; ONNX GroupNormalization), and its
// gradient. Functions: core/ops/normalize.h.
//
//   group_norm        (x, gamma, beta) -> y, mean, rstd
//   group_norm_grad   (dy, x, gamma, mean, rstd) -> dx, dgamma, dbeta
//
// x[N, C, ...]: each sample's channels are cut into `groups` runs of C/groups, and each run with all its
// pixels is normalised, y = gamma (x - mean) rstd + beta, rstd = 1 / sqrt(var + eps) with the biased
// variance. gamma and beta are [C], mean and rstd [N, groups]; they have the dtype of x, or f32 when x is f16
// or bf16. With one group a channel it is instance norm.
//
// The gradient is closed under one differentiation only. Cost: 8 flops per element, 11 for the gradient; x is
// read twice, dy and x twice. Errors: ShapeError when ranks, dtypes or channels do not fit, UsageError for
// eps < 0.
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct GroupNormAttrs {
  std::int64_t groups = 1;
  double eps = 1e-5;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("groups", s.groups);
    v("eps", s.eps);
  }
};

}  // namespace ingot
