// The CUDA runtime's functions on launches, captures and graphs, replaced.
#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/kernel_table.h"
#include "tests/support/cuda_sim/report.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

namespace {

constexpr std::size_t kPlainShared = 48 * 1024, kMostShared = 227 * 1024;

bool fits(const cudaLaunchConfig_t& c) {
  const dim3 g = c.gridDim, b = c.blockDim;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) return false;
  return b.x != 0 && b.y != 0 && b.z != 0 && b.z <= 64 && std::size_t{b.x} * b.y * b.z <= 1024;
}

cudaError_t start(Machine& m, const cudaLaunchConfig_t& config, const void* function, void** arguments) {
  StreamState* const stream = m.stream(config.stream);
  if (stream == nullptr) return m.bad_handle("stream", config.stream);
  const std::optional<KnownKernel> known = find_kernel(function);
  if (!known) return cudaErrorInvalidDeviceFunction;
  const Kernel& kernel = known->kernel;
  if (!fits(config) || config.numAttrs != 0) return cudaErrorInvalidConfiguration;
  const auto limit = m.dynamic_shared_limits.find(function);
  if (config.dynamicSmemBytes >
      (limit == m.dynamic_shared_limits.end() ? kPlainShared : static_cast<std::size_t>(limit->second)))
    return cudaErrorInvalidValue;

  auto launch = std::make_shared<Launch>();
  launch->function = known->function;
  launch->kernel = kernel;
  launch->library = known->library;
  launch->name = known->name;
  launch->grid = config.gridDim;
  launch->block = config.blockDim;
  launch->dynamic_shared = config.dynamicSmemBytes;
  std::size_t size = 0;
  for (std::size_t i = 0; i < kernel.count; ++i) {
    size = (size + kernel.aligns[i] - 1) / kernel.aligns[i] * kernel.aligns[i];
    launch->offsets.push_back(size);
    size += kernel.sizes[i];
  }
  launch->arguments.resize(size);
  for (std::size_t i = 0; i < kernel.count; ++i)
    std::memcpy(launch->arguments.data() + launch->offsets[i], arguments[i], kernel.sizes[i]);
  if (stream->capture == nullptr) ++m.counters.launches;
  const cudaError_t status = m.submit(*stream, [&m, launch] {
    ++m.counters.kernels_run;
    m.kernels_run.emplace(launch->name.substr(0, launch->name.find('<')));
    if (launch->library != nullptr && launch->library->unloaded)
      report(Fault::BadHandle, cat("kernel '", launch->name,
                                   "' runs after its module was unloaded; keep the "
                                   "Module until the stream has passed the kernel"));
    return engine().run(*launch);
  });
  return status;
}

// Nodes that `from` follows, itself included.
std::vector<bool> ancestors(const GraphState& graph, std::vector<std::size_t> from) {
  std::vector<bool> seen(graph.nodes.size());
  while (!from.empty()) {
    const std::size_t node = from.back();
    from.pop_back();
    if (seen[node]) continue;
    seen[node] = true;
    from.insert(from.end(), graph.nodes[node].before.begin(), graph.nodes[node].before.end());
  }
  return seen;
}

cudaError_t end_capture(Machine& m, StreamState& origin, cudaStream_t handle, cudaGraph_t* result) {
  const std::shared_ptr<Capture> capture = origin.capture;
  if (capture->origin != handle) return m.invalidate(capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return cudaErrorStreamCaptureWrongThread;
  const std::vector<bool> joined = ancestors(*capture->graph, origin.tail);
  bool unjoined = false;
  for (const auto& [other_handle, s] : m.streams) {
    if (s->capture != capture) continue;
    for (const std::size_t node : s->tail) unjoined = unjoined || !joined[node];
    s->capture = nullptr;
    s->tail.clear();
  }
  capture->ended = true;
  std::erase(m.captures, capture);
  if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (unjoined) return cudaErrorStreamCaptureUnjoined;
  *result = capture->handle;
  if (!capture->into_body) m.graphs.emplace(*result, capture->graph);
  return cudaSuccess;
}

// Bodies of conditional nodes included, so that what is instantiated stays as it was.
std::shared_ptr<GraphState> copy_of(const GraphState& graph) {
  auto copy = std::make_shared<GraphState>(graph);
  for (GraphNode& node : copy->nodes)
    if (node.body != nullptr) node.body = copy_of(*node.body);
  return copy;
}

}  // namespace

}  // namespace ingot::sim

