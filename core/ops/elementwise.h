// Elementwise ops: one per row of core/expr/scalar_ops.def, with NumPy broadcasting, plus cast.
//
//   Value y = relu(a + b);
//   Value z = where(gt(x, 0.0), x, x * 0.1);
#pragma once

#include "core/op/builder.h"

namespace ingot {

namespace ops {
void register_scalar_ops(Registry& registry);
}

}  // namespace ingot
