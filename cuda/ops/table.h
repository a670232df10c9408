// The CUDA backend's table of lowerings (core/runtime/lowering.h): the rows of every family in
// cuda/ops/families.def.
//
//   if (auto step = first_step(cuda::lowerings(), {graph, node, target})) ...
#pragma once

#include "core/runtime/lowering.h"

namespace ingot::cuda {

const LoweringTable& lowerings();

}  // namespace ingot::cuda
