// Convolutions with batch norm's sums through Ingot's lowering to cuDNN: random problems give the op's
// reference in every result; and in f16 a program in which they were fused comes as near to f32 as one in
// which they were not, on short batches too.
#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/ops/conv_norm.h"
#include "cuda/libs/cudnn.h"
#include "cuda/ops/table.h"
#include "models/resnet.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/cudnn/cudnn_test.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/typed_case.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

class CudnnSums : public CudnnTest {};

struct Sample {
  Graph graph;
  std::vector<Tensor> operands;
};

// In [-1, 1]; what `positive` names in [0.5, 1.5].
Sample sample(const std::string& op_name, const Attrs& attrs, const std::vector<TensorType>& in,
              std::uint64_t seed, const std::set<std::size_t>& positive = {}) {
  Node n;
  n.op = op_name, n.attrs = attrs;
  Sample s{node_alone(n, in, infer(op(op_name), attrs, in)), {}};
  for (std::size_t k = 0; k < in.size(); ++k) {
    Tensor t(in[k]);
    const Philox rng(seed * 16 + k, 1);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const auto u = static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i))));
      t.set(i, positive.contains(k) ? 0.5 + u : 2.0 * u - 1.0);
    }
    s.operands.push_back(std::move(t));
  }
  return s;
}

Sample random_sample(std::uint64_t seed, DType images = DType::F16, DType params = DType::F32) {
  sim::Random random(seed);
  const auto from = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random.below(static_cast<std::size_t>(most - least + 1)));
  };
  const bool backward = from(0, 3) != 0, added = backward && from(0, 2) != 0;
  const bool residual = added && from(0, 1) == 0, second = added && !residual;
  Conv2dAttrs a;
  if (!added) a.stride = {from(1, 2), from(1, 2)};
  a.padding = {from(0, 1), from(0, 2)};
  const Shape w{8 * from(1, 3), 8 * from(1, 2), from(1, 3), from(1, 3)};
  const Shape x{from(2, 4), w[1], w[2] + from(0, 4), w[3] + from(0, 4)};
  if (!backward) return sample("conv2d_sums", a, {{images, x}, {images, w}}, seed);
  Conv2dGradInputSumsAttrs to;
  to.stride = a.stride, to.padding = a.padding, to.input_shape = x, to.has_residual = residual;
  to.has_second = second;
  const Shape y{x[0], w[0], conv_output_size(x[2], w[2], a.stride[0], a.padding[0], 1),
                conv_output_size(x[3], w[3], a.stride[1], a.padding[1], 1)};
  const TensorType image{images, x}, each{params, {x[1]}};
  std::vector<TensorType> in{{images, y}, {images, w}, image, each, each, each, each};
  if (added) in.insert(in.end(), 2, image);
  if (second) in.insert(in.end(), 4, each);
  return sample("conv2d_grad_input_sums", to, in, seed,
                second ? std::set<std::size_t>{6, 12} : std::set<std::size_t>{6});
}

// The sums may be of rounded elements: theirs is a bound for their error. Squares weigh an element by itself,
// twice; gradients by h, which is below 3.
void expect_near(const Node& node, const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  const double rounding = test::rounding(want[0].dtype());
  const std::int64_t channels = want[1].numel(), pixels = want[0].numel() / want[0].shape()[0] / channels;
  std::vector<double> sum(static_cast<std::size_t>(channels)), squares(sum.size());
  for (std::int64_t i = 0; i < want[0].numel(); ++i) {
    const auto c = static_cast<std::size_t>(i / pixels % channels);
    const double v = std::abs(want[0].get(i));
    sum[c] += v, squares[c] += v * v;
  }
  const bool forward = node.op == "conv2d_sums";
  for (std::size_t k = 0; k < got.size(); ++k)
    for (std::int64_t i = 0; i < want[k].numel(); ++i) {
      double tolerance = (1e-5 + 2 * rounding) * (1.0 + std::abs(want[k].get(i)));
      if (k > 0) {
        const auto c = static_cast<std::size_t>(i);
        tolerance = 1e-4 + rounding * (!forward ? 3 * sum[c] : k == 1 ? sum[c] : 2 * squares[c]);
      }
      ASSERT_LE(std::abs(got[k].get(i) - want[k].get(i)), tolerance)
          << "result " << k << " element " << i << " is " << got[k].get(i) << ", want " << want[k].get(i);
    }
}

TEST_F(CudnnSums, EqualTheReferenceAndOurOwnKernels) {
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    fake_cudnn::install({.engines = {{.index = 3, .workspace_bytes = seed % 2 == 0 ? 1000 : 0}}});
    const Sample s = random_sample(seed);
    const Node& node = s.graph.nodes()[0];
    SCOPED_TRACE(cat("seed ", seed, ": ", node.op, " to ", to_string(s.graph.type(node.outputs[0]))));
    const auto want = test::rounded_reference(s.graph, node, s.operands);
    const auto by_cudnn = run_on_device(s.graph, {0}, s.operands);
    ASSERT_TRUE(by_cudnn.has_value());
    EXPECT_EQ(by_cudnn->kernel, "cudnn:eng3");
    expect_near(node, by_cudnn->results, want);
    cuda::use_cudnn(nullptr);
    const auto by_us = run_on_device(s.graph, {0}, s.operands);
    ASSERT_TRUE(by_us.has_value());
    EXPECT_NE(by_us->kernel.find("+sums"), std::string::npos) << by_us->kernel;
    expect_near(node, by_us->results, want);
    if (HasFatalFailure()) return;
  }
}

