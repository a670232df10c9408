// The fixture of tests with a cuDNN on the simulated device (tests/support/cudnn_fake): installed before each
// test, and afterwards nothing complained about and no handle left.
//
//   TEST_F(CudnnTest, Failing) {
//     install({.engines = {}});
//     ...
#pragma once

#include <memory>

#include "cuda/ops/generated_kernel.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "tests/support/cuda_sim/gxx_compiler.h"
#include "tests/support/cudnn_fake/fake.h"

namespace ingot {

class CudnnTest : public CudaBackendTest {
 protected:
  static void SetUpTestSuite() { cuda::use_kernel_compiler(std::make_unique<sim::GxxCompiler>(false)); }
  void SetUp() override {
    CudaBackendTest::SetUp();
    fake_cudnn::install();
  }
  void TearDown() override {
    EXPECT_EQ(fake_cudnn::take_complaints(), "");
    EXPECT_EQ(fake_cudnn::counts().handles, 0);
    CudaBackendTest::TearDown();
  }
};

// Steps of a program that cuDNN runs.
inline int cudnn_steps(const Program& p) {
  int count = 0;
  for (const NodeId n : p.schedule()) count += p.step(n).kernel.find("cudnn:") == 0 ? 1 : 0;
  return count;
}

}  // namespace ingot
