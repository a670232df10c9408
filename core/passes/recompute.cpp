// Recomputation: a cheap value that the backward pass reads long after the forward pass did is computed again
// there, where keeping it is what makes the peak.
//
// Candidates are elementwise nodes whose result spans the step with the most bytes alive, unread at that
// step, and whose late readers are backward nodes. The largest goes first. One is taken when the peak falls
// by at least half of its bytes, so a node is repeated only for memory, and only where what it reads is alive
// anyway. A value of less than 256 KiB is kept: it stays in a cache, and its node would cost a launch.
// Lifetimes are those of the graph: views and results in place share memory as in the plan, library
// workspaces are not known yet.
#include <algorithm>
#include <optional>

#include "core/op/registry.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

// A node, and the reader from which on its result is computed again.
struct Repeat {
  std::uint32_t node = 0, before = 0;
};

class Recomputation {
 public:
  explicit Recomputation(const Graph& graph) : g_(graph) {
    fixed_ = escaping_values(graph);
    elsewhere_.assign(graph.values().size(), false);
    for (const auto& update : graph.updates()) elsewhere_[update.value.index] = true;
    for (const auto& gradient : graph.gradients())
      elsewhere_[gradient.value.index] = fixed_[gradient.value.index] = true;
  }

  // The next thing to repeat; nothing when the peak cannot be lowered.
  std::optional<Repeat> next() const {
    const auto live = live_bytes(with({}));
    if (live.empty()) return {};
    const auto highest = std::max_element(live.begin(), live.end());
    std::vector<Repeat> candidates = spanning(static_cast<std::uint32_t>(highest - live.begin()));
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](const Repeat& a, const Repeat& b) { return bytes(a.node) > bytes(b.node); });
    for (const Repeat& r : candidates) {
      const auto lower = live_bytes(with(r));
      if (*std::max_element(lower.begin(), lower.end()) + bytes(r.node) / 2 <= *highest) return r;
    }
    return {};
  }

  Graph apply(const Repeat& r) const {
    GraphRewriter rw(g_);
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) {
      if (i == r.before) {
        Node& again = rw.graph().node(rw.copy({r.node}));  // later readers now find this one
        again.name += "/again";
      }
      rw.copy({i});
    }
    return rw.finish();
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  static constexpr std::size_t kLeast = 256 << 10;

  const Node& node(std::uint32_t i) const { return g_.nodes()[i]; }
  std::size_t bytes(std::uint32_t i) const { return g_.type(node(i).outputs[0]).bytes(); }

  static bool cheap(const Node& n) {
    return n.outputs.size() == 1 &&
           (n.op == "fused" || n.op == "cast" || op(n.op).scalar != ScalarOp::None) && op(n.op).pure;
  }

  std::vector<Repeat> spanning(std::uint32_t peak) const {
    std::vector<Repeat> out;
    const auto users = g_.users();
    for (std::uint32_t i = 0; i < peak; ++i) {
      if (!cheap(node(i)) || fixed_[node(i).outputs[0].index] || node(i).name.starts_with("grad/")) continue;
      if (bytes(i) < kLeast) continue;
      std::uint32_t late = kNone;
      bool read_at_peak = false, backward = true;
      for (const NodeId u : users[node(i).outputs[0].index]) {
        read_at_peak = read_at_peak || u.index == peak;
        if (u.index <= peak) continue;
        late = std::min(late, u.index);
        backward = backward && node(u.index).name.starts_with("grad/");
      }
      if (late != kNone && !read_at_peak && backward) out.push_back({i, late});
    }
    return out;
  }

  // A step of the schedule: the node, and whether it is the repeated one.
  struct Slot {
    std::uint32_t node = 0;
    bool again = false;
  };
  struct Schedule {
    std::vector<Slot> slots;
    ValueId repeated;  // its readers after the repetition read the new one
  };

  Schedule with(std::optional<Repeat> r) const {
    Schedule s;
    for (std::uint32_t i = 0; i < g_.nodes().size(); ++i) {
      if (r && r->before == i) s.slots.push_back({r->node, true});
      s.slots.push_back({i, false});
    }
    if (r) s.repeated = node(r->node).outputs[0];
    return s;
  }

  // Arena bytes alive at each step.
  std::vector<std::size_t> live_bytes(const Schedule& s) const {
    struct Block {
      std::size_t bytes = 0;
      std::size_t first = 0, last = 0;
    };
    // Values count as themselves; the repeated one's second life has the index after the last.
    const auto second = static_cast<std::uint32_t>(g_.values().size());
    const std::size_t end = s.slots.size();
    std::vector<std::size_t> last(second + 1, 0);
    bool repeated = false;
    const auto id = [&](ValueId v) { return repeated && v == s.repeated ? second : v.index; };
    for (std::size_t at = 0; at < end; ++at) {
      repeated = repeated || s.slots[at].again;
      for (const ValueId v : node(s.slots[at].node).inputs) last[id(v)] = at;
    }
    for (const auto& o : g_.outputs()) last[o.value.index] = end;

    std::vector<Block> blocks;
    std::vector<std::uint32_t> block_of(second + 1, kNone);
    const auto join = [&](std::uint32_t value, std::uint32_t block) {
      block_of[value] = block;
      if (block != kNone) blocks[block].last = std::max(blocks[block].last, last[value]);
    };
    repeated = false;
    for (std::size_t at = 0; at < end; ++at) {
      const Node& n = node(s.slots[at].node);
      std::vector<std::uint32_t> operands;
      for (const ValueId v : n.inputs) operands.push_back(block_of[id(v)]);
      repeated = repeated || s.slots[at].again;
      const OpDef& def = op(n.op);
      const auto pairs = def.in_place ? def.in_place(n.attrs, static_cast<int>(n.inputs.size()))
                                      : std::vector<std::array<int, 2>>{};
      for (std::size_t k = 0; k < n.outputs.size(); ++k) {
        const std::uint32_t v = id(n.outputs[k]);
        const std::size_t size = g_.type(n.outputs[k]).bytes();
        if (def.view && k == 0) {
          join(v, operands[0]);
          continue;
        }
        if (elsewhere_[n.outputs[k].index]) continue;
        std::uint32_t in_place = kNone;
        for (const auto& [from, to] : pairs) {
          const std::uint32_t b = operands[static_cast<std::size_t>(from)];
          if (static_cast<std::size_t>(to) == k && in_place == kNone && b != kNone && blocks[b].last <= at &&
              blocks[b].bytes == size)
            in_place = b;
        }
        if (in_place == kNone) {
          in_place = static_cast<std::uint32_t>(blocks.size());
          blocks.push_back({size, at, at});
        }
        join(v, in_place);
      }
    }
    std::vector<std::size_t> live(end + 1);
    for (const Block& b : blocks)
      for (std::size_t at = b.first; at <= b.last; ++at) live[at] += b.bytes;
    return live;
  }

  const Graph& g_;
  std::vector<bool> fixed_;      // results that must stay one value
  std::vector<bool> elsewhere_;  // results that do not lie in the arena
};

}  // namespace

Graph recompute_cheap_values(const Graph& graph, PassContext&) {
  Graph g = graph;
  while (const auto repeat = Recomputation(g).next()) g = Recomputation(g).apply(*repeat);
  return g;
}

}  // namespace ingot
