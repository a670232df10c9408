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
#include <vector>

#include "core/ir/graph.h"
#include "core/runtime/queue.h"
#include "core/runtime/step.h"
#include "core/runtime/target.h"

namespace ingot {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

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

  // Never null; throws UsageError with the reason when refuses() has one.
  virtual std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const = 0;

  // Device memory, 64-byte aligned; freed when the last handle goes. Throws DeviceError that names the bytes.
  virtual std::shared_ptr<void> allocate(std::size_t bytes) const = 0;
  // True when the host may read and write that memory itself, at any time between two runs. Otherwise
  // sessions keep host copies of inputs and outputs in memory from allocate_host, and all else goes through
  // the queue.
  virtual bool host_memory() const { return true; }
  // Host memory that transfers best to and from the device.
  virtual std::shared_ptr<void> allocate_host(std::size_t bytes) const { return allocate(bytes); }
  virtual std::unique_ptr<Queue> make_queue(const Target& target) const = 0;
};

// By name; throws UsageError that says which backends this build has and how to get the others.
const Backend& backend(std::string_view name);
void register_backend(std::unique_ptr<Backend> b);
// Defined by the backends and called once, by the first backend(); `register_cuda_backend` registers nothing
// in builds without CUDA (cuda/backend/register_stub.cpp).
void register_cpu_backend();
void register_cuda_backend();

}  // namespace ingot
