// Layout assignment: asks the backend, node by node, how operands should lie in memory, and inserts `reorder`
// where a value lies otherwise.
//
// A state that nobody has read yet takes the layout its first reader wants, for ever: convolution weights
// live as the library likes them, and so do their gradients and the optimiser's states. A cast of such a
// state waits for its own first reader, and both take what that one wants: under mixed precision a weight is
// read through its cast only. Graph outputs are row-major.
#include <map>
#include <unordered_set>
#include <utility>

#include "core/op/registry.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

std::string key(const Layout& l) {
  return to_string(l);
}

class LayoutPass {
 public:
  LayoutPass(const Graph& graph, const LayoutOracle& oracle) : oracle_(oracle), work_(graph), rw_(work_) {
    for (const State& s : work_.states()) free_.insert(s.value.index);
  }

  Graph run() {
    for (std::uint32_t i = 0; i < work_.nodes().size(); ++i) {
      const Node& n = work_.node({i});
      if (n.op == "cast" && is_free(n.inputs[0]))
        waiting_.emplace(n.outputs[0].index, NodeId{i});
      else
        visit({i});
    }
    while (!waiting_.empty()) emit_cast(waiting_.begin()->first);  // outputs, and what nobody reads
    Graph& g = rw_.graph();
    for (const Output& o : work_.outputs()) g.add_output(o.name, in_layout(o.value, {}, {}));
    for (const Update& u : work_.updates()) {
      const ValueId state = rw_(u.state);
      g.add_update(state, in_layout(u.value, g.type(state).layout, {}));
    }
    for (const Update& u : work_.gradients())
      g.add_gradient(rw_(u.state), in_layout(u.value, g.type(rw_(u.state)).layout, {}));
    return std::move(g);
  }

 private:
  void visit(NodeId id) {
    const Node& n = work_.node(id);
    std::vector<bool> state_free;
    for (const ValueId v : n.inputs) {
      if (!is_free(v)) emit_cast(v.index);  // its state was decided while it waited
      state_free.push_back(is_free(v));
    }
    const NodeLayouts want = oracle_(work_, n, state_free);
    if (want.inputs.size() != n.inputs.size() || want.outputs.size() != n.outputs.size())
      throw UsageError(cat("internal: the backend's layouts of '", n.op, "' do not match its operands"));
    Node copy = n;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {
      const ValueId v = n.inputs[i];
      decide(v, want.inputs[i].canonical());
      copy.inputs[i] = in_layout(v, want.inputs[i].canonical(), n.loc);
    }
    std::vector<TensorType> types;
    for (std::size_t k = 0; k < n.outputs.size(); ++k) {
      work_.value(n.outputs[k]).type.layout = want.outputs[k].canonical();
      types.push_back(work_.type(n.outputs[k]));
    }
    const NodeId made = rw_.graph().add_node(std::move(copy), types);
    for (std::size_t k = 0; k < n.outputs.size(); ++k) {
      const ValueId v = rw_.graph().node(made).outputs[k];
      rw_.graph().value(v).name = work_.value(n.outputs[k]).name;
      rw_.map(n.outputs[k], v);
    }
  }

  // A state without a layout so far, or a waiting cast of one.
  bool is_free(ValueId v) const {
    const auto it = waiting_.find(v.index);
    return it == waiting_.end() ? free_.contains(v.index) : is_free(work_.node(it->second).inputs[0]);
  }

  // Gives a free value its layout; others keep theirs.
  void decide(ValueId v, const Layout& layout) {
    if (const auto it = waiting_.find(v.index); it != waiting_.end()) {
      const ValueId from = work_.node(it->second).inputs[0];
      if (is_free(from) && keeps_layout(work_.node(it->second), layout)) decide(from, layout);
      emit_cast(v.index);
    } else if (free_.erase(v.index) != 0) {
      work_.value(v).type.layout = layout;
      rw_.graph().value(rw_(v)).type.layout = layout;
    }
  }

  // Whether a cast of a value that lies so gives one that lies alike.
  bool keeps_layout(const Node& cast, const Layout& layout) {
    Layout& have = work_.value(cast.inputs[0]).type.layout;
    const Layout before = std::exchange(have, layout);
    const NodeLayouts want = oracle_(work_, cast, {false});
    have = before;
    return want.inputs.at(0).canonical() == layout && want.outputs.at(0).canonical() == layout;
  }

  // Puts a waiting cast here, after those that it waits for itself; a free state becomes row-major.
  void emit_cast(std::uint32_t value) {
    const auto it = waiting_.find(value);
    if (it == waiting_.end()) return;
    const NodeId cast = it->second;
    waiting_.erase(it);
    visit(cast);
  }

  // The new value of old value `v` in the given layout.
  ValueId in_layout(ValueId v, const Layout& layout, const SourceLoc& loc) {
    const ValueId now = rw_(v);
    const TensorType have = rw_.graph().type(now);
    if (have.layout.canonical() == layout) return now;
    auto& made = reordered_[{now.index, key(layout)}];
    if (made.valid()) return made;
    Node node;
    node.op = "reorder";
    node.attrs = op("reorder").attrs.with("layout", layout);
    node.inputs = {now};
    const ValueInfo& info = rw_.graph().value(now);
    node.loc = loc.known() ? loc : info.loc;
    node.name = info.kind == ValueKind::Result ? cat(rw_.graph().node(info.producer).name, "/reorder")
                                               : cat(info.name, "/reorder");
    const TensorType type(have.dtype, have.shape, layout);
    const ValueId result =
        rw_.graph().node(rw_.graph().add_node(std::move(node), std::span(&type, 1))).outputs[0];
    rw_.graph().value(result).name = rw_.graph().value(now).name;
    return made = result;
  }

  const LayoutOracle& oracle_;
  Graph work_;  // the input graph; its value types carry the layouts decided so far
  GraphRewriter rw_;
  std::unordered_set<std::uint32_t> free_;
  std::map<std::uint32_t, NodeId> waiting_;  // casts by their result: not emitted, no layout yet
  std::map<std::pair<std::uint32_t, std::string>, ValueId> reordered_;
};

}  // namespace

Graph assign_layouts(const Graph& graph, PassContext& context) {
  if (!context.layouts) return graph;
  return LayoutPass(graph, context.layouts).run();
}

}  // namespace ingot
