// Choice by measurement: the candidates of a node are timed on the device, once for a problem, and the
// ranking is kept on the disk.
//
// The key is all that decides the times: the GPU's name, the driver, the versions of the runtime and of the
// libraries, the node with its types, layouts and attributes, and which arithmetic the target allows. An
// entry lists kernels, fastest first, with their times, also those above the workspace limit: they are passed
// over when the ranking is read, and `ingot plan` says what they would have gained. A kernel of it that no
// candidate offers any more, or that fails when it is bound, costs a log line and the next one is taken. A
// node with one candidate, with operands that are not floating point (random bits would be no indices), or
// too large for the memory that is free is not measured: it takes the first candidate. Memory for a
// measurement is the node's operands, results and the largest workspace, and is given back at once.
//
// What a library computes on the measurement's random operands must be what Ingot's own kernel computes, or
// it is left out: a call that was wired wrongly, or a library with a bug, costs a log line and not a
// training.
//
//   Chooser chooser(KernelCache::default_folder());
//   auto step = chooser.choose(lowerings(), {graph, node, target});
#pragma once

#include <memory>
#include <string>

#include "core/runtime/lowering.h"
#include "cuda/jit/kernel_cache.h"

namespace ingot::cuda {

class Chooser {
 public:
  explicit Chooser(std::string folder, KernelCache::Log log = KernelCache::log_to_stderr);

  // Null when every candidate declines.
  std::unique_ptr<Step> choose(const LoweringTable& table, const Problem& p);

 private:
  std::string measure(const Problem& p, const std::vector<Offer>& offers);

  KernelCache cache_;
  KernelCache::Log log_;
};

}  // namespace ingot::cuda
