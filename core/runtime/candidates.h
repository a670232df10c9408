// Every way to run a node, each in the layouts that it wants: for those who compare kernels. A compiled
// program has one of them.
//
//   for (const OwnLayouts& c : steps_in_own_layouts(table, problem)) time(*c.step, c.alone);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/runtime/lowering.h"

namespace ingot {

// The node alone, with these layouts on its operands.
Graph node_with_layouts(const Problem& p, const Backend::Layouts& l);

struct OwnLayouts {
  std::string name;  // whose kernels (Lowering::name)
  Graph alone;       // the node, as this candidate wants its operands
  std::unique_ptr<Step> step;
};
// Of all rows that accept the node in their layouts, with all of their alternatives, in the table's order.
std::vector<OwnLayouts> steps_in_own_layouts(const LoweringTable& table, const Problem& p);

}  // namespace ingot
