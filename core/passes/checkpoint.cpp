// Checkpointing: results that the backward pass needs are let go and computed again, where that lowers the
// peak most for the time it costs.
//
// At the step with the most bytes alive, each result that is alive there, unread, and read later is a
// candidate. To compute it again before its next reader takes a closure of nodes: its own, and those of
// operands that are gone by then; an operand that is alive at the peak anyway, or small, is kept longer
// instead. The candidate that frees the most bytes for each second goes first, and counts when the peak
// falls. A node that was to be repeated later and is now repeated earlier moves there. batch_norm is repeated
// as batch_norm_apply, from the statistics that were kept, so the running ones move once; concat_batch_norm
// likewise.
//
// It stops at the budget, or without one when it has spent its share of the step's time. Lifetimes are those
// of the graph: views and results in place share memory as in the plan, workspaces of libraries are not
// known.
//
// Sources: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174); choosing by
// bytes over cost: Kirisame et al. 2021, "Dynamic Tensor Rematerialization" (arXiv 2006.09616).
#include <algorithm>
#include <map>
#include <optional>

#include "core/op/registry.h"
#include "core/passes/lifetimes.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

constexpr std::uint32_t kNone = Life::kNone;
constexpr std::size_t kTried = 8;          // candidates at a peak whose effect is worked out, best first
constexpr std::size_t kSmall = 16;         // an operand of this fraction of a candidate is kept, not repeated
constexpr std::size_t kNegligible = 4096;  // candidates below this fraction of the peak are not looked at

// A node in the schedule, the first time or once more.
struct Slot {
  std::uint32_t node = 0;
  bool again = false;
  friend bool operator==(const Slot&, const Slot&) = default;
};
using Schedule = std::vector<Slot>;

// What to repeat before a slot, and what that brings and costs.
struct Repetition {
  std::size_t before = 0;
  std::vector<std::uint32_t> nodes{};
  double freed = 0.0, seconds = 0.0;
  double score() const { return freed / std::max(seconds, 1e-12); }
};

