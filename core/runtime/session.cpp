#include "core/runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/base/error.h"
#include "core/runtime/initial_state.h"
#include "core/runtime/lanes.h"
#include "core/runtime/numerics.h"

namespace ingot {

struct Session::Impl {
  ProgramPtr program;
  SessionOptions options;
  std::unique_ptr<Queue> queue;
  std::array<std::shared_ptr<void>, kRegions> memory;
  std::size_t allocated = 0;
  // Only where the device's memory is not the host's: what users write inputs to and read outputs from.
  std::shared_ptr<void> host_inputs, host_outputs;
  std::vector<std::size_t> output_offsets;  // in host_outputs, by position in the graph's outputs

  struct Bound {
    NodeId node;
    std::unique_ptr<BoundStep> step;  // null for views
    Lane lane;
  };
  std::vector<Bound> prepare, schedule;
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::vector<Copy> copies;
  bool prepared = false;
  std::vector<QueuePart> parts;  // the schedule and the copies, as the queue replays them
  ValueId guard;
  std::size_t guard_end = 0;  // how many steps it takes to compute the guarded output
  std::shared_ptr<void> guard_memory;
  std::unique_ptr<Numerics> numerics;

  ~Impl() {
    if (queue != nullptr) queue->finish();
  }

  const Graph& graph() const { return program->graph(); }
  const Backend& backend() const { return program->backend(); }

  void* address(ValueId v) const {
    const Place p = program->place(v);
    return static_cast<std::byte*>(memory[static_cast<std::size_t>(p.region)].get()) + p.offset;
  }

  Bound bind(NodeId n, void* workspace, Lane lane) const {
    const Node& node = graph().node(n);
    const Step& step = program->step(n);
    if (step.is_view) return {n, nullptr, Lane::Compute};
    std::vector<void*> in, out;
    for (const ValueId v : node.inputs) in.push_back(address(v));
    for (const ValueId v : node.outputs) out.push_back(address(v));
    return {n, step.bind({in, out, workspace, queue->stream(lane)}), lane};
  }

  bool on_host() const { return backend().host_memory(); }

  void allocate() {
    queue = backend().make_queue(program->target(), options.stream);
    try {
      for (int r = 0; r < kRegions; ++r) {
        const std::size_t bytes = program->region_bytes(static_cast<Region>(r));
        memory[static_cast<std::size_t>(r)] = allocate_region(bytes);
        allocated += bytes;
      }
    } catch (const OutOfMemoryError& e) {
      throw OutOfMemoryError(cat(e.message(), "; ", what_fits()));
    }
    std::byte* const inputs =
        static_cast<std::byte*>(memory[static_cast<std::size_t>(Region::Staging)].get());
    const std::size_t staging = program->input_bytes();
    queue->fill(inputs, std::byte{0}, program->region_bytes(Region::Staging));
    if (on_host()) return;
    // The caller's allocator may hand out memory in the order of its stream; the copies of inputs have their
    // own.
    queue->wait();
    queue->use_staging(inputs + staging, staging);
    if (staging != 0) {
      host_inputs = backend().allocate_host(staging);
      std::memset(host_inputs.get(), 0, staging);
    }
    std::size_t bytes = 0;
    for (const Output& o : graph().outputs()) {
      output_offsets.push_back(bytes);
      bytes += (graph().type(o.value).bytes() + 63) / 64 * 64;
    }
    host_outputs = backend().allocate_host(bytes);
  }

  std::shared_ptr<void> allocate_region(std::size_t bytes) const {
    constexpr std::uintptr_t kAlign = 64;
    if (!options.allocate || bytes == 0) return backend().allocate(bytes, program->target().device);
    auto p = options.allocate(bytes);
    if (p == nullptr)
      throw OutOfMemoryError(cat("SessionOptions::allocate gave nothing when asked for ", bytes, " bytes"));
    if (reinterpret_cast<std::uintptr_t>(p.get()) % kAlign != 0)
      throw UsageError(
          cat("SessionOptions::allocate must give memory aligned to ", kAlign, " bytes, and gave ", p.get()));
    return p;
  }

