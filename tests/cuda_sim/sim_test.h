// The fixture of the simulator's tests: a fresh device before each, and afterwards no finding and nothing
// left alive unless the test took them. The same objects run on a GPU where gpu/real_device.cpp takes the
// simulator's place (test_cuda_kernels_gpu).
//
//   TEST_F(SimTest, RowSum) {
//     const auto x = to_device(std::vector<float>(64, 1.0f));
//     ...
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cuda/base/memory.h"
#include "cuda/base/stream.h"
#include "gtest/gtest.h"
#include "tests/support/cuda_sim/sim.h"

namespace ingot {

// True in test_cuda_sim, whose kernels report each access; false in test_cuda_sim_plain.
constexpr bool kChecksAccesses = INGOT_CHECKS_ACCESSES != 0;

// True in test_cuda_kernels_ptx, whose interpreter knows no conditional nodes and is slow.
inline bool& sim_runs_ptx() {
  static bool runs = false;
  return runs;
}

// True where nvcc's code runs, as PTX or on a GPU: functions such as exp are CUDA's there, not the C
// library's.
inline bool& runs_cuda_functions() {
  static bool runs = false;
  return runs;
}

class SimTest : public ::testing::Test {
 protected:
  void SetUp() override { sim::reset(); }
  void TearDown() override { expect_clean(); }

  // Nothing found by the device, and nothing left alive.
  static void expect_clean() {
    for (const auto& finding : sim::take_findings())
      ADD_FAILURE() << "unexpected finding, " << sim::name(finding.fault) << ": " << finding.text;
    for (const auto& resource : sim::live_resources()) ADD_FAILURE() << "left alive: " << resource;
  }

  // Takes the findings, which must all be of this kind, and gives the first one's text ("" without one).
  static std::string take(sim::Fault fault) {
    const auto findings = sim::take_findings();
    for (const auto& finding : findings)
      EXPECT_EQ(sim::name(finding.fault), sim::name(fault)) << finding.text;
    return findings.empty() ? "" : findings.front().text;
  }

  template <class T>
  static cuda::DeviceBuffer to_device(const std::vector<T>& values, const cuda::Stream& stream) {
    cuda::DeviceBuffer buffer(values.size() * sizeof(T));
    cuda::copy_to_device(buffer.data(), values.data(), buffer.bytes(), stream);
    return buffer;
  }
  template <class T>
  static std::vector<T> to_host(const cuda::DeviceBuffer& buffer, const cuda::Stream& stream) {
    std::vector<T> values(buffer.bytes() / sizeof(T));
    cuda::copy_to_host(values.data(), buffer.data(), buffer.bytes(), stream);
    return values;
  }
};

// A small deterministic sequence without structure, in [-1, 1].
inline std::vector<float> sequence(std::size_t n, unsigned seed = 1) {
  std::vector<float> values(n);
  unsigned state = seed;
  for (auto& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  return values;
}

}  // namespace ingot
