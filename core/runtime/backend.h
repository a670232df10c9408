// Backend: turns nodes into steps and owns device memory. The CPU and CUDA backends implement it; core knows
// only this.
//
//   Backend& b = backend("cpu");
//   if (auto why = b.refuses(graph, node)) ...        // a reason, for error messages
//   auto step = b.lower(graph, node, target);
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ir/graph.h"
#include "core/runtime/cache_entry.h"
#include "core/runtime/queue.h"
#include "core/runtime/step.h"
#include "core/runtime/target.h"

namespace ingot {

// One of the ways to run a node, for explanations.
struct Candidate {
  std::string name;    // whose kernels: "own", "cudnn", "cublaslt"
  std::string kernel;  // what it would run; empty when it declines
  std::size_t workspace_bytes = 0;
  bool taken = false;
  std::string why;  // it declines, or is not taken
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // What device number `device` can do and how much it has. Throws UsageError with the reason and the fix
  // when there is no such device.
  virtual Target target(int device) const = 0;
  // What a user wants to know of this backend, as rows of a name and a text: devices, versions, what is
  // missing and how to get it. Never throws for a machine without the device.
  virtual std::vector<std::pair<std::string, std::string>> facts() const = 0;

  // Why this backend cannot run the node, or nothing.
  virtual std::optional<std::string> refuses(const Graph& graph, const Node& node) const = 0;

  // What the layout pass asks, node by node in order. The node's inputs have their current layouts; the
  // answer says which layout each input must have (the pass inserts `reorder` nodes where it differs) and
  // which the outputs will have. `state_free[i]` tells that input i is a state whose layout nobody has fixed
  // yet: the answer fixes it, without a reorder.
  using Layouts = NodeLayouts;
  virtual Layouts layouts(const Graph& graph, const Node& node, const std::vector<bool>& state_free,
                          const Target& target) const = 0;

  // Whether a fused node is worth making: a kernel of this backend takes it, in some layout, and beats the
  // ops that the node stands for.
  virtual bool accelerates(const Graph& graph, const Node& node, const Target& target) const {
    static_cast<void>(graph), static_cast<void>(node), static_cast<void>(target);
    return false;
  }

  // The share of a step's time that may go into computing results again to need less memory, where nobody
  // asked for a budget.
  virtual double recompute_share() const { return 0.0; }

  // Never null; throws UsageError with the reason when refuses() has one.
  virtual std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const = 0;

  // The node's candidates, best first, and which of them lower() takes.
  virtual std::vector<Candidate> explain(const Graph& graph, const Node& node, const Target& target) const {
    static_cast<void>(graph), static_cast<void>(node), static_cast<void>(target);
    return {};
  }

  // What is kept on the disk, latest used first, and where; clear_cache() removes it and says how many files
  // went.
  virtual std::vector<CacheEntry> cache_entries() const { return {}; }
  virtual std::string cache_folder() const { return ""; }
  virtual std::size_t clear_cache() const { return 0; }

  // Device memory, 64-byte aligned; freed when the last handle goes. Throws OutOfMemoryError that names
  // the bytes, DeviceError for anything else.
  virtual std::shared_ptr<void> allocate(std::size_t bytes, int device = 0) const = 0;
  // Bytes that could be allocated now; 0: unknown.
  virtual std::size_t free_bytes(int /*device*/) const { return 0; }
  // True when the host may read and write that memory itself, at any time between two runs. Otherwise
  // sessions keep host copies of inputs and outputs in memory from allocate_host, and all else goes through
  // the queue.
  virtual bool host_memory() const { return true; }
  // Host memory that transfers best to and from the device.
  virtual std::shared_ptr<void> allocate_host(std::size_t bytes) const { return allocate(bytes); }
  // How many copies of a run's inputs lie on the device beside the inputs themselves, so that the next run's
  // inputs arrive while a run works (Queue::use_staging). 0: inputs are copied to their place at once.
  virtual int staging_slots() const { return 0; }
  // `stream` is a queue of the host program's to work in (a cudaStream_t), or null for one of its own. Throws
  // UsageError where the backend has no such thing.
  virtual std::unique_ptr<Queue> make_queue(const Target& target, void* stream = nullptr) const = 0;
};

// By name; throws UsageError that says which backends this build has and how to get the others.
const Backend& backend(std::string_view name);
void register_backend(std::unique_ptr<Backend> b);
// Defined by the backends and called once, by the first backend(); `register_cuda_backend` registers nothing
// in builds without CUDA (cuda/backend/register_stub.cpp).
void register_cpu_backend();
void register_cuda_backend();

}  // namespace ingot