  // What to do when the program's memory is not to be had. Activations and inputs grow with the batch, the
  // rest does not.
  std::string what_fits() const {
    const MemoryReport& r = program->report();
    std::string text = cat("the program needs ", r.total_bytes, " bytes in all");
    const std::size_t free = backend().free_bytes(program->target().device) + allocated;
    const std::size_t varying = r.arena_bytes + r.staging_bytes, fixed = r.total_bytes - varying;
    std::int64_t batch = 0;
    for (const ValueId v : graph().inputs())
      if (const Shape& s = graph().type(v).shape; s.rank() > 1) batch = std::max(batch, s[0]);
    if (free > allocated && free < r.total_bytes) text += cat(", ", free, " are free");
    if (batch > 1 && free > fixed && varying > 0) {
      const auto fits = static_cast<std::int64_t>(
          static_cast<double>(batch) * static_cast<double>(free - fixed) / static_cast<double>(varying));
      if (fits >= 1 && fits < batch)
        return text + cat("; of its batch of ", batch, ", about ", fits, " would fit");
    }
    return text + "; use a smaller batch (`ingot plan --fit` finds the largest) or a smaller model";
  }

  void bind_all() {
    const Issuing issuing(*this);
    std::byte* const arena = static_cast<std::byte*>(memory[static_cast<std::size_t>(Region::Arena)].get());
    std::vector<void*> workspace(program->schedule().size(), nullptr);
    for (const Block& b : program->blocks())
      if (!b.value.valid()) workspace[static_cast<std::size_t>(b.first)] = arena + b.offset;
    // What runs once has nothing to run beside.
    for (const NodeId n : program->prepare()) prepare.push_back(bind(n, arena, Lane::Compute));
    for (std::size_t i = 0; i < workspace.size(); ++i) {
      const NodeId n = program->schedule()[i];
      schedule.push_back(bind(n, workspace[i], program->step(n).lane));
    }
    for (const Update& u : program->copies())
      copies.push_back({address(u.state), address(u.value), graph().type(u.state).bytes()});
    make_parts();
  }

  // Steps that can be recorded together are one part, in which each lane goes its way; the guard's look lies
  // within or between parts.
  void make_parts() {
    const std::vector<StepAccess> accesses = step_accesses(*program);
    std::size_t signals = 0;
    const auto steps = [&](std::size_t begin, std::size_t end, bool last) {
      const LaneOrder order(std::span<const StepAccess>(accesses).subspan(begin, end - begin));
      signals = std::max(signals, order.signals());
      return [this, begin, last, order] {
        order.issue(*queue, [&](std::size_t i) { run_step(schedule[begin + i]); });
        if (last) finish();
      };
    };
    std::size_t begin = 0;
    const auto guarded = [&](std::size_t end) {
      return guard.valid() && begin <= guard_end && guard_end <= end;
    };
    const auto add = [&](std::size_t end, bool last) {
      QueuePart part;
      part.guarded = guarded(end);
      part.work = steps(begin, part.guarded ? guard_end : end, last && !part.guarded);
      if (part.guarded && (guard_end < end || last)) part.rest = steps(guard_end, end, last);
      parts.push_back(std::move(part));
    };
    for (std::size_t i = 0; i < schedule.size(); ++i) {
      if (program->step(schedule[i].node).capturable || schedule[i].step == nullptr) continue;
      if (begin < i || guarded(i)) add(i, false);
      const Node& node = graph().node(schedule[i].node);
      parts.push_back(
          {.work = steps(i, i + 1, false),
           .capturable = false,
           .name = cat(node.name, " (", node.op, " by ", program->step(schedule[i].node).kernel, ")")});
      begin = i + 1;
    }
    if (begin < schedule.size() || !copies.empty() || guarded(schedule.size()))
      add(schedule.size(), !copies.empty());
    queue->reserve_signals(signals);
  }

  // In debug mode also waits, so that an error of the device comes out here.
  void run_step(Bound& b) {
    if (b.step == nullptr) return;
    try {
      b.step->run();
      if (options.debug) queue->wait();
    } catch (Error& e) {
      e.add_context(graph().node(b.node).name, graph().node(b.node).loc);
      throw;
    }
  }

