// A cuDNN for the simulated device: the functions of libcudnn that cudnn-frontend calls, defined in the test
// program itself, so that everything from a node's lowering to its results runs without a GPU.
//
// Descriptors are stores of attributes with cuDNN's own rules: an attribute that a descriptor does not have,
// a wrong type or count, a reference to a descriptor that is not finalised, a missing attribute at the
// finalisation, a value read too early are answered with a status, and kept as a complaint. Heuristics list
// the engines that a test configures, for the graphs that cuDNN's engines serve (a convolution or a gradient;
// forward also + residual, + bias, ReLU in this order, with a bias; batch norm, also [+ residual], ReLU in
// this order; its gradient; average pooling; in f16 a convolution and the sums of its result, and its
// gradient with the mask and sums of a batch norm). cudnnBackendExecute issues one operation to the handle's
// stream, which reads and writes the simulated device's memory as plain loops over the recorded graph say,
// and spoils the workspace it was promised. Handles take device memory, as cuDNN's do.
//
//   fake_cudnn::install({.engines = {{.index = 7, .workspace_bytes = 4096}}});
//   ... compile and run ...
//   EXPECT_EQ(fake_cudnn::take_complaints(), "");
//   EXPECT_EQ(fake_cudnn::counts().handles, 0);
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ingot::fake_cudnn {

struct Engine {
  std::int64_t index = 0;
  std::int64_t workspace_bytes = 0;
  std::vector<cudnnBackendNumericalNote_t> notes{};
  cudnnStatus_t builds = CUDNN_STATUS_SUCCESS;  // what finalising its plan says
};

struct Options {
  std::vector<Engine> engines{{.index = 1}};
  cudnnStatus_t creates = CUDNN_STATUS_SUCCESS;   // what cudnnCreate says
  cudnnStatus_t executes = CUDNN_STATUS_SUCCESS;  // what the execution says from number fails_from (1) on
  int fails_from = 1;
};

// Starts anew with these options, and makes it this process's cuDNN. The frontend looks functions up once, so
// the process must have used no other before.
void install(const Options& options = {});

struct Counts {
  int handles = 0, descriptors = 0;  // alive
  int executions = 0;                // calls
  int runs = 0;                      // by the device, replayed ones included
};
Counts counts();

// What was done wrong since the last call, or "".
std::string take_complaints();

}  // namespace ingot::fake_cudnn
