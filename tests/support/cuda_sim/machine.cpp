#include "tests/support/cuda_sim/machine.h"

#include <algorithm>

#include "core/base/error.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

namespace {

// Made at the first use, so that what a static initialiser registers after its reset() is run before it ends.
std::unique_ptr<Machine>& the_machine() {
  static std::unique_ptr<Machine> one;
  return one;
}

constexpr std::size_t kSharedPerBlock = 227 * 1024;

bool is_done(const OpRef& op) {
  return op == nullptr || op->done;
}

}  // namespace

Machine& machine() {
  if (the_machine() == nullptr) reset();
  return *the_machine();
}

bool machine_exists() {
  return the_machine() != nullptr;
}

namespace {
Executor& usual_executor() {
  static Executor executor;
  return executor;
}
}  // namespace

void execute_by(Executor executor) {
  usual_executor() = std::move(executor);
}

void reset(const Options& given) {
  static const bool once = (catch_hardware_faults(), true);
  (void)once;
  Options options = given;
  if (!options.execute) options.execute = usual_executor();
  the_machine().reset();
  the_machine() = std::make_unique<Machine>(options);
  engine().begin(options.seed * 31 + 7, options.shuffle_threads, options.check_races, kSharedPerBlock);
}

Machine::Machine(const Options& options)
    : options_(options),
      memory_(options.memory),
      random_(options.seed),
      legacy_(std::make_unique<StreamState>()) {
  legacy_->non_blocking = false;
}

StreamState* Machine::stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy_.get();
  const auto found = streams.find(handle);
  return found == streams.end() ? nullptr : found->second.get();
}

cudaError_t Machine::bad_handle(const char* what, const void* handle) {
  report(Fault::BadHandle,
         cat(what, ' ', handle, " was used, which does not exist (any more); keep its owner alive"));
  return cudaErrorInvalidResourceHandle;
}

// ---- Capture
// --------------------------------------------------------------------------------------------------------

cudaError_t Machine::invalidate(const std::shared_ptr<Capture>& capture, cudaError_t error) {
  capture->invalid = true;
  return error;
}

void Machine::begin_capture(StreamState& stream, cudaStream_t handle, cudaStreamCaptureMode mode,
                            const std::shared_ptr<Capture>& capture) {
  capture->id = next_id++;
  capture->origin = handle;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  captures.push_back(capture);
  stream.capture = capture;
  stream.tail.clear();
}

