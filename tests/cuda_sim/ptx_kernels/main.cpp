// The tests of the backend's kernels and lowerings once more, with the kernels executed as PTX.
//
//   test_cuda_kernels_ptx --sm=80 --gtest_filter='Softmax*'
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "gtest/gtest.h"
#include "tests/cuda_sim/ptx/ptx_executor.h"
#include "tests/cuda_sim/sim_test.h"

int main(int argc, char** argv) try {
  testing::InitGoogleTest(&argc, argv);
  if (testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();  // needs no PTX
  int sm = 90;
  for (int i = 1; i < argc; ++i)
    if (const std::string arg = argv[i]; arg.starts_with("--sm=")) sm = std::atoi(arg.c_str() + 5);
  const ingot::PtxExecutor executor(sm);
  ingot::sim::execute_by(executor);
  ingot::sim_runs_ptx() = true;
  ingot::runs_cuda_functions() = true;
  const int status = RUN_ALL_TESTS();
  std::printf("%zu launches for sm_%d executed as PTX\n", executor.launches(), sm);
  return executor.launches() > 0 ? status : 1;
} catch (const ingot::Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