  // After all that was issued and before all that follows, whatever the step's lane.
  void run_alone(Bound& b) {
    const auto hand_over = [&](Lane from, Lane to) {
      if (b.lane == Lane::Compute) return;
      queue->signal(0, from);
      queue->wait_for(0, to);
    };
    hand_over(Lane::Compute, b.lane);
    run_step(b);
    hand_over(b.lane, Lane::Compute);
  }

  // Memory that the host may use: the value's own, or an input's host copy.
  Tensor view(ValueId v) const {
    if (on_host()) return Tensor(graph().type(v), address(v), nullptr);
    const Place p = program->place(v);
    if (p.region != Region::Staging)
      throw UsageError(cat("internal: '", graph().value(v).name, "' is not in the host's memory"));
    return Tensor(graph().type(v), static_cast<std::byte*>(host_inputs.get()) + p.offset, nullptr);
  }

  // The value's content, for looking at: its memory, or a copy of it.
  Tensor peek(ValueId v) const {
    if (on_host()) return view(v);
    Tensor copy(graph().type(v));
    queue->copy_out(copy.raw(), address(v), copy.bytes());
    return copy;
  }

  // Replaces the value's content by `source` of the same shape.
  void poke(ValueId v, const Tensor& source) const {
    if (on_host()) {
      const Tensor target = view(v);
      if (target.type().layout.is_blocked())
        queue->fill(target.raw(), std::byte{0}, target.bytes());  // padding
      target.copy_from(source);
      return;
    }
    const Tensor copy = Tensor::zeros(graph().type(v));
    copy.copy_from(source);
    queue->copy_in(address(v), copy.raw(), copy.bytes());
    queue->wait();  // `copy` goes away
  }

  Tensor output(std::size_t k) const {
    const ValueId v = graph().outputs()[k].value;
    if (on_host()) return view(v);
    Tensor host(graph().type(v), static_cast<std::byte*>(host_outputs.get()) + output_offsets[k], nullptr);
    queue->copy_out(host.raw(), address(v), host.bytes());
    return host;
  }

  // Before the first run and whenever states changed: what depends on states that never change in a run.
  void prepare_once() {
    if (prepared) return;
    for (auto& b : prepare) run_step(b);
    prepared = true;
  }

  // The thread is fit for issuing steps while one of these lives.
  class Issuing {
   public:
    explicit Issuing(const Impl& impl) : queue_(*impl.queue) { queue_.begin(); }
    ~Issuing() { queue_.end(); }
    Issuing(const Issuing&) = delete;
    Issuing& operator=(const Issuing&) = delete;

   private:
    Queue& queue_;
  };

  void begin() {
    if (!on_host() && options.feed)
      queue->feed(memory[static_cast<std::size_t>(Region::Staging)].get(), host_inputs.get(),
                  program->input_bytes());
    prepare_once();
  }

  void finish() {
    for (const Copy& c : copies) queue->copy(c.to, c.from, c.bytes);
  }

  // Blocks whose last reader was step `at` are filled with NaN bytes.
  void poison_after(std::size_t at) const {
    std::byte* const arena = static_cast<std::byte*>(memory[static_cast<std::size_t>(Region::Arena)].get());
    for (const Block& b : program->blocks())
      if (b.last == static_cast<std::int32_t>(at)) queue->fill(arena + b.offset, std::byte{0xff}, b.bytes);
  }

  void run_plain() {
    if (!on_host()) return run_queued();
    // A fused ReLU may turn NaN into 0, so a NaN in the data need not reach the guarded output.
    if (guard.valid()) numerics->check_inputs();
    const Issuing issuing(*this);
    begin();
    for (std::size_t i = 0; i < schedule.size(); ++i) {
      run_step(schedule[i]);
      if (guard.valid() && i + 1 == guard_end && !numerics->finite(guard)) explain_bad_guard();
    }
    finish();
  }

  // The whole run is one piece of work for the device, which looks at the guarded output itself.
  void run_queued() {
    look_at_guard();
    const Issuing issuing(*this);
    begin();
    queue->replay(parts);
    // The caller may fill the inputs for the next run while this one goes on.
    if (options.feed) queue->wait_for_copies();
  }

