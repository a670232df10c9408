#include "core/op/registry.h"

#include <algorithm>

namespace ingot {

Registry::Registry() = default;

Registry& Registry::instance() {
  static Registry* const registry = [] {
    auto* r = new Registry;  // never destroyed: graphs in static storage may still name ops at exit
    register_builtin_ops(*r);
    return r;
  }();
  return *registry;
}

void Registry::add(OpDef def) {
  if (def.name.empty() || def.infer == nullptr)
    throw UsageError(cat("op '", def.name, "' needs a name and a shape inference function"));
  if ((def.gradient == nullptr) != !def.not_differentiable.empty())
    throw UsageError(cat("op '", def.name, "' needs either a gradient or the reason why it has none"));
  if (ops_.contains(def.name)) throw UsageError(cat("op '", def.name, "' is registered already"));
  ops_.emplace(def.name, std::move(def));
}

const OpDef* Registry::find(std::string_view name) const {
  const auto it = ops_.find(name);
  return it == ops_.end() ? nullptr : &it->second;
}

std::vector<const OpDef*> Registry::all() const {
  std::vector<const OpDef*> out;
  for (const auto& [_, def] : ops_) out.push_back(&def);
  return out;
}

const OpDef& op(std::string_view name) {
  if (const OpDef* def = Registry::instance().find(name)) return *def;
  std::vector<std::string_view> near;
  for (const OpDef* def : Registry::instance().all())
    if (def->name.find(name.substr(0, 4)) != std::string::npos) near.push_back(def->name);
  throw UsageError(cat("there is no op '", name, "'", near.empty() ? "" : cat("; near: ", join(near))));
}

Cost cost(const OpDef& def, const Attrs& attrs, std::span<const TensorType> inputs,
          std::span<const TensorType> outputs) {
  if (def.cost != nullptr) return def.cost(attrs, inputs, outputs);
  Cost c;
  if (def.view) return c;
  for (const auto& t : inputs) c.bytes += static_cast<double>(t.bytes());
  for (const auto& t : outputs) c.bytes += static_cast<double>(t.bytes());
  if (def.scalar != ScalarOp::None && !outputs.empty()) c.flops = static_cast<double>(outputs[0].numel());
  return c;
}

Cost cost(const Graph& graph, const Node& node) {
  std::vector<TensorType> in, out;
  for (const ValueId v : node.inputs) in.push_back(graph.type(v));
  for (const ValueId v : node.outputs) out.push_back(graph.type(v));
  return cost(op(node.op), node.attrs, in, out);
}

std::vector<TensorType> infer(const OpDef& def, const Attrs& attrs, std::span<const TensorType> inputs) {
  const int n = static_cast<int>(inputs.size());
  if (n < def.min_inputs || (def.max_inputs >= 0 && n > def.max_inputs))
    throw UsageError(cat(def.name, ": expects ", def.min_inputs,
                         def.max_inputs == def.min_inputs ? ""
                         : def.max_inputs < 0             ? " or more"
                                                          : cat(" to ", def.max_inputs),
                         " operands, got ", n));
  return def.infer({def.name, attrs, inputs});
}

}  // namespace ingot
