// The generated kernel of a graph's node: what the lowering of an elementwise node launches.
//
//   if (const auto tape = node_tape(graph, node))                    // add, cast, fused, ...
//     KernelSource k = elementwise_source(tape->expr, tape->inputs, tape->outputs);
#pragma once

#include <optional>
#include <vector>

#include "core/expr/scalar_expr.h"
#include "core/ir/graph.h"

namespace ingot::cuda {

struct NodeTape {
  ScalarExpr expr;
  std::vector<TensorType> inputs, outputs;
};

// Nothing for a node that is no scalar function, cast or tape, and for operands that no single walk serves
// (elementwise_accepts).
std::optional<NodeTape> node_tape(const Graph& graph, const Node& node);

}  // namespace ingot::cuda
