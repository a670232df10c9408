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

Graph capture(const Stream& stream, const std::function<void()>& issue) {
  // Thread-local: other sessions of the process may allocate meanwhile.
  INGOT_CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
  cudaGraph_t handle = nullptr;
  try {
    issue();
  } catch (...) {
    // The stream must leave capture mode; the first error is the one to report.
    if (cudaStreamEndCapture(stream.get(), &handle) == cudaSuccess) INGOT_CUDA_LOG(cudaGraphDestroy(handle));
    (void)cudaGetLastError();
    throw;
  }
  INGOT_CUDA_CHECK(cudaStreamEndCapture(stream.get(), &handle));
  return Graph(handle);
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
