// Passes: functions from graph to graph, run by the pipeline in a stated order.
//
// A pass never changes what the graph computes. It is idempotent, keeps names and source lines on what it
// replaces, and appears once in core/passes/pipeline.cpp together with the reason for its place.
//
//   Graph optimised = run_pipeline(graph, context);
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

// Whether the backend has a kernel for the node that is better than the ops it stands for.
using KernelOracle = std::function<bool(const Graph&, const Node&)>;

// Answers for the layout pass; see Backend::layouts.
using LayoutOracle =
    std::function<NodeLayouts(const Graph&, const Node&, const std::vector<bool>& state_free)>;

struct PassTiming {
  std::string name;
  double ms = 0.0;
  std::size_t nodes_before = 0, nodes_after = 0;
};

// Seconds that a node should take, for choices between time and memory.
using SecondsOracle = std::function<double(const Graph&, const Node&)>;

// What the pass `checkpoint` traded: bytes alive at once, by the graph, for predicted seconds of a step.
struct Recomputed {
  std::size_t nodes = 0;
  std::size_t bytes_before = 0, bytes_after = 0;
  double seconds_before = 0.0, seconds = 0.0;  // of the step without, and what was added
};

struct PassContext {
  LayoutOracle layouts;        // null: the layout pass is left out
  KernelOracle accelerates;    // null: nothing is fused for a backend's sake
  std::set<std::string> skip;  // names of passes to leave out
  std::string dump_dir;        // not empty: the graph's text after each pass goes here
  bool optimise = true;        // false: only what is needed to run
  SecondsOracle node_seconds;  // null: those of a GPU of today
  // Results are computed again until so many bytes are alive at once; 0: no such target, but up to this share
  // of the step's time may be spent to lower them.
  std::size_t memory_target = 0;
  double recompute_share = 0.0;
  Recomputed recomputed;            // filled by the pass
  std::vector<PassTiming> timings;  // filled by the pipeline
};

struct Pass {
  std::string_view name;
  Graph (*run)(const Graph&, PassContext&);
  bool required = false;  // runs even when optimise is false
};

// In order.
std::span<const Pass> pipeline();
Graph run_pipeline(const Graph& graph, PassContext& context);

// The passes, one file each.
Graph eliminate_dead_code(const Graph& graph, PassContext& context);
Graph eliminate_common_subexpressions(const Graph& graph, PassContext& context);
Graph fold_constants(const Graph& graph, PassContext& context);
Graph simplify(const Graph& graph, PassContext& context);
Graph mask_before_unpooling(const Graph& graph, PassContext& context);
Graph fuse_unpooling(const Graph& graph, PassContext& context);
Graph fold_batch_norm(const Graph& graph, PassContext& context);
Graph fuse_epilogues(const Graph& graph, PassContext& context);
Graph fuse_concat(const Graph& graph, PassContext& context);
Graph fuse_sums(const Graph& graph, PassContext& context);
Graph fuse_elementwise(const Graph& graph, PassContext& context);
Graph assign_layouts(const Graph& graph, PassContext& context);
Graph checkpoint(const Graph& graph, PassContext& context);
Graph recompute_cheap_values(const Graph& graph, PassContext& context);
Graph join_elementwise(const Graph& graph, PassContext& context);

}  // namespace ingot
