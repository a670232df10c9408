// Joining: independent elementwise nodes of one tape become one `fused_many`, a single step: the casts of all
// weights to half precision, the counters of all batch norms, the choice between old and new running
// statistics.
//
// Nodes that compute the same function of tensors of one shape (and of the same scalars) are alike. Of those
// that are alike, in order, a group takes each that can stand where the group stands: the earliest place, not
// before its first member, at which all operands are there; none of its results may be read before. What the
// members read and write is the same as before, so no cycle can arise. A state whose old content somebody
// reads later is not written sooner, since it would have to be copied.
//
// Results of a group live longer than those of its nodes: groups are as long as the bytes alive at the peak
// allow. The backend says which nodes are worth it: a large one gains nothing on a CPU, whose caches hold
// what was just made. Nodes that run once per session stay as they are.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <span>

#include "core/ops/fused_many.h"
#include "core/passes/lifetimes.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

constexpr std::size_t kNever = SIZE_MAX;

// What nodes that are alike have in common.
struct Kind {
  FusedManyAttrs attrs;               // of a group of one
  std::vector<std::uint32_t> shared;  // the values that stand for the shared scalars
  std::vector<std::size_t> operands;  // of a node, that are further inputs of the tape
  std::string key() const {
    std::string s = to_string(attrs.expr);
    for (const std::uint32_t v : shared) s += cat(" %", v);
    return s;
  }
};

