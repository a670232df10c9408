// Runs kernels: blocks one after another, the threads of a block as fibers on the calling OS thread.
//
// A thread runs until it waits (barrier, warp operation) or ends. One stack runs thread after thread; only a
// thread that waits keeps its stack. With shuffling, threads start and continue in an order drawn from the
// seed, and so do blocks. A warp operation is keyed by its mask and completes when all lanes of the mask that
// have not returned are there. What goes wrong ends the launch: its fibers are dropped, never unwound
// (kernels own nothing).
//
//   Engine& e = engine();
//   cudaError_t status = e.run(launch);   // device memory is open meanwhile
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/cuda_sim/fiber.h"
#include "tests/support/cuda_sim/prelude.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/cuda_sim/shared_arena.h"

namespace ingot::sim {

struct KernelLibrary;

struct Launch {
  const void* function = nullptr;
  Kernel kernel{};
  std::shared_ptr<const KernelLibrary> library;  // of a kernel that was loaded while the program ran
  std::string name;
  dim3 grid, block;
  std::size_t dynamic_shared = 0;
  std::vector<std::byte> arguments;  // copies, one behind the other
  std::vector<std::size_t> offsets;
};

enum class WarpKind { Barrier, Shuffle, Ballot, Mma, LdMatrix };

// What one lane brings to a warp operation; the pointers lie on its stack.
struct LaneData {
  void* value = nullptr;
  const void* first = nullptr;
  const void* second = nullptr;
  std::size_t bytes = 0;
  int parameter = 0, width = 32;
};

struct WarpOp {
  WarpKind kind{};
  int variant = 0;
  unsigned mask = 0, arrived = 0;
  const char* file = nullptr;
  int line = 0;
  const LaneData* lanes[32];  // of those that arrived
};

struct AsyncCopy {
  void* shared;
  const void* global;
  int bytes, valid;
  int group;  // counted per thread
  const void* code;
};

struct ThreadState {
  enum class Where { NotStarted, Ready, AtBarrier, InWarp, Done };
  Where where = Where::NotStarted;
  void* context = nullptr;
  Stack* stack = nullptr;
  const char* file = nullptr;
  int line = 0;
  std::uint32_t clock = 0;  // grows at each __syncwarp
  int group = 0;            // the open group of asynchronous copies
  std::vector<AsyncCopy> copies;
};

struct WarpState {
  unsigned alive = 0;
  bool synchronised = false;         // a __syncwarp happened in this phase: `known` is not all zero
  std::vector<WarpOp> ops;           // those that wait for lanes
  std::uint32_t known[32][32] = {};  // the clock of each lane that a lane has synchronised with
};

class Engine {
 public:
  Engine();

  void begin(std::uint64_t seed, bool shuffle, bool races, std::size_t shared_limit);
  cudaError_t run(const Launch& launch);

  bool running() const { return launch_ != nullptr; }
  bool judging() const { return judging_; }
  int thread() const { return current_; }
  int threads() const { return threads_; }
  ThreadState& state(int thread) { return states_[static_cast<std::size_t>(thread)]; }
  WarpState& warp_of(int thread) { return warps_[static_cast<std::size_t>(thread / 32)]; }
  SharedArena& shared() { return shared_; }
  const Launch& launch() const { return *launch_; }
  const StackPool& stacks() const { return stacks_; }
  std::uint32_t block_number() const { return block_number_; }
  std::size_t shared_limit() const { return shared_limit_; }

  // "kernel 'f', block (0, 0, 0), thread (3, 0, 0)", and the source line of `code` where known.
  std::string place(int thread, const void* code = nullptr) const;
  std::string thread_name(int thread) const;
  std::string block_name(std::uint32_t number) const;

  // Ends the launch with this error; the reason has been reported. Never returns.
  [[noreturn]] void abandon(cudaError_t error);

  void barrier(const char* file, int line);
  // Brings the running lane to an operation of its warp; returns when the operation is complete.
  void join(WarpKind kind, int variant, unsigned mask, const LaneData& data, const char* file, int line);
  void copy_async(const AsyncCopy& copy);
  void copy_async_wait(int pending);

 private:
  friend void thread_entry();
  void run_block(std::uint32_t number);
  void run_threads();
  // Makes `thread` the running one.
  void enter(int thread);
  int next_unstarted();
  void wait(ThreadState::Where where, const char* file, int line);
  void wake(int thread);
  void thread_ends();
  void report_stuck();
  void complete(WarpOp& op, int warp);
  void finish_ops_without(int warp);

  StackPool stacks_;
  SharedArena shared_;
  Random random_{1};
  bool shuffle_ = true, races_ = true, judging_ = false;
  std::size_t shared_limit_ = 0;

  const Launch* launch_ = nullptr;
  std::vector<void*> argument_pointers_;
  cudaError_t status_ = cudaSuccess;
  std::uint32_t block_number_ = 0;
  int threads_ = 0, done_ = 0, at_barrier_ = 0, started_ = 0, current_ = -1;
  std::vector<int> order_, ready_;
  std::vector<ThreadState> states_;
  std::vector<WarpState> warps_;
  const char* barrier_file_ = nullptr;
  int barrier_line_ = 0, barrier_first_ = 0;
  void* scheduler_ = nullptr;
};

Engine& engine();

}  // namespace ingot::sim
