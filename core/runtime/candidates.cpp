#include "core/runtime/candidates.h"

namespace ingot {

Graph node_with_layouts(const Problem& p, const Backend::Layouts& l) {
  std::vector<TensorType> inputs, outputs;
  for (int i = 0; i < p.num_inputs(); ++i) {
    inputs.push_back(p.in(i));
    inputs.back().layout = l.inputs.at(static_cast<std::size_t>(i));
  }
  for (int i = 0; i < p.num_outputs(); ++i) {
    outputs.push_back(p.out(i));
    outputs.back().layout = l.outputs.at(static_cast<std::size_t>(i));
  }
  return node_alone(p.node, inputs, outputs);
}

std::vector<OwnLayouts> steps_in_own_layouts(const LoweringTable& table, const Problem& p) {
  std::vector<OwnLayouts> all;
  const auto* rows = table.find(p.node.op);
  if (rows == nullptr) return all;
  // Weights and the like may lie as they are wanted; the first operand is what another node made.
  std::vector<bool> free(p.node.inputs.size(), true);
  if (!free.empty()) free[0] = false;
  for (const Lowering& row : *rows) {
    Backend::Layouts l = row.layouts != nullptr ? row.layouts(p, free) : row_major_layouts(p);
    if (l.outputs.empty() && p.num_outputs() != 0) continue;
    for (Layout& layout : l.inputs) layout = layout.canonical();
    for (Layout& layout : l.outputs) layout = layout.canonical();
    for (int alternative = 0; alternative < row.alternatives; ++alternative) {
      Graph alone = node_with_layouts(p, l);
      Problem asked{alone, alone.nodes()[0], p.target};
      asked.alternative = alternative;
      auto step = row.lower(asked);
      if (step == nullptr) break;
      all.push_back({row.name, std::move(alone), std::move(step)});
    }
  }
  return all;
}

}  // namespace ingot
