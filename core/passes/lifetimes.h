// How long values live in a schedule, and the bytes alive at each of its steps: what the planner will see,
// but for the workspaces of libraries.
//
// A schedule is a list of nodes over the values of one graph; it need not be the graph's own. A value that is
// made twice has two lives, and a reader sees the latest. Views and results in place share memory as in the
// plan.
//
//   const Lives now = lives(g, order, values_elsewhere(g));
//   now.most();                                     // bytes alive at the peak
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

// One life of a value: from the step that makes it to the last that reads it.
struct Life {
  static constexpr std::uint32_t kNone = 0xffffffffu;
  std::uint32_t value = 0, block = kNone;  // kNone: not in the arena
  std::size_t made = 0;
  std::vector<std::size_t> reads{};
  std::size_t last() const { return reads.empty() ? made : reads.back(); }
};

struct Lives {
  std::vector<Life> all;           // in the order in which they are made
  std::vector<std::size_t> bytes;  // alive at each step, and after the last
  std::size_t peak = 0;            // the first step with the most
  std::size_t most() const { return bytes.empty() ? 0 : bytes[peak]; }
  std::size_t at_most() const;  // steps with as many
};

// `elsewhere`: values that do not lie in the arena.
Lives lives(const Graph& g, std::span<const Node* const> order, const std::vector<bool>& elsewhere);
// Inputs, states, what states become, and gradients.
std::vector<bool> values_elsewhere(const Graph& g);

}  // namespace ingot
