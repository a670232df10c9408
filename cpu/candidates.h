// All kernels of the CPU that could run a node, best first: the table's, the f32 kernel on widened operands,
// the op's reference.
//
//   for (const OwnLayouts& c : cpu::all_candidates({graph, node, target})) ...   // `ingot bench --op`
#pragma once

#include <vector>

#include "core/runtime/candidates.h"

namespace ingot::cpu {

std::vector<OwnLayouts> all_candidates(const Problem& p);

}  // namespace ingot::cpu
