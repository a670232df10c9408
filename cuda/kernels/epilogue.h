// What a matrix product or convolution does to each sum before it stores it:
//
//   y = min(act(sum + bias[column] + residual[as y]), most)
//
// bias and residual have the dtype of y; null leaves them out. `activation` is a scalar function of one
// operand (core/expr/scalar_ops.def), None for none. relu, tanh and sigmoid are applied in the registers of
// the product itself; any other goes through sums in the workspace and a second pass, which costs 8 bytes an
// element more.
//
//   matmul(problem, x, w, y, {.bias = b, .activation = ScalarOp::Relu}, workspace, stream);
#pragma once

#include <limits>

#include "core/expr/scalar_expr.h"

namespace ingot::cuda {

struct Epilogue {
  const void* bias = nullptr;
  const void* residual = nullptr;
  ScalarOp activation = ScalarOp::None;
  float most = std::numeric_limits<float>::infinity();
};

}  // namespace ingot::cuda