cudaError_t Machine::forbidden_in_capture() {
  for (const auto& capture : captures)
    if (capture->mode == cudaStreamCaptureModeGlobal ||
        (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread == std::this_thread::get_id()))
      return invalidate(capture, cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}

cudaError_t Machine::submit(StreamState& stream, Work work) {
  if (stream.capture != nullptr) {
    if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
    auto& nodes = stream.capture->graph->nodes;
    nodes.push_back({.work = std::move(work), .before = stream.tail});
    stream.tail = {nodes.size() - 1};
    return cudaSuccess;
  }
  if (&stream == legacy_.get())
    // The default stream waits for streams that are being captured: an order no graph can hold.
    for (const auto& [handle, other] : streams)
      if (other->capture != nullptr && !other->non_blocking)
        return invalidate(other->capture, cudaErrorStreamCaptureImplicit);
  enqueue(stream, std::move(work));
  return cudaSuccess;
}

// ---- Queues
// ---------------------------------------------------------------------------------------------------------

void Machine::enqueue(StreamState& stream, Work work) {
  auto op = std::make_shared<Op>();
  op->work = std::move(work);
  const auto after = [&op](const OpRef& other) {
    if (!is_done(other)) op->before.push_back(other);
  };
  after(stream.last);
  for (const auto& wait : stream.waits) after(wait);
  stream.waits.clear();
  // The legacy default stream and blocking streams hold each other up.
  if (&stream == legacy_.get()) {
    for (const auto& [handle, other] : streams)
      if (!other->non_blocking) after(other->last);
  } else if (!stream.non_blocking) {
    after(legacy_->last);
  }
  stream.last = op;
  stream.queue.push_back(op);
  if (options_.policy == Policy::Eager) (void)finish(op);
  if (options_.policy == Policy::Random) run_some();
}

void Machine::run(Op& op) {
  if (sticky == cudaSuccess && op.work) {
    memory_.open();
    const cudaError_t status = op.work();
    memory_.close();
    if (status != cudaSuccess && sticky == cudaSuccess) sticky = status;
  }
  op.work = nullptr;
  op.before.clear();
  op.done = true;
  op.finished = clock_ += 0.001;
}

// A stream whose oldest op may run: the one of the best rank, ranks being drawn anew now and then.
StreamState* Machine::ready_stream() {
  StreamState* best = nullptr;
  const auto consider = [&](StreamState& s) {
    while (!s.queue.empty() && s.queue.front()->done) s.queue.erase(s.queue.begin());
    if (s.queue.empty()) return;
    const auto& before = s.queue.front()->before;
    if (!std::all_of(before.begin(), before.end(), is_done)) return;
    if (s.rank == 0 || random_.below(8) == 0) s.rank = random_.next() | 1u;
    if (best == nullptr || s.rank > best->rank) best = &s;
  };
  consider(*legacy_);
  for (const auto& [handle, s] : streams) consider(*s);
  for (const auto& s : destroyed) consider(*s);
  return best;
}

// At times the device does something while the host goes on.
void Machine::run_some() {
  if (random_.below(4) != 0) return;
  if (StreamState* const s = ready_stream()) run(*s->queue.front());
}

void Machine::advance(const OpRef& op) {
  OpRef next = op;
  while (!next->done) {
    const auto waiting =
        std::find_if(next->before.begin(), next->before.end(), [](const OpRef& o) { return !o->done; });
    if (waiting == next->before.end()) {
      run(*next);
      return;
    }
    next = OpRef(*waiting);
  }
}

cudaError_t Machine::finish(const OpRef& op) {
  if (is_done(op)) return sticky;
  memory_.open();  // once for all of it
  while (!op->done) {
    StreamState* const s = options_.policy == Policy::Random ? ready_stream() : nullptr;
    if (s != nullptr) {
      run(*s->queue.front());
      continue;
    }
    // Only what the op needs, depth first.
    std::vector<OpRef> path = {op};
    while (!path.empty()) {
      const OpRef top = path.back();
      const auto waiting =
          std::find_if(top->before.begin(), top->before.end(), [](const OpRef& o) { return !o->done; });
      if (waiting != top->before.end()) {
        path.push_back(*waiting);
        continue;
      }
      if (!top->done) run(*top);
      path.pop_back();
    }
  }
  memory_.check_redzones();
  memory_.close();
  for (const auto& [handle, s] : streams) std::erase_if(s->queue, [](const OpRef& o) { return o->done; });
  std::erase_if(legacy_->queue, [](const OpRef& o) { return o->done; });
  return sticky;
}

cudaError_t Machine::finish_all() {
  std::vector<StreamState*> order = {legacy_.get()};
  for (const auto& [handle, s] : streams) order.push_back(s.get());
  for (const auto& s : destroyed) order.push_back(s.get());
  random_.shuffle(order);
  for (StreamState* const s : order) (void)finish(s->last);
  destroyed.clear();
  return sticky;
}

cudaError_t Machine::run_graph(const GraphState& graph) {
  for (auto& [handle, c] : conditions) {
    if (c.graph != graph.id) continue;
    c.known = c.has_initial;
    c.value = c.initial;
  }
  running_graph_ = graph.id;
  const cudaError_t status = run_nodes(graph);
  running_graph_ = 0;
  return status;
}

cudaError_t Machine::run_nodes(const GraphState& graph) {
  std::vector<bool> done(graph.nodes.size());
  for (std::size_t left = graph.nodes.size(); left > 0; --left) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const auto& before = graph.nodes[i].before;
      if (!done[i] && std::all_of(before.begin(), before.end(), [&](std::size_t b) { return done[b]; }))
        ready.push_back(i);
    }
    const std::size_t at =
        options_.policy == Policy::Eager ? ready.front() : ready[random_.below(ready.size())];
    done[at] = true;
    const GraphNode& node = graph.nodes[at];
    cudaError_t status = cudaSuccess;
    if (node.body != nullptr)
      status = condition_holds(node.condition) ? run_nodes(*node.body) : cudaSuccess;
    else if (node.work)
      status = node.work();
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

bool Machine::condition_holds(cudaGraphConditionalHandle handle) {
  const ConditionState& c = conditions.at(handle);
  if (!c.known)
    report(Fault::Condition, cat("a conditional node of graph #", c.graph,
                                 " runs before a kernel set its condition, which has no default value; let "
                                 "the node follow that kernel"));
  return c.known && c.value != 0;
}

void Machine::set_condition(cudaGraphConditionalHandle handle, unsigned value) {
  const auto found = conditions.find(handle);
  if (found == conditions.end() || found->second.graph != running_graph_) {
    report(Fault::Condition,
           cat("a kernel of ", running_graph_ == 0 ? "no graph" : cat("graph #", running_graph_),
               " sets a condition of ",
               found == conditions.end() ? "no graph" : cat("graph #", found->second.graph),
               "; a condition belongs to the graph it was created for"));
    return;
  }
  found->second.known = true;
  found->second.value = value;
}

// ---- What tests ask
// -------------------------------------------------------------------------------------------------

void report(Fault fault, std::string text) {
  machine().findings.push_back({fault, std::move(text)});
}

std::string_view name(Fault fault) {
  switch (fault) {
    case Fault::OutOfBounds:
      return "out of bounds";
    case Fault::UseAfterFree:
      return "use after free";
    case Fault::Misaligned:
      return "misaligned";
    case Fault::HostMemory:
      return "host memory";
    case Fault::Uninitialised:
      return "uninitialised";
    case Fault::Race:
      return "race";
    case Fault::Divergence:
      return "divergence";
    case Fault::StackOverflow:
      return "stack overflow";
    case Fault::Foreign:
      return "complaint of another executor";
    case Fault::BadHandle:
      return "bad handle";
    case Fault::Condition:
      return "condition";
  }
  return "?";
}

std::vector<Finding> take_findings() {
  const std::lock_guard guard(machine().lock());
  return std::exchange(machine().findings, {});
}

Counters counters() {
  const std::lock_guard guard(machine().lock());
  Counters c = machine().counters;
  c.bytes = machine().memory().used();
  return c;
}

void fail_call(std::string_view function, int nth, cudaError_t error) {
  const std::lock_guard guard(machine().lock());
  machine().injections.push_back(
      {std::string(function), calls(function) + static_cast<std::size_t>(nth), error});
}

void skip_call(std::string_view function, int nth) {
  fail_call(function, nth, cudaSuccess);
}

std::size_t calls(std::string_view function) {
  const auto found = machine().calls.find(function);
  return found == machine().calls.end() ? 0 : found->second;
}

std::vector<std::string> kernels_run() {
  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  return {m.kernels_run.begin(), m.kernels_run.end()};
}

std::vector<std::string> live_resources() {
  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  std::vector<std::string> list;
  for (const Allocation* a : m.memory().live())
    if (!a->freeing) list.push_back("device " + describe(*a));
  for (const auto& [address, bytes] : m.memory().all_pinned())
    list.push_back(cat("pinned buffer of ", bytes, " bytes"));
  for (const auto& [handle, s] : m.streams) list.push_back(cat("stream #", s->id));
  for (const auto& [handle, e] : m.events) list.push_back(cat("event #", e->id));
  for (const auto& [handle, g] : m.graphs)
    list.push_back(cat("graph #", g->id, " of ", g->nodes.size(), " nodes"));
  for (const auto& [handle, g] : m.executables) list.push_back(cat("executable of graph #", g->id));
  return list;
}

}  // namespace ingot::sim
