// The tests of the backend's kernels, lowerings and programs once more, on a GPU and through the library
// itself. Without a GPU it says why and exits with 77, which CTest shows as skipped.
//
//   test_cuda_kernels_gpu --gtest_filter='Softmax*'
#include <iostream>

#include "cuda/base/device_info.h"
#include "gtest/gtest.h"
#include "tests/cuda_sim/sim_test.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  const ingot::cuda::DeviceList list = ingot::cuda::devices();
  if (list.count == 0) {
    std::cout << "skipped: no CUDA device: " << list.reason << '\n';
    return 77;
  }
  const ingot::cuda::DeviceInfo info = ingot::cuda::device_info(0);
  std::cout << info.name << ", sm_" << info.sm << '\n';
  ingot::runs_cuda_functions() = true;
  return RUN_ALL_TESTS();
}
