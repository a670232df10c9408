// A backend's table of lowerings: for each op its candidates, best first.
//
// A candidate either returns a Step or null when it declines the problem; then the next one is asked. One
// file per family in cpu/ops/ and cuda/ops/ adds its rows in `void add_<family>(LoweringTable&)`, named once
// in families.def beside it. What comes after the last row is the backend's own affair: the CPU has every
// op's reference, a GPU refuses.
//
//   table.add("relu", {.lower = lower_relu});
//   if (auto step = first_step(table, {graph, node, target})) ...
//
// A candidate that declines says why through Problem::decline; `ingot plan --explain` prints it.
//
// `lower` may depend on the types and layouts of the node's operands, its attributes and the target, on
// nothing else of the graph: the layout pass tries candidates on a graph that holds the node alone.
// Preparation that is costly but cannot fail (generating a primitive's code) belongs into Step::bind, so that
// planning stays fast. Arithmetic is IEEE throughout: denormals are neither flushed nor treated as zero, so
// that a result does not depend on which thread or library set the processor's mode. (Optimiser states are
// the exception: they settle at 0, see cpu/simd/rows.inc.)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/runtime/backend.h"

namespace ingot {

struct Problem {
  const Graph& graph;
  const Node& node;
  const Target& target;
  std::string* why = nullptr;  // where a candidate that declines leaves its reason
  int alternative = 0;         // which of the candidate's own, below Lowering::alternatives

  const TensorType& in(int i) const { return graph.type(node.inputs.at(static_cast<std::size_t>(i))); }
  const TensorType& out(int i = 0) const { return graph.type(node.outputs.at(static_cast<std::size_t>(i))); }
  int num_inputs() const { return static_cast<int>(node.inputs.size()); }
  int num_outputs() const { return static_cast<int>(node.outputs.size()); }
  template <class A>
  const A& attrs() const {
    return node.attrs.template as<A>();
  }
  // What a candidate returns that declines: return p.decline("cuDNN has no ", name(t.dtype)).
  template <class... Parts>
  std::unique_ptr<Step> decline(const Parts&... reason) const {
    if (why != nullptr) *why = cat(reason...);
    return nullptr;
  }
};

// "add(f32[2, 3], f32[3])", for messages.
std::string describe(const Problem& p);

using LowerFn = std::unique_ptr<Step> (*)(const Problem&);
// Layouts this candidate wants, see Backend::layouts. Return an empty `outputs` to decline.
using LayoutFn = Backend::Layouts (*)(const Problem&, const std::vector<bool>& state_free);

struct Lowering {
  LowerFn lower = nullptr;
  LayoutFn layouts = nullptr;  // null: row-major in and out
  const char* name = "own";    // whose kernels: "own", or a library: "cudnn", "cublaslt", "thrust"
  int alternatives = 1;        // how many ways this candidate may have, best first by its own heuristics
};

class LoweringTable {
 public:
  void add(std::string_view op, Lowering l) { rows_[std::string(op)].push_back(l); }
  const std::vector<Lowering>* find(std::string_view op) const {
    const auto it = rows_.find(op);
    return it == rows_.end() ? nullptr : &it->second;
  }

 private:
  std::map<std::string, std::vector<Lowering>, std::less<>> rows_;
};

// The step of the first candidate that accepts the problem; null when all decline or there is none.
// Libraries are left out where the target says so (Autotune::Off), and so is each of their ways that wants
// more workspace than Target::workspace_limit: Step::passed_over names those.
std::unique_ptr<Step> first_step(const LoweringTable& table, const Problem& p);
// The steps of all that accept, each candidate's alternatives after one another, in the order of
// first_step(); `within` the workspace limit, or above it.
struct Offer {
  std::unique_ptr<Step> step;
  bool within = true, own = true;  // own: no library's
};
std::vector<Offer> all_steps(const LoweringTable& table, const Problem& p);
// Every candidate of the node, in order: the first that accepts is the one taken.
std::vector<Candidate> explain_step(const LoweringTable& table, const Problem& p);
// What the first candidate wants that would accept the node in those layouts; nothing when none would, and
// first_layouts then says row-major throughout.
std::optional<Backend::Layouts> kernel_layouts(const LoweringTable& table, const Problem& p,
                                               const std::vector<bool>& state_free);
Backend::Layouts first_layouts(const LoweringTable& table, const Problem& p,
                               const std::vector<bool>& state_free);

// Layout rules that many ops share.
Backend::Layouts row_major_layouts(const Problem& p);
// All operands of the output's shape take the layout of the first such operand (prefer one that is not
// row-major); others are row-major and broadcast. For elementwise ops.
Backend::Layouts elementwise_layouts(const Problem& p, const std::vector<bool>& state_free);
// Rank 4 operands channels-last, everything else row-major. For convolution-like ops.
Backend::Layouts channels_last_layouts(const Problem& p, const std::vector<bool>& state_free);
// Whether the memory may be read as a channels-last image; with one channel or one pixel it always may.
bool lies_channels_last(const TensorType& t);
// Operands as they lie, results row-major.
Backend::Layouts unchanged_layouts(const Problem& p, const std::vector<bool>& state_free);
// After `scalars` operands come lists of `count` tensors, and so do the results: the k-th of each list lies
// as the k-th of the first. For ops that update many tensors.
Backend::Layouts grouped_layouts(const Problem& p, int scalars, std::int64_t count);

}  // namespace ingot