  // Throws what the device's guard found, as far as the host knows; whoever waited knows all.
  void look_at_guard() {
    if (!guard.valid() || on_host() || !queue->guard_tripped()) return;
    queue->reset_guard();
    const Issuing issuing(*this);
    explain_bad_guard();
  }

  // Before the host takes the states or the inputs from what a run left.
  void settle_guard() {
    if (!guard.valid() || on_host()) return;
    queue->wait();
    look_at_guard();
  }

  // The guarded output is not finite: run again up to it, looking at every result.
  [[noreturn]] void explain_bad_guard() {
    check_sources();
    for (std::size_t i = 0; i < guard_end; ++i) {
      run_alone(schedule[i]);
      numerics->check_results(schedule[i].node);
    }
    throw NumericError(cat("the output '", options.guard,
                           "' was not finite, and a replay of the step is: a random op or a "
                           "running statistic decides",
                           options.feed ? "" : ", or the caller changed the inputs since",
                           "; run with check_numerics to stop at the node"));
  }

  void find_guard() {
    if (options.guard.empty()) return;
    guard = graph().find_output(options.guard);
    if (!guard.valid())
      throw UsageError(cat("the guarded output '", options.guard, "' is not an output of the program"));
    guard_end = program->schedule().size();
    for (std::size_t i = 0; i < program->schedule().size(); ++i)
      for (const ValueId v : graph().node(program->schedule()[i]).outputs)
        if (v == guard) guard_end = i + 1;
  }

  // Where the host cannot look in the middle of a run. The inputs too: a fused ReLU may turn their NaN into
  // 0.
  void arm_guard() {
    if (!guard.valid() || on_host()) return;
    std::vector<GuardedTensor> tensors;
    const auto add = [&](ValueId v) {
      const TensorType& t = graph().type(v);
      if (is_floating(t.dtype)) tensors.push_back({address(v), t.numel(), t.dtype});
    };
    for (const ValueId v : graph().inputs()) add(v);
    add(guard);
    guard_memory = allocate_region(Queue::kGuardBytes);
    allocated += Queue::kGuardBytes;
    queue->guard(tensors, guard_memory.get());
  }

  void run_debug(bool check) {
    settle_guard();
    const Issuing issuing(*this);
    begin();
    if (check) check_sources();
    for (std::size_t i = 0; i < schedule.size(); ++i) {
      run_alone(schedule[i]);
      if (check) numerics->check_results(schedule[i].node);
      if (options.poison) poison_after(i);
    }
    finish();
    queue->wait_for_copies();
  }

  void check_sources() const {
    numerics->check_inputs();
    numerics->check_states();
  }

