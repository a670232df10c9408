// The reference executor: runs a graph node by node with each op's reference, on row-major host tensors.
//
// Slow, simple, and the meaning of a graph: passes, backends and plans are compared with it. With `as_f64`
// the graph is first turned into its f64 twin, which is how gradients are checked.
//
//   auto r = evaluate(graph, {{"x", x}}, {{"w", w}});
//   r.outputs.at("y");        // by output name
//   r.states.at("w");         // after the updates
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/ir/graph.h"

namespace ingot {

using NamedTensors = std::map<std::string, Tensor, std::less<>>;

struct ReferenceOptions {
  bool as_f64 = false;
  // Seed for the states that are not given.
  std::uint64_t seed = 0;
  // Called after each node with its results, in the order of the graph.
  std::function<void(NodeId, std::span<const Tensor>)> watch = {};
};

struct Evaluated {
  NamedTensors outputs, states;  // states: all of them, updated ones with their next content
};

// States that are not given start as their Init says. Tensors may be of any floating dtype and layout; they
// are converted to what the graph says. Throws UsageError for a missing or unknown name, ShapeError for
// another shape.
Evaluated evaluate(const Graph& graph, const NamedTensors& feeds, const NamedTensors& states = {},
                   const ReferenceOptions& options = {});

// The graph with f32 replaced by f64: inputs, states, attributes (dtypes, tensors, tapes, inner graphs), and
// results inferred anew. Ids stay the same; all layouts become row-major.
Graph to_f64(const Graph& graph);

}  // namespace ingot
