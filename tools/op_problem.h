// One node, from its op's name, the types of its operands and its attributes, written as in a graph's text
// (core/op/text.h).
//
//   op_graph("conv2d", {parse_type("f32[8, 3, 32, 32]"), parse_type("f32[16, 3, 3, 3]")}, "{padding=[1,
//   1]}");
#pragma once

#include <string>
#include <vector>

#include "core/ir/graph.h"

namespace ingot::tools {

// Operands are inputs, but for a floating second one, which is a state: weights lie as their op wants them.
// All results are outputs. Throws what the parser and the op's inference throw.
Graph op_graph(const std::string& op, const std::vector<TensorType>& operands, const std::string& attributes);

}  // namespace ingot::tools
