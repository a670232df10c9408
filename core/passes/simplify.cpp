// Simplification: nodes that change nothing go; chains of views become one view.
#include "core/op/builder.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

// The operand that the node's result equals, if there is one. Operands are read in the new graph.
ValueId identity_of(const Graph& g, const Node& n, const TensorType& result) {
  const auto same = [&](std::size_t i) { return g.type(n.inputs[i]) == result; };
  const auto constant = [&](std::size_t i, double c) { return scalar_constant(g, n.inputs[i]) == c; };
  if (n.op == "reshape" || n.op == "broadcast_to" || n.op == "cast" || n.op == "reorder") {
    if (same(0)) return n.inputs[0];
  } else if (n.op == "transpose") {
    const auto perm = attribute<std::vector<std::int64_t>>(n, "perm");
    bool identity = true;
    for (std::size_t i = 0; i < perm.size(); ++i)
      identity = identity && perm[i] == static_cast<std::int64_t>(i);
    if (identity) return n.inputs[0];
  } else if (n.op == "add") {
    if (same(0) && constant(1, 0.0)) return n.inputs[0];
    if (same(1) && constant(0, 0.0)) return n.inputs[1];
  } else if (n.op == "sub") {
    if (same(0) && constant(1, 0.0)) return n.inputs[0];
  } else if (n.op == "mul") {
    if (same(0) && constant(1, 1.0)) return n.inputs[0];
    if (same(1) && constant(0, 1.0)) return n.inputs[1];
  } else if (n.op == "div") {
    if (same(0) && constant(1, 1.0)) return n.inputs[0];
  } else if (n.op == "neg") {
    if (const Node* inner = producer(g, n.inputs[0], "neg")) return inner->inputs[0];
  }
  return {};
}

}  // namespace

Graph simplify(const Graph& graph, PassContext&) {
  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const NodeId made = rw.copy({i});
    Graph& g = rw.graph();
    const Node n = g.node(made);
    if (n.outputs.size() != 1) continue;
    const ValueId same = identity_of(g, n, g.type(n.outputs[0]));
    if (same.valid()) {
      rw.map(graph.nodes()[i].outputs[0], same);  // the node itself is dead now
      continue;
    }
    // A view of a view reads the first one's operand.
    if (const Node* inner = n.op == "reshape" ? producer(g, n.inputs[0], "reshape") : nullptr) {
      g.node(made).inputs[0] = inner->inputs[0];
    } else if (const Node* first = n.op == "transpose" ? producer(g, n.inputs[0], "transpose") : nullptr) {
      const auto outer = attribute<std::vector<std::int64_t>>(n, "perm");
      const auto inner_perm = attribute<std::vector<std::int64_t>>(*first, "perm");
      std::vector<std::int64_t> both;
      for (const std::int64_t p : outer) both.push_back(inner_perm.at(static_cast<std::size_t>(p)));
      const ValueId source = first->inputs[0];
      g.node(made).attrs = n.attrs.with("perm", both);
      g.node(made).inputs[0] = source;
    }
  }
  PassContext none;
  return eliminate_dead_code(rw.finish(), none);
}

}  // namespace ingot