class Checkpointing {
 public:
  Checkpointing(const Graph& graph, const PassContext& context)
      : g_(graph), context_(context), fixed_(escaping_values(graph)), elsewhere_(values_elsewhere(graph)) {
    for (const auto& gradient : g_.gradients()) fixed_[gradient.value.index] = true;
    again_.resize(g_.nodes().size());
    costs_.resize(g_.nodes().size());
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) schedule_.push_back({i, false});
  }

  Graph run(PassContext& context) {
    Recomputed& report = context.recomputed;
    Lives now = lives(schedule_);
    report.bytes_before = now.most();
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) report.seconds_before += seconds(i, false);
    const bool budgeted = context.memory_target != 0;
    const double allowed = context.recompute_share * report.seconds_before;
    while (!budgeted || now.most() > context.memory_target) {
      const auto next = best(now, budgeted ? -1.0 : allowed - report.seconds);
      if (!next) break;
      schedule_ = next->first;
      now = lives(schedule_);
      report.seconds += next->second;
    }
    report.bytes_after = now.most();
    report.nodes = static_cast<std::size_t>(
        std::count_if(schedule_.begin(), schedule_.end(), [](const Slot& s) { return s.again; }));
    return report.nodes == 0 ? g_ : emit();
  }

 private:
  const Node& node(const Slot& s) const { return s.again ? *again_[s.node] : g_.nodes()[s.node]; }
  std::size_t bytes(std::uint32_t v) const { return g_.type(ValueId{v}).bytes(); }

  // The node that stands for a repetition of node i; null where it must not be repeated.
  const Node* repeated(std::uint32_t i) {
    if (!again_[i]) again_[i] = make_again(g_.nodes()[i]);
    return again_[i]->op.empty() ? nullptr : &*again_[i];
  }

  Node make_again(const Node& n) const {
    Node a = n;
    a.name += "/again";
    if (n.op == "batch_norm" && !fixed_[n.outputs[0].index]) {
      a.op = "batch_norm_apply";
      a.attrs = op(a.op)
                    .attrs.with("has_valid", attribute<bool>(n, "has_valid"))
                    .with("has_residual", attribute<bool>(n, "has_residual"))
                    .with("activation", attribute<std::string>(n, "activation"));
      a.inputs = {n.inputs[0], n.inputs[1], n.inputs[2], n.outputs[1], n.outputs[2]};
      a.inputs.insert(a.inputs.end(), n.inputs.begin() + 5, n.inputs.end());
      a.outputs = {n.outputs[0]};
      return a;
    }
    if (n.op == "concat_batch_norm" && !fixed_[n.outputs[0].index]) {
      a.op = "concat_batch_norm_apply";
      a.attrs = op(a.op)
                    .attrs.with("has_valid", attribute<bool>(n, "has_valid"))
                    .with("activation", attribute<std::string>(n, "activation"));
      a.inputs[2] = n.outputs[1];
      a.inputs[3] = n.outputs[2];
      a.outputs = {n.outputs[0]};
      return a;
    }
    bool leaves = !op(n.op).pure;
    for (const ValueId v : n.outputs) leaves = leaves || fixed_[v.index];
    if (leaves) a.op.clear();
    return a;
  }

  double seconds(std::uint32_t i, bool again) {
    auto& cost = costs_[i][again];
    if (!cost) {
      const Node& n = again ? *repeated(i) : g_.nodes()[i];
      std::vector<TensorType> in, out;
      for (const ValueId v : n.inputs) in.push_back(g_.type(v));
      for (const ValueId v : n.outputs) out.push_back(g_.type(v));
      const Graph alone = node_alone(n, in, out);
      cost = context_.node_seconds ? context_.node_seconds(alone, alone.nodes()[0])
                                   : default_seconds(n, in, out);
    }
    return *cost;
  }

  // Where nobody describes the machine: a GPU of today has about this many operations and bytes a second, and
  // only their ratio matters here.
  static double default_seconds(const Node& n, std::span<const TensorType> in,
                                std::span<const TensorType> out) {
    const OpDef& def = op(n.op);
    if (def.view) return 0.0;
    Cost c;
    for (const auto types : {in, out})
      for (const TensorType& t : types) c.bytes += static_cast<double>(t.bytes());
    if (def.cost) c = def.cost(n.attrs, in, out);
    const bool half = !in.empty() && size_of(in[0].dtype) == 2;
    return std::max(c.flops / (half ? 500e12 : 50e12), c.bytes / 4e12) + 2e-6;
  }

  Lives lives(const Schedule& s) const {
    std::vector<const Node*> order;
    for (const Slot& slot : s) order.push_back(&node(slot));
    return ingot::lives(g_, order, elsewhere_);
  }

  // The next schedule, and the seconds it costs more; `allowed` seconds at most where it is not negative.
  std::optional<std::pair<Schedule, double>> best(const Lives& now, double allowed) {
    by_value_.assign(g_.values().size(), {});
    for (std::uint32_t i = 0; i < now.all.size(); ++i) by_value_[now.all[i].value].push_back(i);
    std::vector<Repetition> candidates;
    for (const Life& life : now.all)
      if (auto r = repetition(now, life); r && (allowed < 0.0 || r->seconds <= allowed))
        candidates.push_back(std::move(*r));
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Repetition& a, const Repetition& b) { return a.score() > b.score(); });
    if (candidates.size() > kTried) candidates.resize(kTried);
    for (const Repetition& r : candidates) {
      auto changed = with(r);
      const Lives then = lives(changed);
      if (then.most() < now.most() || (then.most() == now.most() && then.at_most() < now.at_most()))
        return std::pair(std::move(changed), r.seconds);
    }
    return {};
  }

  std::optional<Repetition> repetition(const Lives& now, const Life& life) {
    const std::size_t t = now.peak, size = bytes(life.value);
    if (life.made >= t || life.last() <= t || life.block == kNone || fixed_[life.value] ||
        size < now.most() / kNegligible)
      return {};
    const auto after = std::lower_bound(life.reads.begin(), life.reads.end(), t);
    if (*after == t || *after >= schedule_.size()) return {};
    Repetition r;
    r.before = *after;
    r.freed = static_cast<double>(size);
    if (!close(now, schedule_[life.made].node, size, r) || r.freed <= 0.0) return {};
    std::sort(r.nodes.begin(), r.nodes.end());
    for (const std::uint32_t n : r.nodes) {
      r.seconds += seconds(n, true);
      for (std::size_t at = r.before; at < schedule_.size(); ++at)
        if (schedule_[at] == Slot{n, true}) r.seconds -= seconds(n, true);
    }
    return r;
  }

  // Adds node i, and what its operands need, to what is repeated.
  bool close(const Lives& now, std::uint32_t i, std::size_t size, Repetition& r) {
    if (std::find(r.nodes.begin(), r.nodes.end(), i) != r.nodes.end()) return true;
    if (repeated(i) == nullptr || r.nodes.size() > 32) return false;
    r.nodes.push_back(i);
    const std::vector<ValueId> inputs = again_[i]->inputs;
    for (const ValueId v : inputs) {
      if (elsewhere_[v.index]) continue;
      const Life* life = nullptr;  // the one that a reader at r.before would see
      for (const std::uint32_t k : by_value_[v.index])
        if (now.all[k].made < r.before) life = &now.all[k];
      if (life == nullptr) return false;
      if (life->last() >= r.before) continue;
      if (life->last() > now.peak) continue;  // alive at the peak anyway: kept a little longer
      if (bytes(v.index) <= size / kSmall) {
        r.freed -= static_cast<double>(bytes(v.index));
        continue;
      }
      if (!close(now, schedule_[life->made].node, size, r)) return false;
    }
    return true;
  }

  Schedule with(const Repetition& r) const {
    Schedule s(schedule_.begin(), schedule_.begin() + static_cast<std::ptrdiff_t>(r.before));
    for (const std::uint32_t n : r.nodes) s.push_back({n, true});
    for (std::size_t at = r.before; at < schedule_.size(); ++at) {
      const Slot& old = schedule_[at];
      if (!old.again || !std::binary_search(r.nodes.begin(), r.nodes.end(), old.node)) s.push_back(old);
    }
    return s;
  }

  Graph emit() const {
    GraphRewriter rw(g_);
    for (const Slot& s : schedule_) {
      if (!s.again) {
        rw.copy({s.node});
        continue;
      }
      Node made = node(s);
      std::vector<TensorType> types;
      for (const ValueId v : made.outputs) types.push_back(g_.type(v));
      const std::vector<ValueId> old = made.outputs;
      for (ValueId& v : made.inputs) v = rw(v);
      made.outputs.clear();
      const NodeId id = rw.graph().add_node(std::move(made), types);
      for (std::size_t k = 0; k < old.size(); ++k)
        rw.map(old[k], rw.graph().node(id).outputs[k]);  // for later readers
    }
    return rw.finish();
  }

  const Graph& g_;
  const PassContext& context_;
  std::vector<bool> fixed_;      // results that must stay one value
  std::vector<bool> elsewhere_;  // values that do not lie in the arena
  std::vector<std::optional<Node>> again_;
  std::vector<std::array<std::optional<double>, 2>> costs_;
  std::vector<std::vector<std::uint32_t>> by_value_;  // lives, in order
  Schedule schedule_;
};

}  // namespace

Graph checkpoint(const Graph& graph, PassContext& context) {
  if (context.memory_target == 0 && context.recompute_share <= 0.0) return graph;
  return Checkpointing(graph, context).run(context);
}

}  // namespace ingot
