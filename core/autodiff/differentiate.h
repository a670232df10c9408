// Reverse-mode differentiation as a graph transform.
//
// Appends the nodes that compute d loss / d w for each w asked for, by running the gradient rules backwards
// from the loss. What a rule reads of the forward pass is an ordinary operand, so liveness and recomputation
// see it. Only nodes on a path from some w to the loss are visited. A backward node is named "grad/" + the
// forward node's name and keeps its source line. The results are graph values like any other: they may be
// differentiated again wherever the ops of the rules have rules themselves.
//
//   Value loss = mean(square(y - target));
//   std::vector<Value> g = differentiate(graph, loss, std::array{w, b});
#pragma once

#include <span>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

// One gradient per entry of `wrt`, of its type; zeros where the loss does not depend on it. Values of integer
// or bool dtype carry no gradient: what flows only through them (argmax, comparisons) counts as constant.
//
// Throws UsageError when the loss is not one floating element, when an entry of `wrt` is not floating, and
// when an op without a gradient rule lies between.
std::vector<Value> differentiate(Graph& graph, Value loss, std::span<const Value> wrt);

}  // namespace ingot
