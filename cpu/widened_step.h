// Half precision where a kernel knows f32 only: operands in f16 and bf16 are widened in the workspace, the
// f32 kernel runs, its results are rounded once. That is what an op means in half precision (its reference
// does the same), at the speed of f32 and the price of a pass over each operand.
//
// Null when no candidate of the table takes the node in f32, or none of its operands is in half precision.
//
//   if (auto step = widened_step(table(), problem)) ...   // step->kernel == "f32:onednn:brgconv:avx512_core"
#pragma once

#include <memory>
#include <optional>

#include "core/runtime/lowering.h"

namespace ingot::cpu {

std::unique_ptr<Step> widened_step(const LoweringTable& table, const Problem& p);

// What that step wants; nothing where there would be none.
std::optional<Backend::Layouts> widened_layouts(const LoweringTable& table, const Problem& p,
                                                const std::vector<bool>& state_free);

}  // namespace ingot::cpu
