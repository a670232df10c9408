// Lets the simulated device run kernels as what nvcc made of them: PTX, in the interpreter of
// ../shared/tools/ptxvm, with its checks on (bounds, alignment, races, unwritten shared memory, barriers).
//
// Launches, streams, memory and graphs stay the simulator's, so a test of a kernel is at the same time a test
// of its PTX. What the interpreter complains about becomes a finding of the simulator and ends the launch.
// Kernels are found by their mangled names in the .ptx files of one folder.
//
//   PtxExecutor executor(folder, 90);      // from now on, for the whole process
//   EXPECT_GT(executor.launches(), 0);
#pragma once

#include <cstddef>
#include <string>

namespace ingot {

class PtxExecutor {
 public:
  // Uses <folder>/*.sm_<sm>.ptx. Throws Error when there are none.
  PtxExecutor(const std::string& folder, int sm);
  ~PtxExecutor();
  PtxExecutor(const PtxExecutor&) = delete;
  PtxExecutor& operator=(const PtxExecutor&) = delete;

  std::size_t launches() const;

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace ingot