  ValueId find_state(std::string_view name) const {
    if (const State* s = graph().find_state(name)) return s->value;
    throw UsageError(cat("the program has no state '", name, "'"));
  }
};

Session::Session(ProgramPtr program, const SessionOptions& options) : impl_(std::make_unique<Impl>()) {
  if (program == nullptr) throw UsageError("Session: the program is null; compile() makes one");
  if (const Target& t = program->target(); !t.described.empty())
    throw UsageError(cat("Session: the program was compiled for ", t.name,
                         ", which is a description and no device; compile it for Target::cuda() on a machine "
                         "that has one"));
  impl_->program = std::move(program);
  impl_->options = options;
  impl_->numerics =
      std::make_unique<Numerics>(*impl_->program, [impl = impl_.get()](ValueId v) { return impl->peek(v); });
  impl_->find_guard();
  impl_->allocate();
  impl_->arm_guard();
  impl_->bind_all();
  initialise(options.seed);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Session::Impl& Session::use() const {
  if (impl_ == nullptr) throw UsageError("this session was moved from; use the one that it was moved to");
  return *impl_;
}

const Program& Session::program() const {
  return *use().program;
}
std::size_t Session::allocated_bytes() const {
  return use().allocated;
}

Tensor Session::input(std::string_view name) const {
  Impl& impl = use();
  const ValueId v = impl.graph().find_input(name);
  if (v.valid()) return impl.view(v);
  std::vector<std::string> names;
  for (const ValueId i : impl.graph().inputs()) names.push_back(impl.graph().value(i).name);
  throw UsageError(
      cat("the program has no input '", name, "'; it has: ", names.empty() ? "none" : join(names)));
}

bool Session::has_output(std::string_view name) const {
  return use().graph().find_output(name).valid();
}

Tensor Session::output(std::string_view name) const {
  Impl& impl = use();
  const auto& outputs = impl.graph().outputs();
  for (std::size_t k = 0; k < outputs.size(); ++k)
    if (outputs[k].name == name) {
      const Tensor result = impl.output(k);
      impl.look_at_guard();
      return result;
    }
  std::vector<std::string> names;
  for (const Output& o : outputs) names.push_back(o.name);
  throw UsageError(
      cat("the program has no output '", name, "'; it has: ", names.empty() ? "none" : join(names)));
}

void* Session::device_address(std::string_view name) const {
  Impl& impl = use();
  const Graph& g = impl.graph();
  ValueId v = g.find_input(name);
  if (!v.valid()) v = g.find_output(name);
  if (v.valid()) return impl.address(v);
  throw UsageError(cat("the program has no input or output '", name, "'"));
}

void Session::wait() const {
  Impl& impl = use();
  impl.queue->wait();
  impl.look_at_guard();
}

void Session::run() {
  Impl& impl = use();
  if (impl.options.check_numerics || impl.options.poison || impl.options.debug)
    impl.run_debug(impl.options.check_numerics);
  else
    impl.run_plain();
}

void Session::require_finite_states() const {
  use().numerics->check_states();
}

void Session::run_checked() {
  use().run_debug(true);
}

std::vector<StepTiming> Session::run_timed() {
  Impl& impl = use();
  using Clock = std::chrono::steady_clock;
  std::vector<StepTiming> out;
  out.reserve(impl.schedule.size());
  impl.settle_guard();
  const Impl::Issuing issuing(impl);
  impl.begin();
  auto before = Clock::now();
  for (auto& b : impl.schedule) {
    impl.run_alone(b);
    impl.queue->wait();
    const auto now = Clock::now();
    out.push_back({b.node, std::chrono::duration<double, std::milli>(now - before).count()});
    before = now;
  }
  impl.finish();
  return out;
}

Tensor Session::state(std::string_view name) const {
  Impl& impl = use();
  const Tensor now = impl.peek(impl.find_state(name));
  impl.look_at_guard();
  Tensor out = Tensor::zeros({now.dtype(), now.shape()});
  out.copy_from(now);
  return out;
}

void Session::set_state(std::string_view name, const Tensor& value) {
  Impl& impl = use();
  const ValueId v = impl.find_state(name);
  const Shape& shape = impl.graph().type(v).shape;
  if (value.shape() != shape)
    throw ShapeError(
        cat("state '", name, "' expects ", to_string(shape), ", got ", to_string(value.shape())));
  impl.settle_guard();
  impl.poke(v, value);
  impl.prepared = false;
}

std::map<std::string, Tensor> Session::states() const {
  std::map<std::string, Tensor> out;
  for (const State& s : use().graph().states()) out.emplace(s.name, state(s.name));
  return out;
}

void Session::initialise(std::uint64_t seed) {
  Impl& impl = use();
  for (const State& s : impl.graph().states()) {
    const TensorType& t = impl.graph().type(s.value);
    set_state(s.name, initial_state(s, {t.dtype, t.shape}, seed));
  }
}

std::size_t Session::copy_states_from(const Session& other) {
  Impl& impl = use();
  std::size_t copied = 0;
  impl.settle_guard();
  for (const State& s : impl.graph().states()) {
    const State* from = other.use().graph().find_state(s.name);
    if (from == nullptr) continue;
    if (other.use().graph().type(from->value).shape != impl.graph().type(s.value).shape) continue;
    impl.poke(s.value, other.use().peek(from->value));
    ++copied;
  }
  impl.prepared = false;
  return copied;
}

}  // namespace ingot
