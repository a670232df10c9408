// The simulated CUDA device: what tests see of it. Host code does not: it calls the CUDA runtime, whose
// functions this folder replaces at link time.
//
// One process has one simulated machine. `reset` ends it and starts a fresh one; a test's fixture calls it
// first and asks at the end for findings and live resources. A finding is a mistake of the program that a GPU
// would answer with wrong numbers, a fault, or luck: each says what happened, in which kernel, block and
// thread, and what to do. Faults a GPU reports too (illegal or misaligned address) also become its sticky
// error.
//
// Streams are queues that nothing drains but a policy:
//   Demand   runs only what a synchronisation needs, and nothing when work is issued: a missing event shows
//   Random   runs ready work of streams in the order of priorities drawn from the seed, also when work is
//   issued Eager    runs work when it is issued, as a debugger wants it; finds no missing event
// A launched graph's nodes run in a random legal order under the first two.
//
//   sim::reset({.seed = 7, .policy = sim::Policy::Random, .memory = 1 << 20});
//   ... use cuda/base ...
//   EXPECT_TRUE(sim::take_findings().empty());
//   EXPECT_TRUE(sim::live_resources().empty());
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ingot::sim {

enum class Policy { Demand, Random, Eager };

// A launch as somebody else than the simulator's fibers may execute it, e.g. from the kernel's PTX.
struct ForeignLaunch {
  const char* symbol;  // mangled
  std::string name;    // readable, without parameters: plain_name(symbol)
  dim3 grid, block;
  std::size_t dynamic_shared;
  const std::byte* arguments;  // laid out as CUDA lays them out
  std::size_t argument_bytes;
  std::vector<std::pair<void*, std::size_t>> memory;  // what the kernel may touch: address and bytes
};
// Gives the executor's complaint, or "".
using Executor = std::function<std::string(const ForeignLaunch&)>;
// For every reset from now on whose options name none.
void execute_by(Executor executor);
// "ns::f<float>" of a mangled name.
std::string plain_name(const char* symbol);

struct Options {
  std::uint64_t seed = 1;
  Policy policy = Policy::Demand;
  std::size_t memory = std::size_t{256} << 20;  // bytes; beyond it allocations fail as on a full device
  bool shuffle_threads = true;                  // else threads and blocks run in the order of their numbers
  bool check_races = true;                      // needs kernels compiled with access callbacks
  int devices = 1;                              // 0: a machine without a GPU
  int sm = 90;
  Executor execute{};  // null: that of execute_by(), else the simulator's fibers. Kernels that are compiled
                       // at run time are the fibers' in any case
};
void reset(const Options& options = {});

enum class Fault {
  OutOfBounds,    // an access outside every allocation, or a damaged redzone
  UseAfterFree,   // an access to memory that was freed, or is not yet allocated in stream order
  Misaligned,     // an access that is not aligned to its size
  HostMemory,     // a kernel used ordinary host memory
  Uninitialised,  // shared memory was read before the block wrote it
  Race,           // two threads, no barrier between, at least one wrote
  Divergence,  // a barrier or warp operation that not all its threads reach, or that they reach at different
               // lines
  StackOverflow,  // a thread's stack
  Foreign,        // what Options::execute complained about
  BadHandle,      // a stream, event, graph or pointer that is not, or no longer, one
  Condition,      // of a conditional node: set by a kernel outside its graph, read unset, recorded twice
};
std::string_view name(Fault fault);

struct Finding {
  Fault fault;
  std::string text;
};
// All findings since the last call; the list is empty afterwards.
std::vector<Finding> take_findings();

struct Counters {
  std::size_t allocations = 0, frees = 0;  // of device memory
  std::size_t pinned_allocations = 0;
  std::size_t bytes = 0, peak_bytes = 0;  // of device memory in use
  std::size_t launches = 0;               // by cudaLaunchKernelExC, captured ones excluded
  std::size_t graph_launches = 0;
  std::size_t kernels_run = 0;  // executed, replayed ones included
  std::size_t copies = 0;       // copies and fills issued, captured ones excluded
  std::size_t synchronisations = 0;
};
Counters counters();

// The `nth` call from now (1: the next) of a runtime function fails with `error`; only that one.
void fail_call(std::string_view function, int nth, cudaError_t error);
// The `nth` call from now does nothing and returns cudaSuccess: what if the program had forgotten it?
void skip_call(std::string_view function, int nth);
// How often a runtime function was called since reset.
std::size_t calls(std::string_view function);

// Names of the kernels that ran since reset, without template arguments: "ingot::softmax::warp_rows_kernel".
std::vector<std::string> kernels_run();

// One line per allocation, pinned buffer, stream, event, graph and executable graph that still exists.
std::vector<std::string> live_resources();

}  // namespace ingot::sim
