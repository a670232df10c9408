// Random convolutions through Ingot's lowering to cuDNN: what the recorded calls mean, interpreted by plain
// loops, is the op's reference and what our own kernels compute.
#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/ops/conv.h"
#include "cuda/libs/cudnn.h"
#include "tests/cuda_sim/cudnn/cudnn_test.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/typed_case.h"

namespace ingot {
namespace {

constexpr int kProblems = 200;

struct RandomConv {
  Graph graph;
  std::vector<Tensor> operands;
  bool served = true;  // by cuDNN: an epilogue needs a bias
};

Tensor filled(const TensorType& type, std::uint64_t seed) {
  Tensor t(type);
  const Philox rng(seed, 1);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.set(i, 2.0 * static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i)))) - 1.0);
  return t;
}

RandomConv random_conv(std::uint64_t seed) {
  sim::Random random(seed);
  const auto from = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random.below(static_cast<std::size_t>(most - least + 1)));
  };
  constexpr DType kTypes[] = {DType::F32, DType::F16, DType::BF16};
  const DType dtype = kTypes[random.below(3)];
  Conv2dAttrs a;
  a.groups = from(0, 2) == 0 ? from(2, 4) : 1;
  const bool depthwise = a.groups > 1 && from(0, 1) == 0;
  const Shape w{a.groups * from(1, 4), depthwise ? 1 : from(1, 5), from(1, 3), from(1, 3)};
  a.stride = {from(1, 3), from(1, 2)}, a.dilation = {from(1, 2), from(1, 3)};
  a.padding = {from(0, 2), from(0, 2)};
  const Shape x{from(1, 3), a.groups * w[1], a.dilation[0] * (w[2] - 1) + from(1, 6),
                a.dilation[1] * (w[3] - 1) + from(1, 6)};
  const auto size = [&](int axis) {
    const auto i = static_cast<std::size_t>(axis);
    return conv_output_size(x[2 + axis], w[2 + axis], a.stride[i], a.padding[i], a.dilation[i]);
  };
  const Shape y{x[0], w[0], size(0), size(1)};
  RandomConv r;
  Node n;
  std::vector<TensorType> in, out;
  switch (from(0, 3)) {
    case 0:
      n.op = "conv2d_grad_input";
      n.attrs = Conv2dGradInputAttrs{a.stride, a.padding, a.dilation, a.groups, x};
      in = {{dtype, y}, {dtype, w}}, out = {{dtype, x}};
      break;
    case 1:
      n.op = "conv2d_grad_weight";
      n.attrs = Conv2dGradWeightAttrs{a.stride, a.padding, a.dilation, a.groups, w};
      in = {{dtype, x}, {dtype, y}}, out = {{dtype, w}};
      break;
    default:
      a.has_bias = from(0, 2) != 0, a.has_residual = from(0, 2) == 0;
      if (from(0, 1) == 0) a.activation = "relu";
      r.served = a.has_bias || (!a.has_residual && a.activation.empty());
      n.op = "conv2d";
      n.attrs = a;
      in = {{dtype, x}, {dtype, w}}, out = {{dtype, y}};
      if (a.has_bias) in.push_back({dtype, {w[0]}});
      if (a.has_residual) in.push_back({dtype, y});
  }
  r.graph = node_alone(n, in, out);
  for (std::size_t i = 0; i < in.size(); ++i) r.operands.push_back(filled(in[i], seed * 8 + i));
  return r;
}

void expect_near(const Tensor& got, const Tensor& want, const char* what) {
  const double tolerance = 1e-5 + 2 * test::rounding(want.dtype());
  for (std::int64_t i = 0; i < want.numel(); ++i)
    ASSERT_LE(std::abs(got.get(i) - want.get(i)), tolerance * (1.0 + std::abs(want.get(i))))
        << "element " << i << " is " << got.get(i) << ", " << what << " " << want.get(i);
}

class CudnnConvolutions : public CudnnTest {};

TEST_F(CudnnConvolutions, EqualTheReferenceAndOurOwnKernels) {
  // Without a workspace, and with one that its plan spoils.
  for (const std::int64_t workspace : {0, 1000}) {
    int served = 0, own = 0;
    for (int i = 0; i < kProblems / 2; ++i) {
      fake_cudnn::install({.engines = {{.index = 3, .workspace_bytes = workspace}}});
      const RandomConv r = random_conv(static_cast<std::uint64_t>(workspace + i + 1));
      const Node& node = r.graph.nodes()[0];
      SCOPED_TRACE(cat("problem ", i, ", workspace ", workspace, ": ", node.op, " to ",
                       to_string(r.graph.type(node.outputs[0]))));
      const auto by_cudnn = run_on_device(r.graph, {0}, r.operands);
      ASSERT_TRUE(by_cudnn.has_value());
      ASSERT_EQ(by_cudnn->kernel.find("cudnn:eng3") == 0, r.served) << by_cudnn->kernel;
      EXPECT_EQ(fake_cudnn::counts().runs > 0, r.served);
      expect_near(by_cudnn->results[0], test::rounded_reference(r.graph, node, r.operands)[0],
                  "the reference says");
      cuda::use_cudnn(nullptr);
      const auto by_us = run_on_device(r.graph, {0}, r.operands);
      ASSERT_TRUE(by_us.has_value());
      ASSERT_EQ(by_us->kernel.find("conv"), 0u) << by_us->kernel;
      expect_near(by_cudnn->results[0], by_us->results[0], "our kernel says");
      if (HasFatalFailure()) return;
      (r.served ? served : own)++;
    }
    EXPECT_GT(served, kProblems / 4);
    EXPECT_GT(own, 0);
  }
}

}  // namespace
}  // namespace ingot
