#include "cuda/base/graph.h"

#include "cuda/base/check.h"

namespace ingot::cuda {

Graph::~Graph() {
  if (handle_ != nullptr) INGOT_CUDA_LOG(cudaGraphDestroy(handle_));
}

std::size_t Graph::node_count() const {
  std::size_t count = 0;
  INGOT_CUDA_CHECK(cudaGraphGetNodes(handle_, nullptr, &count));
  return count;
}

namespace {

// What a stream that is being captured records into, and the nodes that its next work follows.
struct Recording {
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* tail = nullptr;
  std::size_t count = 0;
};

// CUDA 13 dropped the forms of these calls that know no data on edges; ours have none.
#if CUDART_VERSION >= 13000
Recording recording(const Stream& stream) {
  Recording r;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  INGOT_CUDA_CHECK(
      cudaStreamGetCaptureInfo(stream.get(), &status, nullptr, &r.graph, &r.tail, nullptr, &r.count));
  return r;
}
cudaGraphNode_t add_node(const Recording& r, cudaGraphNodeParams& params) {
  cudaGraphNode_t node = nullptr;
  INGOT_CUDA_CHECK(cudaGraphAddNode(&node, r.graph, r.tail, nullptr, r.count, &params));
  return node;
}
void continue_after(cudaGraphNode_t node, const Stream& stream) {
  INGOT_CUDA_CHECK(
      cudaStreamUpdateCaptureDependencies(stream.get(), &node, nullptr, 1, cudaStreamSetCaptureDependencies));
}
#else
Recording recording(const Stream& stream) {
  Recording r;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  INGOT_CUDA_CHECK(cudaStreamGetCaptureInfo_v2(stream.get(), &status, nullptr, &r.graph, &r.tail, &r.count));
  return r;
}
cudaGraphNode_t add_node(const Recording& r, cudaGraphNodeParams& params) {
  cudaGraphNode_t node = nullptr;
  INGOT_CUDA_CHECK(cudaGraphAddNode(&node, r.graph, r.tail, r.count, &params));
  return node;
}
void continue_after(cudaGraphNode_t node, const Stream& stream) {
  INGOT_CUDA_CHECK(
      cudaStreamUpdateCaptureDependencies(stream.get(), &node, 1, cudaStreamSetCaptureDependencies));
}
#endif

// Appends a node that runs a graph of its own where the condition is not 0; gives that graph, which belongs
// to the node.
cudaGraph_t add_if(const Stream& stream, Condition condition) {
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = condition;
  params.conditional.type = cudaGraphCondTypeIf;
  params.conditional.size = 1;
  continue_after(add_node(recording(stream), params), stream);
  return params.conditional.phGraph_out[0];
}

// The rest of a capture that has begun: the graph it recorded into, which is the caller's if it began with
// none (`owned`).
cudaGraph_t record(const Stream& stream, const std::function<void()>& issue, bool owned) {
  cudaGraph_t handle = nullptr;
  try {
    issue();
  } catch (...) {
    // The stream must leave capture mode; the first error is the one to report.
    if (cudaStreamEndCapture(stream.get(), &handle) == cudaSuccess && owned)
      INGOT_CUDA_LOG(cudaGraphDestroy(handle));
    (void)cudaGetLastError();
    throw;
  }
  INGOT_CUDA_CHECK(cudaStreamEndCapture(stream.get(), &handle));
  return handle;
}

}  // namespace

Graph capture(const Stream& stream, const std::function<void()>& issue) {
  // Thread-local: other sessions of the process may allocate meanwhile.
  INGOT_CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
  return Graph(record(stream, issue, true));
}

Graph capture_if(const Stream& stream, const std::function<void(Condition)>& issue,
                 const std::function<void()>& then) {
  cudaGraph_t body = nullptr;
  Graph graph = capture(stream, [&] {
    Condition condition{};
    INGOT_CUDA_CHECK(
        cudaGraphConditionalHandleCreate(&condition, recording(stream).graph, 0, cudaGraphCondAssignDefault));
    issue(condition);
    body = add_if(stream, condition);
  });
  INGOT_CUDA_CHECK(cudaStreamBeginCaptureToGraph(stream.get(), body, nullptr, nullptr, 0,
                                                 cudaStreamCaptureModeThreadLocal));
  record(stream, then, false);
  return graph;
}

GraphExec::GraphExec(const Graph& graph) {
  INGOT_CUDA_CHECK(cudaGraphInstantiate(&handle_, graph.get(), 0));
}

GraphExec::~GraphExec() {
  if (handle_ != nullptr) INGOT_CUDA_LOG(cudaGraphExecDestroy(handle_));
}

void GraphExec::launch(const Stream& stream) const {
  INGOT_CUDA_CHECK(cudaGraphLaunch(handle_, stream.get()));
}

}  // namespace ingot::cuda
