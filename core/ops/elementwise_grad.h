// Gradients of the scalar functions: one row each in elementwise_grad.cpp.
//
//   if (has_scalar_gradient(ScalarOp::Exp)) def.gradient = scalar_gradient;
#pragma once

#include <vector>

#include "core/op/builder.h"

namespace ingot::ops {

// False for functions whose result is bool.
bool has_scalar_gradient(ScalarOp op);
// The gradient rule of every scalar function: reads the row of the node's function and undoes broadcasting.
std::vector<Value> scalar_gradient(GradContext& c);

}  // namespace ingot::ops
