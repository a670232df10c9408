// Common subexpressions: of two pure nodes with the same op, attributes and operands, the later one goes.
#include <unordered_map>

#include "core/base/hash.h"
#include "core/op/registry.h"
#include "core/passes/pass.h"

namespace ingot {

Graph eliminate_common_subexpressions(const Graph& graph, PassContext&) {
  GraphRewriter rw(graph);
  std::unordered_multimap<std::uint64_t, NodeId> seen;  // nodes of the new graph
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    if (!op(n.op).pure) {
      rw.copy({i});
      continue;
    }
    std::vector<ValueId> inputs;
    for (const ValueId v : n.inputs) inputs.push_back(rw(v));
    Hasher h;
    h.add(std::string_view(n.op));
    h.add(n.attrs.hash());
    for (const ValueId v : inputs) h.add(v.index);
    NodeId twin;
    const auto [from, to] = seen.equal_range(h.value());
    for (auto it = from; it != to && !twin.valid(); ++it) {
      const Node& m = rw.graph().node(it->second);
      bool same =
          m.op == n.op && m.inputs == inputs && m.attrs == n.attrs && m.outputs.size() == n.outputs.size();
      for (std::size_t k = 0; same && k < n.outputs.size(); ++k)
        same = rw.graph().type(m.outputs[k]) == graph.type(n.outputs[k]);
      if (same) twin = it->second;
    }
    if (twin.valid()) {
      for (std::size_t k = 0; k < n.outputs.size(); ++k)
        rw.map(n.outputs[k], rw.graph().node(twin).outputs[k]);
    } else {
      seen.emplace(h.value(), rw.copy({i}));
    }
  }
  return rw.finish();
}

}  // namespace ingot
