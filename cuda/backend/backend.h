// CudaBackend: the CUDA kernels as a Backend. Nodes are lowered by cuda/ops, memory and streams come from
// cuda/base.
//
// It is there whether or not the machine has a GPU: graphs can be compiled for a Target that was written down
// elsewhere, and target() says what is missing. Its memory is the device's alone, so a session keeps pinned
// copies of inputs and outputs. Functions may be called from several threads.
//
//   register_backend(std::make_unique<cuda::CudaBackend>());
//   Session s(compile(graph, {.target = Target::cuda(0)}));
#pragma once

#include "core/runtime/backend.h"

namespace ingot::cuda {

class CudaBackend : public Backend {
 public:
  std::string_view name() const override { return "cuda"; }
  Target target(int device) const override;
  std::vector<std::pair<std::string, std::string>> facts() const override;

  std::optional<std::string> refuses(const ingot::Graph& graph, const Node& node) const override;
  Layouts layouts(const ingot::Graph& graph, const Node& node, const std::vector<bool>& state_free,
                  const Target& target) const override;
  bool accelerates(const ingot::Graph& graph, const Node& node, const Target& target) const override;
  std::unique_ptr<Step> lower(const ingot::Graph& graph, const Node& node,
                              const Target& target) const override;
  std::vector<Candidate> explain(const ingot::Graph& graph, const Node& node,
                                 const Target& target) const override;

  std::vector<CacheEntry> cache_entries() const override;
  std::string cache_folder() const override;
  std::size_t clear_cache() const override;

  std::shared_ptr<void> allocate(std::size_t bytes, int device) const override;
  std::size_t free_bytes(int device) const override;
  bool host_memory() const override { return false; }
  std::shared_ptr<void> allocate_host(std::size_t bytes) const override;
  int staging_slots() const override;
  double recompute_share() const override { return 0.02; }
  std::unique_ptr<Queue> make_queue(const Target& target, void* stream) const override;
};

}  // namespace ingot::cuda
