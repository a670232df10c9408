#include "train/freeze.h"

#include <algorithm>
#include <set>

#include "core/base/glob.h"
#include "core/ops/norm.h"

namespace ingot {

namespace {

void require_used(const Graph& g, const FreezeOptions& options) {
  for (const std::string& pattern : options.patterns) {
    std::vector<std::string> names;
    bool used = false;
    for (const State& s : g.states()) {
      const bool counts =
          s.role == StateRole::Parameter || (options.batch_norm && s.role == StateRole::Buffer);
      used = used || (counts && glob_match(pattern, s.name));
      if (s.role == StateRole::Parameter) names.push_back(s.name);
    }
    if (!used)
      throw UsageError(cat("freeze: no parameter matches '", pattern, "'; there are: ", join(names)));
  }
}

// The state whose content a batch norm continues: the operand itself, or that of the call before in the same
// step.
const State* statistics_of(const Graph& g, ValueId operand) {
  if (const State* s = g.state_of(operand)) return s;
  for (const Node& n : g.nodes())
    if (n.op == "batch_norm" && n.outputs.at(3) == operand) return statistics_of(g, n.inputs.at(3));
  return nullptr;
}

// "layer1.0.bn1." of "layer1.0.bn1.running_mean".
std::string owner(const std::string& name) {
  const auto dot = name.rfind('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot + 1);
}

Graph evaluated_norms(const Graph& old, const FreezeOptions& options, std::span<ValueId> tracked) {
  GraphRewriter rewrite(old);
  std::set<std::string> owners;
  for (std::uint32_t i = 0; i < old.nodes().size(); ++i) {
    const Node& n = old.nodes()[i];
    const State* mean = n.op == "batch_norm" ? statistics_of(old, n.inputs.at(3)) : nullptr;
    if (mean == nullptr || !options.covers(mean->name)) {
      rewrite.copy(NodeId{i});
      continue;
    }
    owners.insert(owner(mean->name));
    Node still;
    still.op = "batch_norm_infer";
    still.attrs = BatchNormInferAttrs{n.attrs.as<BatchNormAttrs>().eps};
    for (std::size_t k = 0; k < 5; ++k) still.inputs.push_back(rewrite(n.inputs.at(k)));
    still.name = n.name;
    still.loc = n.loc;
    const TensorType type[] = {old.type(n.outputs.at(0))};
    const NodeId made = rewrite.graph().add_node(std::move(still), type);
    rewrite.map(n.outputs[0], rewrite.graph().node(made).outputs.at(0));
    for (std::size_t k = 3; k < 5; ++k) rewrite.map(n.outputs.at(k), rewrite(n.inputs[k]));
  }
  for (ValueId& v : tracked) v = rewrite(v);
  Graph g = rewrite.finish();
  // The statistics and the count of batches stay.
  const std::vector<Update> updates = g.updates();
  g.clear_updates();
  for (const Update& u : updates) {
    const State& s = *g.state_of(u.state);
    if (s.role != StateRole::Buffer || !owners.contains(owner(s.name))) g.add_update(u.state, u.value);
  }
  return g;
}

}  // namespace

bool FreezeOptions::covers(std::string_view key) const {
  return any_glob_matches(patterns, key) && !any_glob_matches(except, key);
}

Graph frozen(const Graph& graph, const FreezeOptions& options, std::span<ValueId> tracked) {
  require_used(graph, options);
  Graph g = options.batch_norm ? evaluated_norms(graph, options, tracked) : graph;
  for (std::size_t i = 0; i < g.states().size(); ++i) {
    State& s = g.state(i);
    if (s.role == StateRole::Parameter && options.covers(s.name)) s.trainable = false;
  }
  return g;
}

}  // namespace ingot