// What cuDNN has no engines for is not asked of it, and our kernels serve; neither is worth fusing for.
TEST_F(CudnnSums, OtherTypesAreOurs) {
  for (const auto& [images, params] : {std::pair(DType::F32, DType::F32), std::pair(DType::BF16, DType::F32),
                                       std::pair(DType::F16, DType::F16)})
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      const Sample s = random_sample(seed, images, params);
      const Node& node = s.graph.nodes()[0];
      const bool f16_forward = images == DType::F16 && node.op == "conv2d_sums";
      EXPECT_EQ(backend("cuda").accelerates(s.graph, node, cuda_target()), f16_forward) << node.op;
      const auto done = run_on_device(s.graph, {0}, s.operands);
      ASSERT_TRUE(done.has_value());
      EXPECT_EQ(done->kernel.find("cudnn") == 0, f16_forward) << done->kernel;
    }
}

// A strided gradient with a residual has no engine.
TEST_F(CudnnSums, WorthFusingWhereCudnnHasAnEngine) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Sample s = random_sample(seed);
    const Node& node = s.graph.nodes()[0];
    EXPECT_TRUE(backend("cuda").accelerates(s.graph, node, cuda_target()));
    Target off = cuda_target();
    off.autotune = Autotune::Off;
    EXPECT_FALSE(backend("cuda").accelerates(s.graph, node, off));
  }
  Conv2dGradInputSumsAttrs a;
  a.stride = {2, 2}, a.input_shape = {2, 8, 4, 4}, a.has_residual = true;
  const TensorType image{DType::F16, a.input_shape}, each{DType::F32, {8}};
  const Sample s = sample(
      "conv2d_grad_input_sums", a,
      {{DType::F16, {2, 8, 2, 2}}, {DType::F16, {8, 8, 1, 1}}, image, each, each, each, each, image, image},
      1);
  EXPECT_FALSE(backend("cuda").accelerates(s.graph, s.graph.nodes()[0], cuda_target()));
}

// ---- Programs --------------------------------------------------------------------------------------------

Graph resnet(DType compute) {
  return training_graph(*make_cifar_resnet(2, 3, 10), {DType::F32, {4, 3, 8, 8}},
                        *sgd({.lr = 0.002, .momentum = 0.9, .weight_decay = 1e-4}), {.scale = LossScale()},
                        {.compute = compute, .overrides = {}});
}

int count(const Graph& g, std::string_view op) {
  int n = 0;
  for (const Node& node : g.nodes()) n += node.op == op;
  return n;
}

// The loss and all states after a step whose batch has `valid` real rows; the other rows are garbage. One
// step: batches of four such images double a rounding's size many times over in each.
std::map<std::string, Tensor> trained(const ProgramPtr& p, std::int32_t valid) {
  Session s(p, {.seed = 3});
  fill_inputs(s, 0);
  s.input("valid_rows").set(0, valid);
  s.run();
  std::map<std::string, Tensor> all;
  all["loss"] = s.output("loss").clone();
  for (const auto& state : p->graph().states()) all[state.name] = s.state(state.name);
  return all;
}

// |got - want| as a share of |want|, both as vectors.
double distance(const Tensor& got, const Tensor& want) {
  double apart = 0.0, all = 1e-12;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    apart += std::pow(got.get(i) - want.get(i), 2.0);
    all += std::pow(want.get(i), 2.0);
  }
  return std::sqrt(apart / all);
}

TEST_F(CudnnSums, AResNetTrainsAsWithoutFusion) {
  const Graph g = resnet(DType::F16);
  const ProgramPtr fused = compile(g, {.target = Target::cuda(0)});
  const ProgramPtr plain = compile(g, {.target = Target::cuda(0), .skip_passes = {"fuse-sums"}});
  // Not the stem, whose images are not 0 in the rows that do not count.
  const int norms = count(g, "batch_norm");
  EXPECT_EQ(count(fused->graph(), "conv2d_sums"), norms - 1);
  EXPECT_EQ(count(fused->graph(), "batch_norm"), 1);
  EXPECT_EQ(count(fused->graph(), "batch_norm_statistics"), norms - 1);
  // Within each of six blocks, and behind the three blocks that one without a stride follows.
  EXPECT_EQ(count(fused->graph(), "conv2d_grad_input_sums"), 9);
  // Two of the latter add the batch norm of a shortcut.
  EXPECT_EQ(count(fused->graph(), "batch_norm_apply_two"), 2);
  EXPECT_EQ(count(plain->graph(), "conv2d_sums"), 0);
  EXPECT_EQ(count(plain->graph(), "conv2d_grad_input_sums"), 0);
  const ProgramPtr exact = compile(resnet(DType::F32), {.target = Target::cpu(1)});
  // Roundings to f16 grow in so small a batch. Both programs must be as far from f32.
  for (const std::int32_t valid : {4, 3}) {
    SCOPED_TRACE(cat(valid, " of 4 rows"));
    const auto want = trained(exact, valid), got = trained(fused, valid), apart = trained(plain, valid);
    for (const auto& [name, t] : want) {
      EXPECT_LE(distance(got.at(name), t), 2 * distance(apart.at(name), t) + 1e-3) << name;
    }
  }
}

}  // namespace
}  // namespace ingot
