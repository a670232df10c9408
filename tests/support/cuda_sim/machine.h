// The simulated machine behind the runtime's functions: device memory, queues of work, handles, errors,
// findings.
//
// Work is an Op: what to do, and the ops that must be done before it. A stream is the chain of its ops; an
// event names one. Nothing runs until the policy says so (sim.h). While a stream is being captured, its work
// becomes nodes of a graph instead. One lock covers everything: runtime calls from several threads take
// turns.
//
//   Machine& m = machine();
//   m.submit(stream, [=] { ...; return cudaSuccess; });
//   m.finish(stream.last);       // runs what that op needs, and it
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/cuda_sim/memory.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/cuda_sim/sim.h"

namespace ingot::sim {

// What an op does; empty for the marks of events and waits.
using Work = std::function<cudaError_t()>;

struct Op {
  Work work;
  std::vector<std::shared_ptr<Op>> before;
  bool done = false;
  double finished = 0;  // device time in milliseconds
};
using OpRef = std::shared_ptr<Op>;

struct GraphState;
struct GraphNode {
  Work work;
  std::vector<std::size_t> before;
  // Of a conditional node, which runs `body` instead.
  cudaGraphConditionalHandle condition = 0;
  std::shared_ptr<GraphState> body{};
};
struct GraphState {
  std::size_t id = 0;
  std::vector<GraphNode> nodes;
  OpRef last{};            // the latest launch: launches of one executable take turns
  std::size_t inside = 0;  // a body: the graph its node is in
  bool recorded = false;   // a body: a capture went into it
};

// What a kernel may set while a launch of graph `graph` runs.
struct ConditionState {
  std::size_t graph = 0;
  unsigned initial = 0;
  bool has_initial = false;
  bool has_node = false;
  bool known = false;  // it has a value, in the launch that runs
  unsigned value = 0;
};

// One capture, from begin to end; streams that joined it hold it too.
struct Capture {
  std::size_t id = 0;
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  cudaGraph_t handle = nullptr;
  std::shared_ptr<GraphState> graph;
  bool into_body = false;  // of a conditional node, which exists before and after
  bool invalid = false, ended = false;
};

struct StreamState {
  std::size_t id = 0;
  bool non_blocking = true;
  OpRef last;
  std::vector<OpRef> waits;  // events the next op waits for
  std::uint64_t rank = 0;    // drawn by Policy::Random
  std::vector<OpRef> queue;  // not yet done, in order
  std::shared_ptr<Capture> capture;
  std::vector<std::size_t> tail;            // nodes the next captured one follows
  std::vector<cudaGraphNode_t> shown_tail;  // the same, as it was last asked for
};

struct EventState {
  std::size_t id = 0;
  bool timing = true;
  OpRef op;
  std::shared_ptr<Capture> capture;  // recorded while capturing
  std::vector<std::size_t> nodes;
};

class Machine {
 public:
  explicit Machine(const Options& options);

  Memory& memory() { return memory_; }
  const Options& options() const { return options_; }

  std::recursive_mutex& lock() { return lock_; }

  // Adds work to the stream, or to the graph it is being captured into.
  cudaError_t submit(StreamState& stream, Work work);
  // Runs what the op needs, and it, as the policy likes. Gives the device's error, if it has one by then.
  cudaError_t finish(const OpRef& op);
  cudaError_t finish_all();
  // Runs one op that `op` still needs: what polling a real device sees happen.
  void advance(const OpRef& op);
  cudaError_t run_graph(const GraphState& graph);
  // By a kernel of the graph that runs.
  void set_condition(cudaGraphConditionalHandle handle, unsigned value);

  StreamState* stream(cudaStream_t handle);  // the legacy stream for null; null for a bad handle
  StreamState& legacy() { return *legacy_; }
  cudaError_t bad_handle(const char* what, const void* handle);

  // Ends a capture with an error that stays until its end.
  cudaError_t invalidate(const std::shared_ptr<Capture>& capture, cudaError_t error);
  // Begins one on the stream, into `capture`'s graph.
  void begin_capture(StreamState& stream, cudaStream_t handle, cudaStreamCaptureMode mode,
                     const std::shared_ptr<Capture>& capture);
  // A call that no capture of this mode allows.
  cudaError_t forbidden_in_capture();

  cudaError_t sticky = cudaSuccess, last_error = cudaSuccess;
  Counters counters;
  std::vector<Finding> findings;
  std::set<std::string, std::less<>> kernels_run;
  std::map<std::string, std::size_t, std::less<>> calls;
  struct Injection {
    std::string function;
    std::size_t at;     // the number of the call
    cudaError_t error;  // cudaSuccess: the call does nothing and says so
  };
  std::vector<Injection> injections;

  std::map<cudaStream_t, std::unique_ptr<StreamState>> streams;
  std::vector<std::unique_ptr<StreamState>> destroyed;  // streams whose work may not be done
  std::map<cudaEvent_t, std::unique_ptr<EventState>> events;
  std::map<cudaGraph_t, std::shared_ptr<GraphState>> graphs;
  std::map<cudaGraph_t, std::weak_ptr<GraphState>> bodies;  // of conditional nodes, whose graphs own them
  std::map<cudaGraphConditionalHandle, ConditionState> conditions;
  std::map<cudaGraphExec_t, std::shared_ptr<GraphState>> executables;
  std::vector<std::shared_ptr<Capture>> captures;
  std::map<const void*, int> dynamic_shared_limits;  // by kernel
  std::size_t next_id = 1;

  // A fresh value for an opaque handle; it points nowhere.
  template <class Handle>
  Handle new_handle() {
    next_handle_ += 16;
    return reinterpret_cast<Handle>(next_handle_);
  }

 private:
  void enqueue(StreamState& stream, Work work);
  void run(Op& op);
  cudaError_t run_nodes(const GraphState& graph);
  bool condition_holds(cudaGraphConditionalHandle handle);
  void run_some();
  StreamState* ready_stream();

  Options options_;
  Memory memory_;
  Random random_;
  std::recursive_mutex lock_;
  std::unique_ptr<StreamState> legacy_;
  double clock_ = 0;
  std::size_t running_graph_ = 0;  // 0: none
  std::uintptr_t next_handle_ = 0x1000;
};

Machine& machine();
bool machine_exists();

}  // namespace ingot::sim
