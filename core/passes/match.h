// Small questions that passes ask about a graph.
//
//   if (auto c = scalar_constant(g, v); c == 0.0) ...
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

// The node that made v, or null for inputs and states.
inline const Node* producer(const Graph& g, ValueId v) {
  const ValueInfo& info = g.value(v);
  return info.kind == ValueKind::Result ? &g.node(info.producer) : nullptr;
}

// v's producer if it is `op`, else null.
inline const Node* producer(const Graph& g, ValueId v, std::string_view op) {
  const Node* n = producer(g, v);
  return n != nullptr && n->op == op ? n : nullptr;
}

// An attribute by name; throws UsageError when the node has none of that name and type.
template <class T>
T attribute(const Node& n, std::string_view name) {
  for (const auto& f : n.attrs.fields())
    if (f.name == name)
      if (const T* v = std::get_if<T>(&f.value)) return *v;
  throw UsageError(cat("node '", n.name, "' (", n.op, ") has no attribute '", name, "' of the asked type"));
}

// The value of a `full` node, whatever its shape.
inline std::optional<double> scalar_constant(const Graph& g, ValueId v) {
  const Node* n = producer(g, v, "full");
  if (n == nullptr) return {};
  return attribute<double>(*n, "value");
}

// where(z <= 0, 0, g): the gradient g through z = relu(...). Returns g, or an invalid id.
inline ValueId unmask(const Graph& g, const Node& where, ValueId z) {
  if (where.op != "where" || scalar_constant(g, where.inputs[1]) != 0.0) return {};
  const Node* le = producer(g, where.inputs[0], "le");
  if (le == nullptr || le->inputs[0] != z || scalar_constant(g, le->inputs[1]) != 0.0) return {};
  return where.inputs[2];
}

// Values that leave the step: outputs and next contents of states. A fusion must not swallow them.
inline std::vector<bool> escaping_values(const Graph& g) {
  std::vector<bool> out(g.values().size(), false);
  for (const auto& o : g.outputs()) out[o.value.index] = true;
  for (const auto& u : g.updates()) out[u.value.index] = true;
  return out;
}

}  // namespace ingot
