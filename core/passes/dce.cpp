// Dead code: a node stays when an output or an update depends on it.
#include "core/passes/pass.h"

namespace ingot {

Graph eliminate_dead_code(const Graph& graph, PassContext&) {
  std::vector<bool> live(graph.values().size(), false);
  for (const auto& o : graph.outputs()) live[o.value.index] = true;
  for (const auto& u : graph.updates()) live[u.value.index] = true;
  std::vector<bool> keep(graph.nodes().size(), false);
  for (std::size_t i = graph.nodes().size(); i-- > 0;) {
    const Node& n = graph.nodes()[i];
    for (const ValueId v : n.outputs) keep[i] = keep[i] || live[v.index];
    if (keep[i])
      for (const ValueId v : n.inputs) live[v.index] = true;
  }
  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < keep.size(); ++i)
    if (keep[i]) rw.copy({i});
  return rw.finish();
}

}  // namespace ingot
