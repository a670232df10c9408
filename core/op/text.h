// The text of a graph: what `ingot plan --dump-passes` writes, what tests of passes are written in.
//
// One statement a line, in the order of the graph; printing what was parsed gives the same text again:
//
//   %0 = input "x" : f32[8, 3, 32, 32]
//   %1 = state "conv1.weight" : f32[16, 3, 3, 3] parameter uniform(-0.1, 0.1)
//   %2 = conv2d(%0, %1) {padding=[1, 1]} : f32[8, 16, 32, 32]@0231  # conv1.conv2d train.cpp:12
//   %3, %4 "where" = max_pool2d(%2) {kernel=[2, 2]} : f32[8, 16, 16, 16], u8[8, 16, 16, 16]
//   output "y" = %3
//   update %1 = %9
//   gradient %1 = %7                             (which value is the gradient of a parameter)
//
// Attributes equal to the op's defaults are left out. A result may carry a name in quotes. After '#' stand
// the node's name and source line. A state's line ends with its role (parameter, buffer, optimizer, counter),
// `frozen` or `trainable` where that is not what the role implies, and how it starts: constant(v),
// uniform(lo, hi), normal(mean, stddev) or data(tensor). A tensor is written `f32[2](1, 0.5)`, or `f32[64]:`
// and the bytes in hex. A graph inside an attribute is written in braces. A line that starts with // is
// skipped. Values may be called anything in text that is parsed (%x, %conv1.out); printing numbers them.
#pragma once

#include <string>
#include <string_view>

#include "core/ir/graph.h"

namespace ingot {

struct TextOptions {
  bool names = true;      // node names
  bool locations = true;  // source lines
  // Larger tensors are shown as `f32[512, 512]:...`, which cannot be parsed; negative: none is.
  std::int64_t elide_tensors_above = -1;
};

std::string print_graph(const Graph& graph, const TextOptions& options = {});
// The statement of one node, without a newline.
std::string print_node(const Graph& graph, NodeId node, const TextOptions& options = {});
std::string print_attr(const AttrValue& value, const TextOptions& options = {});

// The inverse; throws FormatError with the line number. Ops must be registered; types are taken as written
// (verify() checks them).
Graph parse_graph(std::string_view text);

}  // namespace ingot
