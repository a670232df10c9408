#include "core/op/builder.h"

#include <array>

namespace ingot {

namespace {

std::vector<Value> append(Graph& g, std::string_view name, std::span<const Value> inputs, const Attrs& attrs,
                          SourceLoc loc) {
  Node node;
  node.op = name;
  node.name = scope_path(g, name);
  node.loc = user_line(g, std::move(loc));
  std::vector<TensorType> types;
  try {
    const OpDef& def = op(name);
    node.attrs = attrs.empty() ? def.attrs : attrs;
    for (const Value& v : inputs) {
      if (&v.graph() != &g) throw UsageError(cat(name, ": operands belong to two different graphs"));
      node.inputs.push_back(v.id());
      types.push_back(v.type());
    }
    types = infer(def, node.attrs, types);
  } catch (Error& e) {
    e.add_context(node.name, node.loc);
    throw;
  }
  const NodeId id = g.add_node(std::move(node), types);
  std::vector<Value> out;
  for (const ValueId v : g.node(id).outputs) out.emplace_back(g, v);
  return out;
}

}  // namespace

Value input(Graph& graph, std::string name, const TensorType& type, SourceLoc loc) {
  return {graph, graph.add_input(std::move(name), type, std::move(loc))};
}

Value state(Graph& graph, StateRole role, std::string name, const TensorType& type, const Init& init,
            bool trainable, SourceLoc loc) {
  if (const State* s = graph.find_state(name)) {
    if (graph.type(s->value) == type && s->role == role) return {graph, s->value};
    ShapeError e(cat("state '", name, "' exists as ", to_string(graph.type(s->value)),
                     " and is asked for as ", to_string(type)));
    e.add_context(name, user_line(graph, std::move(loc)));
    throw e;
  }
  State s;
  s.name = std::move(name);
  s.role = role;
  s.trainable = trainable;
  s.init = init;
  return {graph, graph.add_state(std::move(s), type, user_line(graph, std::move(loc)))};
}

Value parameter(Graph& graph, std::string_view name, const TensorType& type, const Init& init,
                SourceLoc loc) {
  return state(graph, StateRole::Parameter, scope_path(graph, name), type, init, true, std::move(loc));
}

Value buffer(Graph& graph, std::string_view name, const TensorType& type, const Init& init, SourceLoc loc) {
  return state(graph, StateRole::Buffer, scope_path(graph, name), type, init, false, std::move(loc));
}

void output(std::string name, Value value) {
  value.graph().add_output(std::move(name), value.id());
}

std::vector<Value> apply(std::string_view op, std::span<const Value> inputs, const Attrs& attrs,
                         SourceLoc loc) {
  if (inputs.empty()) throw UsageError(cat(op, ": no operands; use apply0 for ops without any"));
  return append(inputs[0].graph(), op, inputs, attrs, std::move(loc));
}

Value apply1(std::string_view op, std::span<const Value> inputs, const Attrs& attrs, SourceLoc loc) {
  const auto out = apply(op, inputs, attrs, std::move(loc));
  return out.at(0);
}

Value apply1(std::string_view op, std::initializer_list<Value> inputs, const Attrs& attrs, SourceLoc loc) {
  return apply1(op, std::span<const Value>(inputs.begin(), inputs.size()), attrs, std::move(loc));
}

Value apply0(Graph& graph, std::string_view op, const Attrs& attrs, SourceLoc loc) {
  return append(graph, op, {}, attrs, std::move(loc)).at(0);
}

SourceLoc user_line(const Graph& graph, SourceLoc loc) {
  for (const SourceLoc& l : graph.build.scope_locs)
    if (l.known()) return l;
  return loc;
}

Scope::Scope(Graph& graph, std::string name, SourceLoc loc) : graph_(graph) {
  graph_.build.scopes.push_back(std::move(name));
  graph_.build.scope_locs.push_back(std::move(loc));
}

Scope::~Scope() {
  graph_.build.scopes.pop_back();
  graph_.build.scope_locs.pop_back();
}

std::string scope_path(const Graph& graph, std::string_view leaf) {
  std::string path;
  const auto add = [&](std::string_view part) {
    if (part.empty()) return;
    if (!path.empty() && path.back() != '/') path += '.';
    path += part;
  };
  for (const auto& s : graph.build.scopes) add(s);
  add(leaf);
  return path;
}

}  // namespace ingot
