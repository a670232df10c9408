#include "core/passes/precision.h"

#include <set>

#include "core/op/builder.h"
#include "core/ops/elementwise.h"

namespace ingot {

namespace {

// "layer1" holds "layer1.0.conv1.conv2d".
bool holds(const std::string& scope, const std::string& name) {
  return name == scope || (name.starts_with(scope) && name[scope.size()] == '.');
}

class Rewrite {
 public:
  Rewrite(const Graph& graph, const PrecisionOptions& options) : rw_(graph), options_(options) {}

  void run() {
    for (std::uint32_t i = 0; i < rw_.old().nodes().size(); ++i) node(rw_.old().nodes()[i]);
    for (const auto& [name, precision] : options_.overrides)
      if (!used_.contains(name))
        throw UsageError(
            cat("mixed precision: no node is called '", name, "' or lies in a scope of that name"));
  }

  // The old value in its old type.
  ValueId in_old_type(ValueId old) { return in_type(rw_(old), rw_.old().type(old).dtype); }

  Graph finish() {
    for (const auto& o : rw_.old().outputs()) rw_.map(o.value, in_old_type(o.value));
    for (const auto& u : rw_.old().updates()) rw_.map(u.value, in_old_type(u.value));
    return rw_.finish();
  }

 private:
  Precision precision_of(const Node& n, const OpDef& def) {
    const std::string* best = nullptr;
    for (const auto& [name, precision] : options_.overrides)
      if (holds(name, n.name) && (best == nullptr || name.size() > best->size())) best = &name;
    if (best == nullptr) return def.precision;
    used_.insert(*best);
    return options_.overrides.at(*best);
  }

  // F32 is what an op runs in that has no operand to follow.
  DType type_for(const Node& n, const OpDef& def) {
    switch (precision_of(n, def)) {
      case Precision::Compute:
        return options_.compute;
      case Precision::Full:
        return DType::F32;
      case Precision::Follow:
        break;
    }
    DType type = DType::F32;
    std::int64_t largest = -1;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {
      const TensorType& t = type_of(rw_(n.inputs[i]));
      if (!converts(t.dtype) || stays_full(def, i)) continue;
      if (t.numel() > largest || (t.numel() == largest && t.dtype == DType::F32)) type = t.dtype;
      largest = std::max(largest, t.numel());
    }
    return type;
  }

  void node(const Node& old) {
    const OpDef& def = op(old.op);
    const DType type = type_for(old, def);
    Node n = old;
    n.outputs.clear();
    std::vector<TensorType> inputs;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {
      const ValueId v = rw_(old.inputs[i]);
      const bool full = stays_full(def, i);
      n.inputs[i] = converts(type_of(v).dtype) ? in_type(v, full ? DType::F32 : type) : v;
      inputs.push_back(type_of(n.inputs[i]));
    }
    const std::vector<TensorType> outputs = infer(def, old.attrs, inputs);
    const NodeId made = rw_.graph().add_node(std::move(n), outputs);
    for (std::size_t i = 0; i < old.outputs.size(); ++i) {
      const ValueId v = rw_.graph().node(made).outputs[i];
      rw_.graph().value(v).name = rw_.old().value(old.outputs[i]).name;
      rw_.map(old.outputs[i], v);
    }
  }

  // f64 and the integers are left alone.
  static bool converts(DType t) { return t == DType::F32 || t == DType::F16 || t == DType::BF16; }
  static bool stays_full(const OpDef& def, std::size_t input) {
    return std::find(def.full_inputs.begin(), def.full_inputs.end(), static_cast<int>(input)) !=
           def.full_inputs.end();
  }
  const TensorType& type_of(ValueId v) { return rw_.graph().type(v); }

  // A value of the new graph as `type`.
  ValueId in_type(ValueId v, DType type) {
    if (type_of(v).dtype == type) return v;
    const auto [at, added] = casts_.try_emplace({v, type});
    if (added) {
      Graph& g = rw_.graph();
      const ValueInfo& info = g.value(v);
      // The cast belongs to what made the value: a layer's weight keeps its name and line.
      const bool made = info.kind == ValueKind::Result;
      const std::string name = made ? g.node(info.producer).name : info.name;
      const Scope scope(g, name, made ? g.node(info.producer).loc : info.loc);
      at->second = cast({g, v}, type).id();
    }
    return at->second;
  }

  GraphRewriter rw_;
  const PrecisionOptions& options_;
  std::map<std::pair<ValueId, DType>, ValueId> casts_;
  std::set<std::string> used_;
};

}  // namespace

Graph mixed_precision(const Graph& graph, const PrecisionOptions& options, std::span<ValueId> tracked) {
  if (options.compute == DType::F32) return graph;
  if (options.compute != DType::BF16 && options.compute != DType::F16)
    throw UsageError(
        cat("mixed precision: the compute type is f32, bf16 or f16, not ", name(options.compute)));
  Rewrite all(graph, options);
  all.run();
  for (ValueId& v : tracked) v = all.in_old_type(v);
  return all.finish();
}

}  // namespace ingot
