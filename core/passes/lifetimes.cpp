#include "core/passes/lifetimes.h"

#include <algorithm>

#include "core/op/registry.h"

namespace ingot {

namespace {

constexpr std::uint32_t kNone = Life::kNone;

struct Block {
  std::size_t bytes, first, last;
};

// An earlier result of the same node already lies in block b.
bool taken(const Lives& l, std::uint32_t life, std::size_t k, std::uint32_t b) {
  for (std::size_t j = 1; j <= k; ++j)
    if (l.all[life - j].block == b) return true;
  return false;
}

}  // namespace

std::size_t Lives::at_most() const {
  return static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), most()));
}

std::vector<bool> values_elsewhere(const Graph& g) {
  std::vector<bool> out(g.values().size(), false);
  for (const ValueId v : g.inputs()) out[v.index] = true;
  for (const auto& s : g.states()) out[s.value.index] = true;
  for (const auto& u : g.updates()) out[u.value.index] = true;
  for (const auto& gradient : g.gradients()) out[gradient.value.index] = true;
  return out;
}

Lives lives(const Graph& g, std::span<const Node* const> order, const std::vector<bool>& elsewhere) {
  Lives l;
  const std::size_t end = order.size();
  const auto bytes = [&](std::uint32_t v) { return g.type(ValueId{v}).bytes(); };
  std::vector<std::uint32_t> current(g.values().size(), kNone);
  for (std::size_t at = 0; at < end; ++at) {
    for (const ValueId v : order[at]->inputs)
      if (current[v.index] != kNone) l.all[current[v.index]].reads.push_back(at);
    for (const ValueId v : order[at]->outputs) {
      current[v.index] = static_cast<std::uint32_t>(l.all.size());
      l.all.push_back({v.index, kNone, at});
    }
  }
  for (const auto& o : g.outputs())
    if (current[o.value.index] != kNone) l.all[current[o.value.index]].reads.push_back(end);

  std::vector<Block> blocks;
  std::fill(current.begin(), current.end(), kNone);
  std::uint32_t life = 0;
  std::vector<std::uint32_t> operands;
  for (std::size_t at = 0; at < end; ++at) {
    const Node& n = *order[at];
    operands.clear();
    for (const ValueId v : n.inputs)
      operands.push_back(current[v.index] == kNone ? kNone : l.all[current[v.index]].block);
    const OpDef& def = op(n.op);
    std::vector<std::array<int, 2>> pairs;
    if (def.in_place) pairs = def.in_place(n.attrs, static_cast<int>(n.inputs.size()));
    for (std::size_t k = 0; k < n.outputs.size(); ++k, ++life) {
      Life& made = l.all[life];
      current[made.value] = life;
      if (elsewhere[made.value]) continue;
      if (def.view && k == 0) {
        made.block = operands[0];
      } else {
        for (const auto& [from, to] : pairs) {
          const std::uint32_t b = operands[static_cast<std::size_t>(from)];
          if (static_cast<std::size_t>(to) == k && made.block == kNone && b != kNone &&
              blocks[b].last <= at && blocks[b].bytes == bytes(made.value) && !taken(l, life, k, b))
            made.block = b;
        }
        if (made.block == kNone) {
          made.block = static_cast<std::uint32_t>(blocks.size());
          blocks.push_back({bytes(made.value), at, at});
        }
      }
      if (made.block != kNone) blocks[made.block].last = std::max(blocks[made.block].last, made.last());
    }
  }
  std::vector<std::ptrdiff_t> steps(end + 2, 0);
  for (const Block& b : blocks) {
    steps[b.first] += static_cast<std::ptrdiff_t>(b.bytes);
    steps[b.last + 1] -= static_cast<std::ptrdiff_t>(b.bytes);
  }
  std::ptrdiff_t alive = 0;
  for (std::size_t at = 0; at <= end; ++at) {
    alive += steps[at];
    l.bytes.push_back(static_cast<std::size_t>(alive));
    if (l.bytes[at] > l.bytes[l.peak]) l.peak = at;
  }
  return l;
}

}  // namespace ingot
