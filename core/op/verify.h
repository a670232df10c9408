// The verifier: is this graph well formed?
//
// Checked: ids are in range and agree with each other; the order of the nodes is a schedule; every op is
// registered and its attributes are of the op's struct; every result has the dtype and shape that the op
// infers (layouts are free, but of the right rank); names of inputs, states and outputs are unique; updates
// write states of their own type, once each; graphs inside attributes are well formed too. The pipeline
// verifies before and after each pass.
//
//   verify(graph);      // throws UsageError that lists all that is broken
#pragma once

#include <string>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

void verify(const Graph& graph);

// One sentence for each thing that is broken; empty for a well-formed graph.
std::vector<std::string> broken_rules(const Graph& graph);

}  // namespace ingot
