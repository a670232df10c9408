#include "tests/support/cuda_sim/engine.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/machine.h"
#include "tests/support/cuda_sim/report.h"
#include "tests/support/cuda_sim/warp_math.h"

constinit uint3 threadIdx{};
constinit uint3 blockIdx{};
constinit dim3 blockDim{};
constinit dim3 gridDim{};

namespace ingot::sim {

Engine& engine() {
  static Engine the_engine;
  return the_engine;
}

Engine::Engine() = default;

void Engine::begin(std::uint64_t seed, bool shuffle, bool races, std::size_t shared_limit) {
  random_ = Random(seed);
  shuffle_ = shuffle;
  races_ = races;
  shared_limit_ = shared_limit;
}

namespace {

std::string triple(unsigned x, unsigned y, unsigned z) {
  return cat('(', x, ", ", y, ", ", z, ')');
}

std::string triple_of(unsigned linear, dim3 of) {
  return triple(linear % of.x, linear / of.x % of.y, linear / of.x / of.y);
}

}  // namespace

std::string Engine::thread_name(int thread) const {
  return cat("thread ", triple_of(static_cast<unsigned>(thread), launch_->block));
}

std::string Engine::block_name(std::uint32_t number) const {
  return cat("block ", triple_of(number, launch_->grid));
}

std::string Engine::place(int thread, const void* code) const {
  const std::string line = code != nullptr ? source_line(code) : "";
  return cat("kernel '", launch_->name, "', ", block_name(block_number_), ", ", thread_name(thread),
             line.empty() ? "" : " at ", line);
}

namespace {

cudaError_t run_by(const Executor& execute, const Launch& launch) {
  Dl_info info{};
  const bool named = dladdr(launch.function, &info) != 0 && info.dli_sname != nullptr;
  ForeignLaunch foreign{named ? info.dli_sname : launch.name.c_str(),
                        launch.name,
                        launch.grid,
                        launch.block,
                        launch.dynamic_shared,
                        launch.arguments.data(),
                        launch.arguments.size(),
                        {}};
  for (const Allocation* a : machine().memory().live())
    if (a->state == Allocation::State::Live)
      foreign.memory.emplace_back(reinterpret_cast<void*>(a->base), a->bytes);
  const std::string complaint = execute(foreign);
  if (complaint.empty()) return cudaSuccess;
  report(Fault::Foreign, cat("kernel '", launch.name, "', executed elsewhere: ", complaint));
  return cudaErrorIllegalAddress;
}

}  // namespace

cudaError_t Engine::run(const Launch& launch) {
  // Kernels that were loaded while the program ran stay the fibers'.
  if (const Executor& execute = machine().options().execute; execute && launch.library == nullptr)
    return run_by(execute, launch);
  prepare_thread_for_faults();
  launch_ = &launch;
  status_ = cudaSuccess;
  judging_ = races_ && launch.kernel.reports_accesses;
  gridDim = launch.grid;
  blockDim = launch.block;
  threads_ = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  argument_pointers_.clear();
  for (const std::size_t offset : launch.offsets)
    argument_pointers_.push_back(const_cast<std::byte*>(launch.arguments.data() + offset));
  argument_pointers_.push_back(nullptr);
  states_.resize(std::max(states_.size(), static_cast<std::size_t>(threads_)));
  warps_.resize(std::max(warps_.size(), static_cast<std::size_t>(threads_ + 31) / 32));
  races_begin_launch();

  const std::uint32_t blocks = launch.grid.x * launch.grid.y * launch.grid.z;
  std::vector<std::uint32_t> order(blocks);
  for (std::uint32_t i = 0; i < blocks; ++i) order[i] = i;
  if (shuffle_) random_.shuffle(order);
  for (const std::uint32_t number : order) {
    run_block(number);
    if (status_ != cudaSuccess) break;
  }
  launch_ = nullptr;
  judging_ = false;
  current_ = -1;
  return status_;
}

void Engine::run_block(std::uint32_t number) {
  block_number_ = number;
  blockIdx = {number % gridDim.x, number / gridDim.x % gridDim.y, number / gridDim.x / gridDim.y};
  shared_.begin_block(launch_->dynamic_shared);
  races_begin_block();
  done_ = at_barrier_ = started_ = 0;
  ready_.clear();
  order_.resize(static_cast<std::size_t>(threads_));
  for (int t = 0; t < threads_; ++t) {
    ThreadState& s = state(t);
    s.where = ThreadState::Where::NotStarted;
    s.stack = nullptr;
    s.clock = 0;
    s.group = 0;
    s.copies.clear();
    order_[static_cast<std::size_t>(t)] = t;
  }
  if (shuffle_) random_.shuffle(order_);
  for (int w = 0; w * 32 < threads_; ++w) {
    WarpState& warp = warps_[static_cast<std::size_t>(w)];
    const int lanes = std::min(32, threads_ - w * 32);
    warp.alive = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    warp.ops.clear();
    if (warp.synchronised) std::memset(warp.known, 0, sizeof warp.known);
    warp.synchronised = false;
  }
  run_threads();
  if (status_ != cudaSuccess) {
    stacks_.give_all();
    return;
  }
  if (const auto* array = shared_.damaged())
    report(Fault::OutOfBounds, cat("kernel '", launch_->name, "', ", block_name(number),
                                   ": something wrote behind the end of shared array '", array->name, "' of ",
                                   array->bytes, " bytes; check the index against the array's size"));
}

// Runs on fibers: thread after thread for as long as none waits.
void thread_entry() {
  arrived();
  Engine& e = engine();
  for (;;) {
    Stack* const stack = e.state(e.current_).stack;
    e.launch_->kernel.invoke(e.launch_->function, e.argument_pointers_.data());
    e.thread_ends();
    // Continue on this stack while threads are left that nobody started; the scheduler mixes in those that
    // wait.
    const bool go_on = !e.shuffle_ || e.ready_.empty() || e.random_.below(2) == 0;
    const int next = go_on ? e.next_unstarted() : -1;
    if (next < 0) {
      e.stacks_.give(stack);
      void* unused = nullptr;
      switch_to(&unused, e.scheduler_, nullptr, true);
    }
    e.state(next).stack = stack;
    e.state(next).where = ThreadState::Where::Ready;
    e.enter(next);
  }
}

int Engine::next_unstarted() {
  return started_ < threads_ ? order_[static_cast<std::size_t>(started_++)] : -1;
}

void Engine::enter(int thread) {
  current_ = thread;
  const auto t = static_cast<unsigned>(thread);
  threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
}

void Engine::run_threads() {
  while (done_ < threads_ && status_ == cudaSuccess) {
    const bool fresh = started_ < threads_ && (ready_.empty() || !shuffle_ || random_.below(2) == 0);
    int thread = -1;
    if (fresh) {
      thread = next_unstarted();
      state(thread).stack = stacks_.take();
      state(thread).context = prepare(*state(thread).stack, thread_entry);
    } else if (!ready_.empty()) {
      const std::size_t at = shuffle_ ? random_.below(ready_.size()) : ready_.size() - 1;
      std::swap(ready_[at], ready_.back());
      thread = ready_.back();
      ready_.pop_back();
    } else {
      report_stuck();
      break;
    }
    state(thread).where = ThreadState::Where::Ready;
    enter(thread);
    switch_to(&scheduler_, state(thread).context, state(thread).stack);
  }
}

void Engine::wait(ThreadState::Where where, const char* file, int line) {
  const int self = current_;
  ThreadState& s = state(self);
  s.where = where;
  s.file = file;
  s.line = line;
  switch_to(&s.context, scheduler_, nullptr);
}

void Engine::wake(int thread) {
  state(thread).where = ThreadState::Where::Ready;
  ready_.push_back(thread);
}

void Engine::abandon(cudaError_t error) {
  status_ = error;
  if (current_ >= 0) {
    void* unused = nullptr;
    switch_to(&unused, scheduler_, nullptr, true);
  }
  __builtin_unreachable();
}

void Engine::thread_ends() {
  state(current_).where = ThreadState::Where::Done;
  ++done_;
  const int warp = current_ / 32;
  warps_[static_cast<std::size_t>(warp)].alive &= ~(1u << (current_ % 32));
  finish_ops_without(warp);
}

void Engine::barrier(const char* file, int line) {
  if (at_barrier_ == 0) {
    barrier_file_ = file;
    barrier_line_ = line;
    barrier_first_ = current_;
  } else if (barrier_line_ != line || std::strcmp(barrier_file_, file) != 0) {
    report(Fault::Divergence,
           cat(place(current_), " is at the __syncthreads() of ", file_name(file), ':', line, " while ",
               thread_name(barrier_first_), " waits at that of ", file_name(barrier_file_), ':',
               barrier_line_, "; all threads of a block must reach the same barrier"));
    abandon(cudaErrorLaunchFailure);
  }
  if (++at_barrier_ < threads_) {
    wait(ThreadState::Where::AtBarrier, file, line);
    return;
  }
  at_barrier_ = 0;
  races_barrier();
  for (int t = 0; t < threads_; ++t) {
    if (t != current_) wake(t);
    state(t).clock = 0;
  }
  for (int w = 0; w * 32 < threads_; ++w) {
    WarpState& warp = warps_[static_cast<std::size_t>(w)];
    if (warp.synchronised) std::memset(warp.known, 0, sizeof warp.known);
    warp.synchronised = false;
  }
  // The last to come does not always go first.
  if (shuffle_ && threads_ > 1) {
    wake(current_);
    switch_to(&state(current_).context, scheduler_, nullptr);
  }
}

void Engine::join(WarpKind kind, int variant, unsigned mask, const LaneData& data, const char* file,
                  int line) {
  WarpState& warp = warp_of(current_);
  const int lane = current_ % 32;
  if ((mask >> lane & 1u) == 0) {
    report(Fault::Divergence, cat(place(current_), ", ", file_name(file), ':', line, ": the mask ", std::hex,
                                  "0x", mask, std::dec, " of a warp operation does not name lane ", lane,
                                  ", which calls it; put every calling lane into the mask"));
    abandon(cudaErrorLaunchFailure);
  }
  auto op = std::find_if(warp.ops.begin(), warp.ops.end(), [&](const WarpOp& o) { return o.mask == mask; });
  if (op == warp.ops.end()) {
    warp.ops.emplace_back();
    op = std::prev(warp.ops.end());
    op->kind = kind;
    op->variant = variant;
    op->mask = mask;
    op->file = file;
    op->line = line;
  } else if (op->kind != kind || op->variant != variant || op->line != line ||
             std::strcmp(op->file, file) != 0) {
    report(Fault::Divergence, cat(place(current_), " is at the warp operation of ", file_name(file), ':',
                                  line, " while other lanes of its warp wait at ", file_name(op->file), ':',
                                  op->line, "; all lanes of a mask must reach the same operation"));
    abandon(cudaErrorLaunchFailure);
  }
  op->lanes[lane] = &data;  // on the stack of a lane that waits, or completes the operation itself
  op->arrived |= 1u << lane;
  if (op->arrived == (mask & warp.alive)) {
    WarpOp complete_op = *op;
    warp.ops.erase(op);
    complete(complete_op, current_ / 32);
    return;
  }
  wait(ThreadState::Where::InWarp, file, line);
}

// All lanes are there: does the operation and wakes those that wait.
void Engine::complete(WarpOp& op, int warp) {
  run_warp_op(op, warp);
  for (int lane = 0; lane < 32; ++lane) {
    const int thread = warp * 32 + lane;
    if ((op.arrived >> lane & 1u) != 0 && state(thread).where == ThreadState::Where::InWarp) wake(thread);
  }
}

void Engine::finish_ops_without(int warp) {
  WarpState& w = warps_[static_cast<std::size_t>(warp)];
  for (std::size_t i = 0; i < w.ops.size();) {
    if (w.ops[i].arrived != (w.ops[i].mask & w.alive)) {
      ++i;
      continue;
    }
    WarpOp op = w.ops[i];
    w.ops.erase(w.ops.begin() + static_cast<std::ptrdiff_t>(i));
    complete(op, warp);
  }
}

void Engine::report_stuck() {
  int waiting = -1, elsewhere = -1;
  for (int t = 0; t < threads_; ++t) {
    const auto where = state(t).where;
    if (where == ThreadState::Where::AtBarrier) waiting = t;
    if (where == ThreadState::Where::Done || where == ThreadState::Where::InWarp) elsewhere = t;
  }
  std::string text;
  if (waiting >= 0) {
    const ThreadState& s = state(elsewhere);
    text = cat(place(waiting), " waits at the __syncthreads() of ", file_name(state(waiting).file), ':',
               state(waiting).line, " for ", thread_name(elsewhere), ", which ",
               s.where == ThreadState::Where::Done
                   ? std::string("has returned")
                   : cat("waits at the warp operation of ", file_name(s.file), ':', s.line),
               "; every thread of a block must reach the barrier");
  } else {
    const ThreadState& s = state(elsewhere);
    text =
        cat(place(elsewhere), " waits at the warp operation of ", file_name(s.file), ':', s.line,
            " for lanes of its mask that wait elsewhere; all lanes of a mask must reach the same operation");
  }
  report(Fault::Divergence, text);
  status_ = cudaErrorLaunchFailure;
}

void Engine::copy_async(const AsyncCopy& copy) {
  state(current_).copies.push_back(copy);
  state(current_).copies.back().group = state(current_).group;
}

void Engine::copy_async_wait(int pending) {
  ThreadState& s = state(current_);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < s.copies.size(); ++i) {
    const AsyncCopy copy = s.copies[i];
    if (copy.group >= s.group - pending) {
      s.copies[kept++] = copy;
      continue;
    }
    land(copy);
  }
  s.copies.resize(kept);
}

}  // namespace ingot::sim
