// The last candidate of every op: its OpDef::reference on row-major memory.
//
// Slow and always there. Operands in f16 or bf16 are widened to f32 in the workspace, since references
// compute in f32 and f64 only. Declines (returns null) when an operand is not row-major or the op has no
// reference.
//
//   if (auto step = lower_reference(problem)) ...     // step->kernel == "reference"
#pragma once

#include <memory>

#include "core/runtime/lowering.h"

namespace ingot::cpu {

std::unique_ptr<Step> lower_reference(const Problem& p);

}  // namespace ingot::cpu
