// Small questions that passes ask about a graph.
//
//   if (auto c = scalar_constant(g, v); c == 0.0) ...
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"
#include "core/op/registry.h"

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

// Per node: it runs once per session, because everything it reads is constant over the session.
inline std::vector<bool> constant_nodes(const Graph& g) {
  std::vector<bool> constant(g.values().size(), false), once(g.nodes().size());
  for (const auto& s : g.states()) constant[s.value.index] = true;
  for (const auto& u : g.updates()) constant[u.state.index] = false;
  for (std::size_t i = 0; i < g.nodes().size(); ++i) {
    const Node& n = g.nodes()[i];
    once[i] = op(n.op).pure &&
              std::all_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) { return constant[v.index]; });
    for (const ValueId v : n.outputs) constant[v.index] = once[i];
  }
  return once;
}

// Appends a scalar function, a cast or a tape of one output to a tape that holds its operands; the register
// of its result.
inline ScalarExpr::Reg append_node(ScalarExpr& tape, const Graph& g, const Node& n,
                                   const std::vector<ScalarExpr::Reg>& operands) {
  if (n.op == "cast") return tape.emit_cast(operands.at(0), g.type(n.outputs[0]).dtype);
  if (n.op != "fused") return tape.emit(op(n.op).scalar, operands);
  const auto inner = attribute<ScalarExpr>(n, "expr");
  std::vector<ScalarExpr::Reg> map = operands;
  for (const auto& i : inner.instrs()) {
    std::vector<ScalarExpr::Reg> a;
    for (int k = 0; k < inner.arity(i); ++k) a.push_back(map[i.args[static_cast<std::size_t>(k)]]);
    if (i.op == ScalarOp::Const)
      map.push_back(tape.emit_const(i.imm, i.dtype));
    else if (i.op == ScalarOp::Cast)
      map.push_back(tape.emit_cast(a[0], i.dtype));
    else
      map.push_back(tape.emit(i.op, a));
  }
  return map.at(inner.outputs().at(0));
}

}  // namespace ingot
