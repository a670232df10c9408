// Runs a graph by the references alone: the shortest way from a few numbers to a few numbers in a test.
//
//   Graph g;
//   const Value x = constant(g, Tensor::of({1, 2}));
//   EXPECT_EQ(values(eval(x + x)), (std::vector<double>{2, 4}));
#pragma once

#include <map>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

// The value of `v`; inputs and states of the graph come from `feeds`.
inline Tensor eval(Value v, const std::map<ValueId, Tensor>& feeds = {}) {
  const Graph& g = v.graph();
  std::vector<Tensor> held(g.values().size());
  for (const auto& [id, tensor] : feeds) held[id.index] = tensor;
  for (const Node& n : g.nodes()) {
    std::vector<Tensor> in, out;
    bool ready = true;
    for (const ValueId i : n.inputs) {
      in.push_back(held[i.index]);
      ready = ready && in.back().defined();
    }
    if (!ready) continue;
    for (const ValueId o : n.outputs) out.emplace_back(g.type(o));
    op(n.op).reference({n.attrs, in, out});
    for (std::size_t k = 0; k < out.size(); ++k) held[n.outputs[k].index] = out[k];
  }
  return held[v.id().index];
}

inline std::vector<double> values(const Tensor& t) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < t.numel(); ++i) out.push_back(t.get(i));
  return out;
}

// The gradients that `v`'s producer gives its operands when the gradient of `v` is `g`.
inline std::vector<Value> operand_gradients(Value v, Value g) {
  Graph& graph = v.graph();
  const NodeId id = graph.value(v.id()).producer;
  const OpDef& def = op(graph.node(id).op);
  std::vector<Value> grads(graph.node(id).outputs.size());
  grads.at(graph.value(v.id()).output_index) = g;
  GradContext c(graph, id, grads, std::vector<bool>(graph.node(id).inputs.size(), true));
  return def.gradient(c);
}

}  // namespace ingot
