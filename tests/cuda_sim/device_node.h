// Runs one node of a graph by its CUDA lowering on the simulated device, as the backend would: operands in
// the layouts that the lowering asks for, results in memory that holds NaN before.
//
//   std::optional<DeviceNode> run = run_on_device(g, id, operands);     // nothing: every candidate declines
//   run->results[0].get(5);                                             // whatever its layout
//   run = run_on_device(g, id, operands, {}, "cudnn");                  // the candidate of this name alone
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"
#include "core/ir/tensor.h"
#include "core/runtime/program.h"

namespace ingot {

struct DeviceNode {
  std::vector<Tensor> results;  // in the layouts in which the lowering leaves them
  std::vector<TensorType> operand_types;
  std::string kernel;
};

// The CUDA target of these tests.
Target cuda_target();

// Elements that the op leaves open: (result, element).
using Unspecified = std::function<bool(int result, std::int64_t element)>;

// `operands` have the types that the graph says, in any layout. A failure of the test is added when an
// operand changes, and when a result that may lie in its operand's memory differs there. The first candidate
// that accepts, or the one named `row` (Lowering::name).
std::optional<DeviceNode> run_on_device(Graph graph, NodeId node, const std::vector<Tensor>& operands,
                                        const Unspecified& unspecified = {}, std::string_view row = {});

// Asks for the generated kernel that run_on_device() will want, if it is one, so that it is compiled together
// with others.
void expect_on_device(Graph graph, NodeId node);
// The same for all that a session of the program will want.
void expect_on_device(const Program& program);

}  // namespace ingot
