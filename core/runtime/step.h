// Step: one lowered node, what a backend makes of it for a target.
//
// A Step is immutable and shared by all sessions of a program. Binding gives it addresses and yields a
// BoundStep, which owns what one session needs (library handles); its run() allocates nothing and creates
// nothing. All memory, the workspace included, belongs to the plan.
//
//   auto bound = step.bind({inputs, outputs, workspace});
//   bound->run();
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

// Which of a device's queues a step is issued to. The steps of one lane run in order; one of another lane
// waits for what its operands and results ask for, and no longer (core/runtime/lanes.h).
enum class Lane : std::uint8_t { Compute, Communication };

class BoundStep {
 public:
  virtual ~BoundStep() = default;
  virtual void run() = 0;
};

struct Bindings {
  std::span<void* const> inputs;   // one per node input
  std::span<void* const> outputs;  // one per node output
  void* workspace = nullptr;
  void* stream = nullptr;  // CUDA: the one of the step's lane
};

// A kernel that comes before the one taken and wants more workspace than Target::workspace_limit allows.
struct PassedOver {
  std::string kernel;
  std::size_t workspace_bytes = 0;
  double milliseconds = 0;  // where candidates were measured, else 0
};

class Step {
 public:
  virtual ~Step() = default;
  virtual std::unique_ptr<BoundStep> bind(const Bindings& b) const = 0;

  std::string kernel;       // which implementation: "onednn:brgconv:avx512_core", "tape", "reference"
  double arithmetic = 1.0;  // what it computes, of the operations that the registry counts for the node
  std::size_t workspace_bytes = 0;  // private, 64-byte aligned, contents undefined
  // (input, output) pairs that may share memory when the input dies here.
  std::vector<std::array<int, 2>> in_place;
  // The output is the input's memory; nothing runs.
  bool is_view = false;
  bool capturable = true;
  // What one run issues to a device: kernels, copies and fills of our own, and calls of a library, each of
  // which may launch several kernels. Both are 0 on the CPU. The step has so many operands and results.
  virtual int launches(std::size_t inputs, std::size_t outputs) const {
    static_cast<void>(inputs), static_cast<void>(outputs);
    return 0;
  }
  int library_calls = 0;
  std::vector<PassedOver> passed_over;  // best first
  double milliseconds = 0;              // of one run, where candidates were measured, else 0
  // Communication: worth running beside the steps of the compute lane, because it leaves the device's
  // arithmetic idle. Where a device has one queue it means nothing.
  Lane lane = Lane::Compute;
};

// A step made of one function of its bindings; the pointers are copied.
//   return make_step("relu", [n](void* const* in, void* const* out, void*) { ... });
using StepFn = std::function<void(void* const* inputs, void* const* outputs, void* workspace)>;
std::unique_ptr<Step> make_step(std::string kernel, StepFn fn, std::size_t workspace_bytes = 0,
                                std::vector<std::array<int, 2>> in_place = {});

}  // namespace ingot
