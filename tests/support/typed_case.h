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

#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "core/ir/graph.h"
#include "core/ir/tensor.h"
#include "gtest/gtest.h"
#include "tests/support/op_case.h"

namespace ingot::test {

struct TypedCase {
  Graph graph;                 // node 0 is the case's own; outputs y0, y1, ... and gradients g0, g1, ...
  std::vector<Tensor> inputs;  // one per input of the graph
};

std::optional<TypedCase> typed_case(const OpCase& c, DType dtype, bool mixed);

// The graph with operands of its first node channels-last where they are images: all, and each alone.
std::vector<Graph> image_layouts(const Graph& plain);

std::vector<Tensor> rounded_reference(const Graph& graph, const Node& node,
                                      const std::vector<Tensor>& operands);

// What the graph's outputs must be: node after node, each rounded.
std::map<std::string, Tensor> rounded_outputs(const TypedCase& t);

// Half a unit in the last place of 1: by how much, relatively, one rounding to `dtype` may move a value. 0
// for what is no 16-bit format.
double rounding(DType dtype);

// A case in one format; all of them, for test parameters.
struct CaseIn {
  OpCase c;
  DType dtype;
};
std::vector<CaseIn> all_cases();
void PrintTo(const CaseIn& p, std::ostream* out);
std::string case_name(const testing::TestParamInfo<CaseIn>& info);

// What the cases of this process have shown so far, for tests that run behind them.
struct Seen {
  std::size_t cases = 0;          // single ops, in each dtype
  std::size_t programs = 0;       // the same with their gradients, as programs
  std::set<std::string> kernels;  // by what the simulator calls them
};
Seen& seen();

}  // namespace ingot::test
