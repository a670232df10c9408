// Executes the launches of the simulated device from the PTX that nvcc made of the same .cu files, so that
// host code runs unchanged and a kernel's parameters need not be known.
//
// The kernel is found in the files' modules by its mangled name, else by its readable one: g++ and nvcc spell
// a few parameter types differently. Every access is checked by the interpreter: bounds, alignment, races,
// unwritten shared memory, barriers after an exit. Copies of an executor share their modules.
//
//   sim::reset({.sm = 90, .execute = PtxExecutor({"matmul.cu", "matmul_f32.cu"}, 90)});
//   sim::execute_by(PtxExecutor(80));                                  // all files, for every later reset
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/cuda_sim/sim.h"

namespace ingot {

class PtxExecutor {
 public:
  // `files` of cuda/kernels or tests/cuda_sim, or all. Throws Error when PTX is missing: ctest makes it
  // first.
  PtxExecutor(const std::vector<std::string>& files, int sm);
  explicit PtxExecutor(int sm);

  std::string operator()(const sim::ForeignLaunch& launch) const;
  std::size_t launches() const;  // so far

 private:
  struct Machine;
  std::shared_ptr<Machine> machine_;
};

}  // namespace ingot
