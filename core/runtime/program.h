// Program: a graph compiled for one target: passes run, nodes lowered to steps, every byte given a place.
//
// Immutable and shared: any number of sessions may run one program. The report is exact: a session allocates
// those bytes and no others.
//
//   ProgramPtr p = compile(graph, {.target = Target::cpu(2)});
//   p->report().total_bytes;
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/ir/graph.h"
#include "core/passes/pass.h"
#include "core/plan/memory_plan.h"
#include "core/runtime/backend.h"
#include "core/runtime/step.h"
#include "core/runtime/target.h"

namespace ingot {

struct CompileOptions {
  Target target = Target::cpu();
  bool optimise = true;
  std::set<std::string> skip_passes{};
  std::string dump_passes{};  // directory for the graph's text after each pass
  bool share_memory = true;   // false: every block has its own memory (for tests: results must not change)
  bool in_place = true;       // false: no two values share memory except views
  // Bytes that a session may need, everything counted; 0: no such limit. Where the plan needs more, results
  // of the forward pass are computed again for the backward pass, those first that save most for the time
  // they cost. Without a limit a backend may do so too, for a small share of the time
  // (Backend::recompute_share).
  std::size_t memory_budget = 0;
  // Seconds that a node should take on the target; null: a rule of thumb. It decides what is computed again.
  SecondsOracle node_seconds{};
};

enum class Region : std::uint8_t { Arena, Parameter, Gradient, State, Staging, Constant };
inline constexpr int kRegions = 6;
std::string_view name(Region region);

struct Place {
  Region region = Region::Arena;
  std::size_t offset = 0;
};

// Bytes; `total_bytes` is the sum of the six regions and what a session allocates.
struct MemoryReport {
  std::size_t arena_bytes = 0;     // activations and workspaces, shared over time
  std::size_t max_live_bytes = 0;  // lower bound of the arena
  std::size_t parameter_bytes = 0;
  std::size_t gradient_bytes = 0;
  std::size_t state_bytes = 0;      // optimiser, running statistics, generator, counters
  std::size_t staging_bytes = 0;    // inputs, and their copies on the way to a device
  std::size_t constant_bytes = 0;   // computed once when a session starts
  std::size_t workspace_bytes = 0;  // largest workspace of a step; lies inside the arena
  std::size_t total_bytes = 0;
};

// One block of arena memory, for tables and pictures.
struct Block {
  ValueId value;  // invalid: a workspace of step `first`
  std::size_t offset = 0, bytes = 0;
  std::int32_t first = 0, last = 0;  // schedule positions
};

class Program {
 public:
  const Graph& graph() const { return graph_; }
  const Target& target() const { return target_; }
  const Backend& backend() const { return *backend_; }
  const MemoryReport& report() const { return report_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  std::int32_t peak_step() const { return peak_step_; }
  const std::vector<PassTiming>& pass_timings() const { return timings_; }
  // What is computed again to need less memory.
  const Recomputed& recomputed() const { return recomputed_; }

  // Nodes run at every step, in order, and those run once per session (they depend on constants and on states
  // that never change).
  const std::vector<NodeId>& schedule() const { return schedule_; }
  const std::vector<NodeId>& prepare() const { return prepare_; }
  const Step& step(NodeId n) const { return *steps_.at(n.index); }
  Place place(ValueId v) const { return places_.at(v.index); }
  // States whose new content is copied at the end because it could not be written in place.
  const std::vector<Update>& copies() const { return copies_; }
  std::size_t region_bytes(Region r) const { return region_bytes_[static_cast<std::size_t>(r)]; }
  // Of Region::Staging: the inputs themselves, which lie first; copies on their way follow
  // (Backend::staging_slots).
  std::size_t input_bytes() const { return input_bytes_; }

  // What one run issues to a device (Step::launches): Ingot's own kernels, copies and fills, and calls of
  // libraries. 0 on the CPU. Copies of inputs and outputs are not among them.
  int launches() const;
  int library_calls() const;
  double flops() const;        // of one run
  double bytes_moved() const;  // read and written by the scheduled steps, by the registry's cost functions

 private:
  friend class Compiler;
  Graph graph_;
  Target target_;
  const Backend* backend_ = nullptr;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<NodeId> schedule_, prepare_;
  std::vector<Place> places_;
  std::vector<Update> copies_;
  std::vector<Block> blocks_;
  std::int32_t peak_step_ = 0;
  MemoryReport report_;
  std::array<std::size_t, kRegions> region_bytes_{};
  std::size_t input_bytes_ = 0;
  std::vector<PassTiming> timings_;
  Recomputed recomputed_;
};

using ProgramPtr = std::shared_ptr<const Program>;

// Throws UsageError naming the node when the backend cannot run it.
ProgramPtr compile(const Graph& graph, const CompileOptions& options = {});

}  // namespace ingot
