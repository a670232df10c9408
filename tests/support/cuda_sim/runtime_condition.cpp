// The CUDA runtime's functions on conditional nodes, and on captures that add them, replaced. Conditions of
// type IF with one body; bodies have no conditional nodes of their own, because nobody needs them yet.
#include <algorithm>

#include "core/base/error.h"
#include "tests/support/cuda_sim/report.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

namespace {

// The graph of a handle: one that is done, one that is being captured, or a node's body.
std::shared_ptr<GraphState> find_graph(Machine& m, cudaGraph_t handle) {
  if (const auto found = m.graphs.find(handle); found != m.graphs.end()) return found->second;
  for (const auto& capture : m.captures)
    if (capture->handle == handle) return capture->graph;
  const auto body = m.bodies.find(handle);
  return body == m.bodies.end() ? nullptr : body->second.lock();
}

// A node's handle says which node of which graph it is.
constexpr std::uintptr_t kNodes = 1u << 20;
cudaGraphNode_t node_handle(const GraphState& graph, std::size_t node) {
  return reinterpret_cast<cudaGraphNode_t>(graph.id * kNodes + node + 1);
}
// Whether all of these are nodes of the graph; then `nodes` are their numbers.
bool find_nodes(const GraphState& graph, const cudaGraphNode_t* handles, std::size_t count,
                std::vector<std::size_t>& nodes) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = reinterpret_cast<std::uintptr_t>(handles[i]);
    const std::size_t node = value % kNodes - 1;
    if (value / kNodes != graph.id || node >= graph.nodes.size()) return false;
    nodes.push_back(node);
  }
  return true;
}

cudaError_t capture_info(Machine& m, cudaStream_t handle, cudaStreamCaptureStatus* status, cudaGraph_t* graph,
                         const cudaGraphNode_t** tail, std::size_t* count) {
  StreamState* const stream = m.stream(handle);
  if (stream == nullptr) return m.bad_handle("stream", handle);
  *status = cudaStreamCaptureStatusNone;
  if (stream->capture == nullptr) return cudaSuccess;
  if (stream->capture->invalid) {
    *status = cudaStreamCaptureStatusInvalidated;
    return cudaSuccess;
  }
  *status = cudaStreamCaptureStatusActive;
  stream->shown_tail.clear();
  for (const std::size_t node : stream->tail)
    stream->shown_tail.push_back(node_handle(*stream->capture->graph, node));
  *graph = stream->capture->handle;
  *tail = stream->shown_tail.data();
  *count = stream->shown_tail.size();
  return cudaSuccess;
}

cudaError_t continue_after(Machine& m, cudaStream_t handle, const cudaGraphNode_t* nodes, std::size_t count,
                           unsigned flags) {
  StreamState* const stream = m.stream(handle);
  if (stream == nullptr) return m.bad_handle("stream", handle);
  if (stream->capture == nullptr) return cudaErrorIllegalState;
  if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  std::vector<std::size_t> tail;
  if (flags == cudaStreamAddCaptureDependencies) tail = stream->tail;
  if (!find_nodes(*stream->capture->graph, nodes, count, tail)) return cudaErrorInvalidValue;
  stream->tail = std::move(tail);
  return cudaSuccess;
}

cudaError_t add_node(Machine& m, cudaGraphNode_t* result, cudaGraph_t handle, const cudaGraphNode_t* before,
                     std::size_t count, cudaGraphNodeParams& params) {
  const std::shared_ptr<GraphState> graph = find_graph(m, handle);
  if (graph == nullptr) return m.bad_handle("graph", handle);
  cudaConditionalNodeParams& given = params.conditional;
  if (params.type != cudaGraphNodeTypeConditional || given.type != cudaGraphCondTypeIf || given.size != 1 ||
      graph->inside != 0)
    return cudaErrorNotSupported;
  GraphNode node;
  node.condition = given.handle;
  if (!find_nodes(*graph, before, count, node.before)) return cudaErrorInvalidValue;
  const auto condition = m.conditions.find(given.handle);
  if (condition == m.conditions.end() || condition->second.graph != graph->id || condition->second.has_node) {
    report(Fault::Condition, cat("a conditional node of graph #", graph->id, " is given a condition that ",
                                 condition == m.conditions.end()        ? "does not exist"
                                 : condition->second.graph != graph->id ? "was created for another graph"
                                                                        : "has a node already",
                                 "; create one for each node"));
    return cudaErrorInvalidValue;
  }
  condition->second.has_node = true;
  node.body = std::make_shared<GraphState>();
  node.body->id = m.next_id++;
  node.body->inside = graph->id;
  // The array belongs to CUDA and lives as long as the node; here, as long as the machine.
  const auto body = m.bodies.emplace(m.new_handle<cudaGraph_t>(), node.body).first;
  given.phGraph_out = const_cast<cudaGraph_t*>(&body->first);
  graph->nodes.push_back(std::move(node));
  *result = node_handle(*graph, graph->nodes.size() - 1);
  return cudaSuccess;
}

}  // namespace
}  // namespace ingot::sim

