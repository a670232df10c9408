// Matrix products.
//
//   matmul   y[..., M, N] = act(A[..., M, K] B[..., K, N] + bias + residual)
//
// A is `a` with its last two axes swapped when transpose_a is set, B likewise. The axes before the last two
// are batch axes and broadcast by NumPy's rules (torch.matmul with both operands of rank 2 or more). Both
// operands have one floating dtype, which is that of the result. bias[N], residual (shape of y) and the
// activation (name of a scalar function of one operand) are an epilogue; they are present only when the
// attributes say so, and gradients must be taken before an activation is set.
//
// Cost: 2 M N K flops per product. Errors: ShapeError when ranks, dtypes, inner sizes or batch axes do not
// fit.
//
//   Value y = matmul(x, w);                       // [B, K] x [K, N]
//   Value z = matmul(x, w, false, true);          // [B, K] x [N, K]^T, as torch.nn.Linear stores its weight
#pragma once

#include <string>

#include "core/op/builder.h"

namespace ingot {

struct MatmulAttrs {
  bool transpose_a = false, transpose_b = false;
  bool has_bias = false, has_residual = false;
  std::string activation{};
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("transpose_a", s.transpose_a);
    v("transpose_b", s.transpose_b);
    v("has_bias", s.has_bias);
    v("has_residual", s.has_residual);
    v("activation", s.activation);
  }
};

Value matmul(Value a, Value b, bool transpose_a = false, bool transpose_b = false,
             SourceLoc loc = SourceLoc::current());

// Batch axes, M, N and K of a product, read off its operands' shapes (which must fit).
struct MatmulSizes {
  Shape batch;
  std::int64_t m = 0, n = 0, k = 0;
};
MatmulSizes matmul_sizes(const Shape& a, const Shape& b, bool transpose_a, bool transpose_b);

}  // namespace ingot