class Joining {
 public:
  Joining(const Graph& graph, const PassContext& context)
      : g_(graph), context_(context), elsewhere_(values_elsewhere(graph)), state_(graph.values().size()) {
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) order_.push_back(&g_.nodes()[i]);
    for (const auto& u : g_.updates()) {
      state_[u.value.index] = u.state;
      becomes_.emplace(u.state.index, u.value.index);
    }
  }

  Graph run() {
    // By kind, each in the order of the first of its nodes.
    std::vector<std::pair<Kind, std::vector<const Node*>>> alike;
    std::map<std::string, std::size_t> known;
    const std::vector<bool> once = constant_nodes(g_);
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) {
      if (once[i]) continue;
      if (auto kind = kind_of(g_.nodes()[i])) {
        const auto [at, fresh] = known.try_emplace(kind->key(), alike.size());
        if (fresh) alike.push_back({*std::move(kind), {}});
        alike[at->second].second.push_back(&g_.nodes()[i]);
      }
    }
    std::erase_if(alike, [](const auto& a) { return a.second.size() < 2; });
    for (auto& [kind, nodes] : alike)
      std::erase_if(nodes, [&](const Node* n) { return !worth_joining(kind, *n); });
    most_ = alike.empty() ? 0 : lives(g_, order_, elsewhere_).most();
    for (auto& [kind, nodes] : alike)
      while (nodes.size() > 1) nodes = join_first(kind, nodes);
    return joined_.empty() ? g_ : emit();
  }

 private:
  bool fills_its_shape(const TensorType& t) const { return t.physical_numel() == t.numel(); }

  std::optional<Kind> kind_of(const Node& n) const {
    if (n.outputs.size() != 1) return {};
    const bool cast = n.op == "cast";
    if (!cast && n.op != "fused" && op(n.op).scalar == ScalarOp::None) return {};
    const TensorType& out = g_.type(n.outputs[0]);
    // Of a block's padding only a cast makes what belongs there.
    if (out.numel() == 0 || (!cast && !fills_its_shape(out))) return {};
    Kind kind;
    ScalarExpr& tape = kind.attrs.expr;
    std::vector<ScalarExpr::Reg> regs(n.inputs.size());
    std::vector<std::size_t> constants;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {  // scalars first
      const TensorType& t = g_.type(n.inputs[i]);
      if (scalar_constant(g_, n.inputs[i]) && t.numel() == 1) {
        constants.push_back(i);
      } else if (t.shape != out.shape) {
        if (t.shape.rank() != 0) return {};
        kind.shared.push_back(n.inputs[i].index);
        regs[i] = tape.add_input(t.dtype);
      } else if (t.layout.canonical() != out.layout.canonical()) {
        return {};
      } else {
        kind.operands.push_back(i);
      }
    }
    if (kind.operands.empty()) return {};
    for (const std::size_t i : kind.operands) regs[i] = tape.add_input(g_.type(n.inputs[i]).dtype);
    for (const std::size_t i : constants)
      regs[i] = tape.emit_const(*scalar_constant(g_, n.inputs[i]), g_.type(n.inputs[i]).dtype);
    tape.add_output(append_node(tape, g_, n, regs));
    kind.attrs.shared = static_cast<std::int64_t>(kind.shared.size());
    return kind;
  }

  bool worth_joining(const Kind& kind, const Node& n) const {
    const Node* const nodes[] = {&n};
    const Node one = group(kind, nodes);
    std::vector<TensorType> in;
    for (const ValueId v : one.inputs) in.push_back(g_.type(v));
    const TensorType out = g_.type(n.outputs[0]);
    const Graph alone = node_alone(one, in, std::span(&out, 1));
    return context_.accelerates(alone, alone.nodes()[0]);
  }

  // The node that stands for all these.
  Node group(const Kind& kind, std::span<const Node* const> nodes) const {
    Node made;
    made.op = "fused_many";
    FusedManyAttrs attrs = kind.attrs;
    attrs.count = static_cast<std::int64_t>(nodes.size());
    made.attrs = attrs;
    for (const std::uint32_t v : kind.shared) made.inputs.push_back({v});
    for (const std::size_t i : kind.operands)
      for (const Node* n : nodes) made.inputs.push_back(n->inputs[i]);
    for (const Node* n : nodes) made.outputs.push_back(n->outputs[0]);
    made.name = nodes[0]->name;
    made.loc = nodes[0]->loc;
    return made;
  }

  // Joins the first node with as many of the others as possible; those that are left, without the first.
  std::vector<const Node*> join_first(const Kind& kind, const std::vector<const Node*>& nodes) {
    find_places();
    std::vector<const Node*> members{nodes[0]};
    for (std::size_t i = 1; i < nodes.size(); ++i) {
      members.push_back(nodes[i]);
      if (!place_of(members)) members.pop_back();
    }
    // The longest group that the peak allows.
    std::size_t fits = 1, beyond = members.size() + 1, tried = members.size();
    while (tried > fits) {
      const auto some = std::span(members).first(tried);
      const Node made = group(kind, some);
      const auto order = with(some, made);
      (order && lives(g_, *order, elsewhere_).most() <= most_ ? fits : beyond) = tried;
      tried = beyond > members.size() ? fits : (fits + beyond) / 2;
    }
    members.resize(fits);
    if (fits > 1) {
      joined_.push_back(group(kind, members));
      order_ = *with(members, joined_.back());
    }
    std::vector<const Node*> left;
    for (const Node* n : nodes)
      if (std::find(members.begin(), members.end(), n) == members.end()) left.push_back(n);
    return left;
  }

  // Where values are made and first read, and states read, in the schedule of now.
  void find_places() {
    made_.assign(g_.values().size(), 0);
    read_.assign(g_.values().size(), kNever);
    readers_.clear();
    for (std::size_t at = 0; at < order_.size(); ++at) {
      for (const ValueId v : order_[at]->inputs) {
        read_[v.index] = std::min(read_[v.index], at);
        if (becomes_.contains(v.index)) readers_[v.index].push_back(at);
      }
      for (const ValueId v : order_[at]->outputs) made_[v.index] = at;
    }
  }

  std::size_t place(const Node& n) const { return made_[n.outputs[0].index]; }

  // Before which step of the schedule a group of these nodes can stand; nothing when they cannot be one.
  std::optional<std::size_t> place_of(std::span<const Node* const> members) const {
    std::vector<std::size_t> places;
    for (const Node* m : members) places.push_back(place(*m));
    const auto member = [&](std::size_t at) { return std::binary_search(places.begin(), places.end(), at); };
    std::size_t from = places[0], until = order_.size();
    for (const Node* m : members) {
      for (const ValueId v : m->inputs) {
        if (g_.value(v).kind != ValueKind::Result) continue;
        if (member(made_[v.index])) return {};
        from = std::max(from, made_[v.index] + 1);
      }
      until = std::min(until, read_[m->outputs[0].index]);
    }
    if (from > until) return {};
    for (const Node* m : members)
      if (!keeps_states(*m, from, member)) return {};
    return from;
  }

  // Whether a state is read before it is written still, when the node moves to `to`.
  template <class Member>
  bool keeps_states(const Node& m, std::size_t to, const Member& member) const {
    const std::size_t at = place(m);
    for (const ValueId v : m.inputs) {
      const auto next = becomes_.find(v.index);
      if (next == becomes_.end() || g_.value({next->second}).kind != ValueKind::Result) continue;
      const std::size_t written = made_[next->second];
      if (written == at) continue;
      if (member(written) || (at < written && written < to)) return false;
    }
    const ValueId state = state_[m.outputs[0].index];
    const auto readers = state.valid() ? readers_.find(state.index) : readers_.end();
    if (readers == readers_.end()) return true;
    return std::all_of(readers->second.begin(), readers->second.end(),
                       [&](std::size_t r) { return r == at || (!member(r) && (r > at || r < to)); });
  }

  // The schedule with `made` in the place of its nodes.
  std::optional<std::vector<const Node*>> with(std::span<const Node* const> members, const Node& made) const {
    const auto to = place_of(members);
    if (!to) return {};
    std::vector<const Node*> order;
    for (std::size_t at = 0; at <= order_.size(); ++at) {
      if (at == *to) order.push_back(&made);
      if (at < order_.size() && std::find(members.begin(), members.end(), order_[at]) == members.end())
        order.push_back(order_[at]);
    }
    return order;
  }

  Graph emit() const {
    GraphRewriter rw(g_);
    for (const Node* n : order_) {
      if (n >= g_.nodes().data() && n < g_.nodes().data() + g_.nodes().size()) {
        rw.copy({static_cast<std::uint32_t>(n - g_.nodes().data())});
        continue;
      }
      Node made = *n;
      for (ValueId& v : made.inputs) v = rw(v);
      made.outputs.clear();
      std::vector<TensorType> types;
      for (const ValueId v : n->outputs) types.push_back(g_.type(v));
      const NodeId id = rw.graph().add_node(std::move(made), types);
      for (std::size_t k = 0; k < n->outputs.size(); ++k) {
        const ValueId v = rw.graph().node(id).outputs[k];
        rw.graph().value(v).name = g_.value(n->outputs[k]).name;
        rw.map(n->outputs[k], v);
      }
    }
    return rw.finish();
  }

  const Graph& g_;
  const PassContext& context_;
  const std::vector<bool> elsewhere_;
  std::vector<ValueId> state_;  // by value: the state that it becomes
  std::map<std::uint32_t, std::uint32_t> becomes_;
  std::size_t most_ = 0;  // bytes alive at the peak
  std::vector<const Node*> order_;
  std::deque<Node> joined_;
  std::vector<std::size_t> made_, read_;
  std::map<std::uint32_t, std::vector<std::size_t>> readers_;  // of states that are written
};

}  // namespace

Graph join_elementwise(const Graph& graph, PassContext& context) {
  if (!context.accelerates) return graph;
  return eliminate_dead_code(Joining(graph, context).run(),
                             context);  // constants that are part of a tape now
}

}  // namespace ingot
