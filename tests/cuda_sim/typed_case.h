// An OpCase in f32, f16 or bf16: its graph, with the gradient where the op has one, and what each node of it
// must give.
//
// A case is written in f32. In a 16-bit format its f32 operands and attributes take that format; `mixed`
// leaves those of lower rank f32, as normalisations keep their parameters. What a node must give is its
// reference in f32 on the operands as they are, rounded once: kernels compute in f32 and round where they
// store.
//
//   std::optional<TypedCase> t = typed_case(c, DType::BF16, false);    // nothing: the op refuses such
//   operands auto want = rounded_reference(t->graph, id, operands);
#pragma once

#include <optional>
#include <vector>

#include "core/ir/graph.h"
#include "core/ir/tensor.h"
#include "tests/support/op_case.h"

namespace ingot::test {

struct TypedCase {
  Graph graph;                 // node 0 is the case's own
  std::vector<Tensor> inputs;  // one per input of the graph
};

std::optional<TypedCase> typed_case(const OpCase& c, DType dtype, bool mixed);

std::vector<Tensor> rounded_reference(const Graph& graph, const Node& node,
                                      const std::vector<Tensor>& operands);

// Half a unit in the last place of 1: by how much, relatively, one rounding to `dtype` may move a value. 0
// for what is no 16-bit format.
double rounding(DType dtype);

}  // namespace ingot::test
