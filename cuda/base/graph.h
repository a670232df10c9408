// CUDA graphs: record what is issued to a stream once, then launch all of it with one call.
//
// While `capture` runs its function nothing is executed. The function issues work to the stream, and to other
// streams that joined by an event recorded on it; those must be joined back before it returns. It must not
// allocate, wait for the device, or touch the default stream. If it throws, the capture is ended and its
// error passed on. Arguments of kernels and addresses of copies are fixed at capture; what changes from step
// to step is read from device memory.
//
//   Graph graph = capture(stream, [&] { launch(kernel, grid, block, 0, stream, x, n); });
//   GraphExec step(graph);
//   for (int i = 0; i < steps; ++i) step.launch(stream);
//
// A graph may end with work that the device itself decides about, by a kernel that calls
// cudaGraphSetConditional(condition, 1 or 0). In a launch whose kernel does not, it is left out.
//
//   Graph graph = capture_if(stream, [&](Condition go) { launch(look, 1, 1, 0, stream, go, x); },
//                            [&] { launch(update, grid, block, 0, stream, x, n); });
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <utility>

#include "cuda/base/stream.h"

namespace ingot::cuda {

class Graph {
 public:
  ~Graph();
  Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  cudaGraph_t get() const { return handle_; }
  std::size_t node_count() const;

 private:
  friend Graph capture(const Stream& stream, const std::function<void()>& issue);
  explicit Graph(cudaGraph_t handle) : handle_(handle) {}

  cudaGraph_t handle_ = nullptr;
};

Graph capture(const Stream& stream, const std::function<void()>& issue);

using Condition = cudaGraphConditionalHandle;
// `issue` first, then `then` where the condition is not 0. Of `then` only kernels, and copies and fills of
// device memory, can be recorded; whatever `issue` issues last is what `then` waits for.
Graph capture_if(const Stream& stream, const std::function<void(Condition)>& issue,
                 const std::function<void()>& then);

// A graph made ready to run. It does not need the Graph any more.
class GraphExec {
 public:
  explicit GraphExec(const Graph& graph);
  ~GraphExec();
  GraphExec(GraphExec&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  GraphExec& operator=(GraphExec&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  void launch(const Stream& stream) const;

 private:
  cudaGraphExec_t handle_ = nullptr;
};

}  // namespace ingot::cuda