using namespace ingot::sim;

extern "C" {

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* result, cudaGraph_t handle,
                                             unsigned initial, unsigned flags) {
  return runtime_call("cudaGraphConditionalHandleCreate", [&](Machine& m) {
    const std::shared_ptr<GraphState> graph = find_graph(m, handle);
    if (graph == nullptr) return m.bad_handle("graph", handle);
    *result = m.next_id++;
    m.conditions[*result] = {
        .graph = graph->id, .initial = initial, .has_initial = (flags & cudaGraphCondAssignDefault) != 0};
    return cudaSuccess;
  });
}

// Into the body of a conditional node, once.
cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t handle, cudaGraph_t graph_handle,
                                          const cudaGraphNode_t*, const cudaGraphEdgeData*, std::size_t count,
                                          cudaStreamCaptureMode mode) {
  return runtime_call("cudaStreamBeginCaptureToGraph", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (stream == &m.legacy()) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorIllegalState);
    const std::shared_ptr<GraphState> graph = find_graph(m, graph_handle);
    if (graph == nullptr) return m.bad_handle("graph", graph_handle);
    if (graph->inside == 0 || count != 0) return cudaErrorNotSupported;
    if (graph->recorded) {
      report(Fault::Condition,
             ingot::cat("the body of a conditional node of graph #", graph->inside,
                        " is recorded a second time: what it has would run beside the new work"));
      return cudaErrorInvalidValue;
    }
    graph->recorded = true;
    const auto capture = std::make_shared<Capture>();
    m.begin_capture(*stream, handle, mode, capture);
    capture->handle = graph_handle;
    capture->graph = graph;
    capture->into_body = true;
    return cudaSuccess;
  });
}

#if CUDART_VERSION >= 13000

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long*, cudaGraph_t* graph, const cudaGraphNode_t** tail,
                                     const cudaGraphEdgeData**, std::size_t* count) {
  return runtime_call("cudaStreamGetCaptureInfo",
                      [&](Machine& m) { return capture_info(m, stream, status, graph, tail, count); });
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t* nodes,
                                                const cudaGraphEdgeData*, std::size_t count, unsigned flags) {
  return runtime_call("cudaStreamUpdateCaptureDependencies",
                      [&](Machine& m) { return continue_after(m, stream, nodes, count, flags); });
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t* result, cudaGraph_t graph, const cudaGraphNode_t* before,
                             const cudaGraphEdgeData*, std::size_t count, cudaGraphNodeParams* params) {
  return runtime_call("cudaGraphAddNode",
                      [&](Machine& m) { return add_node(m, result, graph, before, count, *params); });
}

#else

cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                        unsigned long long*, cudaGraph_t* graph, const cudaGraphNode_t** tail,
                                        std::size_t* count) {
  return runtime_call("cudaStreamGetCaptureInfo_v2",
                      [&](Machine& m) { return capture_info(m, stream, status, graph, tail, count); });
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t* nodes,
                                                std::size_t count, unsigned flags) {
  return runtime_call("cudaStreamUpdateCaptureDependencies",
                      [&](Machine& m) { return continue_after(m, stream, nodes, count, flags); });
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t* result, cudaGraph_t graph, const cudaGraphNode_t* before,
                             std::size_t count, cudaGraphNodeParams* params) {
  return runtime_call("cudaGraphAddNode",
                      [&](Machine& m) { return add_node(m, result, graph, before, count, *params); });
}

#endif

}  // extern "C"