using namespace ingot::sim;

extern "C" {

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  return runtime_call("cudaLaunchKernelExC",
                      [&](Machine& m) { return start(m, *config, function, arguments); });
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return runtime_call("cudaFuncSetAttribute", [&](Machine& m) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<std::size_t>(value) > kMostShared)
      return cudaErrorInvalidValue;
    m.dynamic_shared_limits[function] = value;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  static std::map<const void*, std::string> names;
  return runtime_call("cudaFuncGetName", [&](Machine&) {
    const auto known = find_kernel(function);
    *name = names.try_emplace(function, known ? known->name : function_name(function)).first->second.c_str();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return runtime_call("cudaStreamBeginCapture", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (stream == &m.legacy()) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorIllegalState);
    const auto capture = std::make_shared<Capture>();
    m.begin_capture(*stream, handle, mode, capture);
    capture->handle = m.new_handle<cudaGraph_t>();
    capture->graph = std::make_shared<GraphState>();
    capture->graph->id = capture->id;
    return cudaSuccess;
  });
}

// Whatever it returns, the stream is not capturing any more.
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* result) {
  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  const cudaError_t before = begin_call(m, "cudaStreamEndCapture").status;
  *result = nullptr;
  StreamState* const stream = m.stream(handle);
  cudaError_t status = cudaErrorIllegalState;
  if (stream == nullptr) {
    status = m.bad_handle("stream", handle);
  } else if (stream->capture != nullptr) {
    if (before != cudaSuccess) stream->capture->invalid = true;
    status = end_capture(m, *stream, handle, result);
  }
  if (before != cudaSuccess) status = before;
  if (status != cudaSuccess) m.last_error = status;
  return status;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return runtime_call("cudaStreamIsCapturing", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
              : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t* nodes, std::size_t* count) {
  return runtime_call("cudaGraphGetNodes", [&](Machine& m) {
    const auto found = m.graphs.find(handle);
    if (found == m.graphs.end()) return m.bad_handle("graph", handle);
    if (nodes != nullptr) return cudaErrorInvalidValue;  // nodes have no handles here
    *count = found->second->nodes.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* result, cudaGraph_t handle, unsigned long long) {
  return runtime_call("cudaGraphInstantiate", [&](Machine& m) {
    const auto found = m.graphs.find(handle);
    if (found == m.graphs.end()) return m.bad_handle("graph", handle);
    *result = m.new_handle<cudaGraphExec_t>();
    m.executables.emplace(*result, copy_of(*found->second));
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  return release_call("cudaGraphDestroy", [&](Machine& m) {
    if (m.graphs.erase(handle) == 0) return m.bad_handle("graph", handle);
    return cudaSuccess;
  });
}

// Launches that were issued still run.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  return release_call("cudaGraphExecDestroy", [&](Machine& m) {
    if (m.executables.erase(handle) == 0) return m.bad_handle("executable graph", handle);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  return runtime_call("cudaGraphLaunch", [&](Machine& m) {
    const auto found = m.executables.find(handle);
    if (found == m.executables.end()) return m.bad_handle("executable graph", handle);
    StreamState* const stream = m.stream(stream_handle);
    if (stream == nullptr) return m.bad_handle("stream", stream_handle);
    const std::shared_ptr<GraphState> graph = found->second;
    const Work work = [&m, graph] { return m.run_graph(*graph); };
    if (stream->capture != nullptr) return m.submit(*stream, work);
    ++m.counters.graph_launches;
    if (graph->last != nullptr) stream->waits.push_back(graph->last);
    const cudaError_t status = m.submit(*stream, work);
    graph->last = stream->last;
    return status;
  });
}

}  // extern "C"
