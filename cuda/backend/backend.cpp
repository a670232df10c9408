#include "cuda/backend/backend.h"

#include <cstdio>

#include "cuda/backend/choice.h"
#include "cuda/backend/queue.h"
#include "cuda/base/check.h"
#include "cuda/base/device_info.h"
#include "cuda/base/memory.h"
#include "cuda/libs/libraries.h"
#include "cuda/ops/table.h"

namespace ingot::cuda {

namespace {

// 13000 -> "13.0".
std::string version_text(int version) {
  return cat(version / 1000, ".", version % 1000 / 10);
}

std::string refusal(const Problem& p) {
  if (lowerings().find(p.node.op) == nullptr)
    return cat("the CUDA backend has no kernel for '", p.node.op, "'; run this graph on the CPU");
  return cat("the CUDA backend has kernels for '", p.node.op, "', and none for ", describe(p),
             "; use f32, f16 or bf16 operands, or run this graph on the CPU");
}

// What there is to say of one device.
std::string device_text(const DeviceInfo& d) {
  char memory[32];
  std::snprintf(memory, sizeof memory, "%.1f GiB", static_cast<double>(d.memory_bytes) / 0x1p30);
  return cat(d.name, ", sm_", d.sm, ", ", d.multiprocessors, " multiprocessors, ", memory);
}

Chooser& chooser() {
  static Chooser one(KernelCache::default_folder());
  return one;
}

template <class Buffer>
std::shared_ptr<void> share(Buffer buffer) {
  auto owner = std::make_shared<Buffer>(std::move(buffer));
  return {owner, owner->data()};
}

// Too little memory is an error of its own in core, which knows what to do about it.
template <class Make>
std::shared_ptr<void> allocated(const Make& make) {
  try {
    return make();
  } catch (const CudaError& e) {
    if (e.out_of_memory()) throw OutOfMemoryError(e.message());
    throw;
  }
}

}  // namespace

Target CudaBackend::target(int device) const {
  const DeviceInfo info = device_info(device);
  Target t;
  t.backend = "cuda";
  t.device = device;
  t.name = cat(info.name, ", sm_", info.sm);
  t.sm = info.sm;
  t.memory_bytes = info.memory_bytes;
  return t;
}

std::vector<std::pair<std::string, std::string>> CudaBackend::facts() const {
  std::vector<std::pair<std::string, std::string>> rows;
  const DeviceList list = devices();
  for (int i = 0; i < list.count; ++i) rows.emplace_back(cat("cuda:", i), device_text(device_info(i)));
  if (list.count == 0) rows.emplace_back("cuda", list.reason);
  rows.emplace_back("driver", list.driver_version == 0 ? "none; install the NVIDIA driver"
                                                       : cat("CUDA ", version_text(list.driver_version)));
  rows.emplace_back("runtime", cat("CUDA ", version_text(list.runtime_version), ", part of this build"));
  for (const Library& l : libraries()) rows.emplace_back(l.name, library_text(l));
  return rows;
}

std::optional<std::string> CudaBackend::refuses(const ingot::Graph& graph, const Node& node) const {
  Target any;
  any.backend = "cuda";
  const Problem p{graph, node, any};
  if (first_step(lowerings(), p) != nullptr) return std::nullopt;
  return refusal(p);
}

Backend::Layouts CudaBackend::layouts(const ingot::Graph& graph, const Node& node,
                                      const std::vector<bool>& state_free, const Target& target) const {
  return first_layouts(lowerings(), {graph, node, target}, state_free);
}

namespace {

// The step that the node has with channels-last operands.
std::unique_ptr<Step> step_of(const ingot::Graph& graph, const Node& node, const Target& target) {
  const NodeLayouts l = channels_last_layouts({graph, node, target}, {});
  ingot::Graph laid = graph;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) laid.value(node.inputs[i]).type.layout = l.inputs[i];
  for (std::size_t k = 0; k < node.outputs.size(); ++k)
    laid.value(node.outputs[k]).type.layout = l.outputs[k];
  return first_step(lowerings(), {laid, node, target});
}

}  // namespace

// Each launch less is worth it. Our own kernels for sums save nothing, a library's do. A convolution is asked
// about its activation, which is worth it where the same kernel takes it along: another library's plan or a
// second pass of our own, which needs a workspace, costs more than a pass over the result.
bool CudaBackend::accelerates(const ingot::Graph& graph, const Node& node, const Target& target) const {
  if (node.op == "fused_many") return true;
  const bool conv = node.op == "conv2d";
  if (!conv && !node.op.ends_with("_sums")) return false;
  const auto step = step_of(graph, node, target);
  if (step == nullptr || !conv) return step != nullptr && step->library_calls > 0;
  Node plain = node;
  plain.attrs = node.attrs.with("activation", std::string());
  const auto without = step_of(graph, plain, target);
  return without != nullptr && step->library_calls == without->library_calls &&
         step->workspace_bytes == without->workspace_bytes;
}

std::unique_ptr<Step> CudaBackend::lower(const ingot::Graph& graph, const Node& node,
                                         const Target& target) const {
  const Problem p{graph, node, target};
  const bool measure = target.autotune == Autotune::Measure && target.described.empty();
  if (auto step = measure ? chooser().choose(lowerings(), p) : first_step(lowerings(), p)) return step;
  UsageError e(refusal(p));
  e.add_context(node.name, node.loc);
  throw e;
}

std::vector<Candidate> CudaBackend::explain(const ingot::Graph& graph, const Node& node,
                                            const Target& target) const {
  return explain_step(lowerings(), {graph, node, target});
}

std::vector<CacheEntry> CudaBackend::cache_entries() const {
  return KernelCache(cache_folder()).entries();
}

std::string CudaBackend::cache_folder() const {
  return KernelCache::default_folder();
}

std::size_t CudaBackend::clear_cache() const {
  return KernelCache(cache_folder()).clear();
}

std::shared_ptr<void> CudaBackend::allocate(std::size_t bytes, int device) const {
  const DeviceScope scope(device);
  return allocated([&] { return share(DeviceBuffer(bytes)); });
}

std::size_t CudaBackend::free_bytes(int device) const {
  const DeviceScope scope(device);
  return memory_info().free;
}

std::shared_ptr<void> CudaBackend::allocate_host(std::size_t bytes) const {
  return allocated([&] { return share(PinnedBuffer(bytes)); });
}

int CudaBackend::staging_slots() const {
  return CudaQueue::kSlots;
}

std::unique_ptr<Queue> CudaBackend::make_queue(const Target& target, void* stream) const {
  return CudaQueue::make(target.device, stream);
}

}  // namespace ingot::cuda
