// Random training graphs, for tests that must hold for any graph.
//
// A graph is a pure function of its seed: a batch of small images (or rows) runs through a random chain of
// convolutions, pooling, norms, elementwise functions, views, concatenations, products and softmax with side
// branches, ends in a loss, is differentiated by its parameters, and most graphs update them by SGD.
// Functions with kinks or steps are left out where the two sides of a step would differ by rounding alone.
// With a compute type below f32 the same graph runs in mixed precision (core/passes/precision.h), its
// gradients too.
//
//   RandomGraph r = random_graph(17);
//   Evaluated want = evaluate(r.graph, r.feeds);
#pragma once

#include <cstdint>

#include "core/ir/graph.h"
#include "core/runtime/interpreter.h"

namespace ingot::test {

struct RandomGraph {
  Graph graph;
  NamedTensors feeds;
};

RandomGraph random_graph(std::uint64_t seed, DType compute = DType::F32);

}  // namespace ingot::test
