// Tests with the real cuDNN behind the recorder: the fixture, what cuDNN understood as text, and whether a
// plan is the one to take. No GPU is needed.
//
//   TEST_F(CudnnRecording, OneGraph) {
//     cuda::cudnn_plans(problem, read_target("h200"));
//     EXPECT_EQ(text(taken().graphs.at(0)), text(want));
//   }
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/dtype.h"
#include "core/base/shape.h"
#include "gtest/gtest.h"
#include "tests/support/cudnn_recorder/recorder.h"

namespace ingot::test {

inline constexpr DType kCudnnTypes[] = {DType::F32, DType::F16, DType::BF16};

// Skips where cuDNN cannot be opened; starts with an empty record.
class CudnnRecording : public testing::Test {
 protected:
  void SetUp() override;
};

// Since the last call.
CudnnRecord taken();

// All of a tensor but its identifier, which matters for the tensors of norms and pooling.
std::string text(const CudnnTensor& t);
std::string text(const std::vector<CudnnOperation>& graph);

// As Ingot keeps images and weights; and the same between two steps of a graph.
CudnnTensor channels_last(const Shape& s, DType dtype);
CudnnTensor between(CudnnTensor t);

bool has(const CudnnEngine& e, cudnnBackendNumericalNote_t note);
bool has(const CudnnEngine& e, cudnnBackendBehaviorNote_t note);

// The plan is of the first engine of the heuristics that keeps the target's promises and that cuDNN did not
// refuse when it was built, and has that plan's workspace. `exact`: no operand is rounded.
void expect_first_allowed(const std::string& plan, std::size_t workspace, const CudnnRecord& record,
                          bool deterministic, bool exact);

}  // namespace ingot::test
