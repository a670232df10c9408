// Runs one op's reference on host tensors: what the interpreter, constant folding and the CPU's last
// candidate share.
//
//   auto out = run_reference(op("add"), {}, {a, b});
#pragma once

#include <span>
#include <vector>

#include "core/op/registry.h"

namespace ingot {

// Operands of any layout; results are new and row-major. Throws UsageError when the op has no reference.
std::vector<Tensor> run_reference(const OpDef& def, const Attrs& attrs, std::span<const Tensor> inputs);

}  // namespace ingot
