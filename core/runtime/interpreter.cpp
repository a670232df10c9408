#include "core/runtime/interpreter.h"

#include <optional>

#include "core/ir/retype.h"
#include "core/op/reference.h"
#include "core/runtime/initial_state.h"

namespace ingot {

namespace {

DType promoted(DType d) {
  return d == DType::F32 ? DType::F64 : d;
}

Attrs promoted(Attrs attrs) {
  attrs = retyped(std::move(attrs), [](DType d) { return promoted(d); });
  for (const AttrField& f : attrs.fields())
    if (const auto* g = std::get_if<GraphPtr>(&f.value); g != nullptr && *g != nullptr)
      attrs = attrs.with(f.name, GraphPtr(std::make_shared<Graph>(to_f64(**g))));
  return attrs;
}

void check_names(const NamedTensors& given, std::span<const std::string> known, std::string_view what) {
  for (const auto& [name, _] : given) {
    bool found = false;
    for (const std::string& k : known) found = found || k == name;
    if (!found)
      throw UsageError(cat("evaluate: the graph has no ", what, " '", name,
                           "'; there are: ", known.empty() ? "none" : join(known)));
  }
}

Tensor as_type(const Tensor& t, const TensorType& type, const std::string& name) {
  if (!t.defined() || t.shape() != type.shape ||
      (t.dtype() != type.dtype && !(is_floating(t.dtype()) && is_floating(type.dtype))))
    throw ShapeError(cat("evaluate: '", name, "' expects ", to_string(type), ", got ",
                         t.defined() ? to_string(t.type()) : "an empty tensor"));
  return t.contiguous().to(type.dtype);
}

}  // namespace

Graph to_f64(const Graph& graph) {
  Graph out;
  for (std::uint32_t i = 0; i < graph.values().size(); ++i) {
    const ValueInfo& v = graph.values()[i];
    const TensorType type{promoted(v.type.dtype), v.type.shape};
    if (v.kind == ValueKind::Input) {
      out.add_input(v.name, type, v.loc);
    } else if (v.kind == ValueKind::State) {
      const State* s = graph.state_of({i});
      if (s == nullptr) throw UsageError(cat("%", i, " is a state that the graph does not list"));
      State copy = *s;
      if (copy.init.data.defined()) copy.init.data = copy.init.data.to(promoted(copy.init.data.dtype()));
      out.add_state(std::move(copy), type, v.loc);
    } else if (v.output_index == 0) {
      Node node = graph.node(v.producer);
      node.attrs = promoted(std::move(node.attrs));
      std::vector<TensorType> in, types;
      for (const ValueId id : node.inputs) in.push_back(out.type(id));
      for (const TensorType& t : infer(op(node.op), node.attrs, in)) types.emplace_back(t.dtype, t.shape);
      if (types.size() != node.outputs.size())
        throw UsageError(cat("node '", node.name, "' does not have the results that its op gives"));
      out.add_node(std::move(node), types);
    }
    out.value({i}).name = v.name;
  }
  for (const Output& o : graph.outputs()) out.add_output(o.name, o.value);
  for (const Update& u : graph.updates()) out.add_update(u.state, u.value);
  for (const Update& u : graph.gradients()) out.add_gradient(u.state, u.value);
  return out;
}

Evaluated evaluate(const Graph& given, const NamedTensors& feeds, const NamedTensors& states,
                   const ReferenceOptions& options) {
  std::optional<Graph> twin;
  if (options.as_f64) twin = to_f64(given);
  const Graph& graph = twin ? *twin : given;

  std::vector<std::string> input_names, state_names;
  for (const ValueId v : graph.inputs()) input_names.push_back(graph.value(v).name);
  for (const State& s : graph.states()) state_names.push_back(s.name);
  check_names(feeds, input_names, "input");
  check_names(states, state_names, "state");

  std::vector<Tensor> values(graph.values().size());
  for (const ValueId v : graph.inputs()) {
    const std::string& name = graph.value(v).name;
    const auto it = feeds.find(name);
    if (it == feeds.end())
      throw UsageError(
          cat("evaluate: input '", name, "' of type ", to_string(graph.type(v)), " is not given"));
    values[v.index] = as_type(it->second, graph.type(v), name);
  }
  for (const State& s : graph.states()) {
    const TensorType& type = graph.type(s.value);
    const auto it = states.find(s.name);
    // The f64 twin starts where the f32 graph starts, not between its roundings.
    values[s.value.index] =
        it != states.end()
            ? as_type(it->second, type, s.name)
            : initial_state(s, {given.type(s.value).dtype, type.shape}, options.seed).to(type.dtype);
  }

  // The last node that reads each value; a tensor is let go after it.
  std::vector<std::uint32_t> last(values.size(), 0);
  const auto& nodes = graph.nodes();
  for (std::uint32_t n = 0; n < nodes.size(); ++n)
    for (const ValueId v : nodes[n].inputs) last[v.index] = n;
  for (const Output& o : graph.outputs()) last[o.value.index] = NodeId::kNone;
  for (const Update& u : graph.updates()) last[u.value.index] = NodeId::kNone;
  for (const State& s : graph.states()) last[s.value.index] = NodeId::kNone;

  for (std::uint32_t n = 0; n < nodes.size(); ++n) {
    const Node& node = nodes[n];
    std::vector<Tensor> in, out;
    for (const ValueId v : node.inputs) in.push_back(values[v.index]);
    try {
      out = run_reference(op(node.op), node.attrs, in);
    } catch (Error& e) {
      e.add_context(node.name, node.loc);
      throw;
    }
    if (options.watch) options.watch({n}, out);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) values[node.outputs[i].index] = out.at(i);
    for (const ValueId v : node.inputs)
      if (last[v.index] == n) values[v.index] = {};
  }

  Evaluated result;
  for (const Output& o : graph.outputs()) result.outputs[o.name] = values[o.value.index];
  for (const State& s : graph.states()) result.states[s.name] = values[s.value.index];
  for (const Update& u : graph.updates())
    result.states[graph.state_of(u.state)->name] = values[u.value.index];
  return result;
}

}  // namespace ingot
