// The cuDNN convolutions of Ingot as cuDNN itself understood them, read back from its descriptors
// (tests/support/cudnn_recorder): shapes, channels-last strides, types, padding, stride, dilation, groups,
// epilogues; and that the plan taken is the heuristics' first that the target's promises allow. No GPU is
// needed and none is used: targets are descriptions.
#if defined(INGOT_CUDNN_RECORDER)
#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/op/text.h"
#include "core/ops/conv.h"
#include "cuda/libs/cudnn.h"
#include "cuda/ops/table.h"
#include "gtest/gtest.h"
#include "io/target_file.h"
#include "models/models.h"
#include "tests/support/cudnn_recorder/recording.h"
#include "train/step_graph.h"

namespace ingot::test {
namespace {

// Images and weights with the axis of groups that cuDNN inserts.
CudnnTensor image(const Shape& s, std::int64_t groups, DType dtype) {
  const std::int64_t c = s[1], h = s[2], w = s[3];
  CudnnTensor t = channels_last(s, dtype);
  t.grouped_dims = {s[0], groups, c / groups, h, w};
  t.grouped_strides = {c * h * w, c / groups, 1, c * w, c};
  return t;
}
CudnnTensor weights(const Shape& s, std::int64_t groups, DType dtype) {
  const std::int64_t o = s[0] / groups, c = s[1], h = s[2], w = s[3];
  CudnnTensor t = channels_last(s, dtype);
  t.grouped_dims = {groups, o, c, h, w};
  t.grouped_strides = {o * c * h * w, c * h * w, 1, c * w, c};
  return t;
}

template <class A>
CudnnOperation convolution(cudnnBackendDescriptorType_t kind, const A& a) {
  CudnnOperation o;
  o.kind = kind;
  const auto pair = [](const auto& p) { return std::vector<std::int64_t>{p[0], p[1]}; };
  o.padding_before = o.padding_behind = pair(a.padding);
  o.stride = pair(a.stride), o.dilation = pair(a.dilation);
  return o;
}

// The graph that a node asks for, from its attributes and types alone.
std::vector<CudnnOperation> meant(const Graph& g, const Node& n) {
  const auto in = [&](std::size_t i) { return g.type(n.inputs[i]).shape; };
  const Shape result = g.type(n.outputs[0]).shape;
  const DType dtype = g.type(n.outputs[0]).dtype;
  if (n.op == "conv2d_grad_input") {
    const auto& a = n.attrs.as<Conv2dGradInputAttrs>();
    CudnnOperation o = convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, a);
    o.x = image(result, a.groups, dtype), o.w = weights(in(1), a.groups, dtype);
    o.y = image(in(0), a.groups, dtype);
    return {o};
  }
  if (n.op == "conv2d_grad_weight") {
    const auto& a = n.attrs.as<Conv2dGradWeightAttrs>();
    CudnnOperation o = convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, a);
    o.x = image(in(0), a.groups, dtype), o.w = weights(result, a.groups, dtype);
    o.y = image(in(1), a.groups, dtype);
    return {o};
  }
  const auto& a = n.attrs.as<Conv2dAttrs>();
  CudnnOperation o = convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, a);
  const CudnnTensor out = image(result, a.groups, dtype);
  o.x = image(in(0), a.groups, dtype), o.w = weights(in(1), a.groups, dtype), o.y = between(out);
  std::vector<CudnnOperation> all{o};
  const auto then = [&](cudnnPointwiseMode_t mode, const CudnnTensor* other) {
    CudnnOperation p;
    p.mode = mode, p.beta = 1.0;
    p.x = p.y = between(channels_last(result, dtype));
    p.has_w = other != nullptr;
    if (other != nullptr) p.w = *other;
    all.push_back(p);
  };
  const CudnnTensor plain = channels_last(result, dtype), bias = channels_last({1, result[1], 1, 1}, dtype);
  if (a.has_residual) then(CUDNN_POINTWISE_ADD, &plain);
  if (a.has_bias) then(CUDNN_POINTWISE_ADD, &bias);
  if (!a.activation.empty()) then(CUDNN_POINTWISE_RELU_FWD, nullptr);
  all.back().y.type = out.type, all.back().y.is_virtual = false;
  return all;
}

// ---- Nodes -----------------------------------------------------------------------------------------------

// The node alone, in one dtype, lying as convolutions want.
Graph alone(const Graph& g, const Node& n, DType dtype) {
  const auto typed = [&](const std::vector<ValueId>& values) {
    std::vector<TensorType> types;
    for (const ValueId v : values) {
      types.push_back({dtype, g.type(v).shape});
      if (types.back().shape.rank() == 4) types.back().layout = Layout::channels_last(4);
    }
    return types;
  };
  return node_alone(n, typed(n.inputs), typed(n.outputs));
}

Graph forward(const Shape& x, const Shape& w, Conv2dAttrs a, DType dtype) {
  Graph g;
  const Value image = input(g, "x", {DType::F32, x}), weight = input(g, "w", {DType::F32, w});
  conv2d(image, weight, a);
  Node n = g.nodes()[0];
  return alone(g, n, dtype);
}

// With an epilogue, which is what fusion makes: operands behind x and w.
Graph fused(const Shape& x, const Shape& w, Conv2dAttrs a, DType dtype) {
  Conv2dAttrs plain = a;
  plain.has_bias = plain.has_residual = false, plain.activation = "";
  const Graph g = forward(x, w, plain, dtype);
  const Shape y = g.type(g.nodes()[0].outputs[0]).shape;
  std::vector<TensorType> inputs{{dtype, x, Layout::channels_last(4)}, {dtype, w, Layout::channels_last(4)}};
  if (a.has_bias) inputs.push_back({dtype, {w[0]}});
  if (a.has_residual) inputs.push_back({dtype, y, Layout::channels_last(4)});
  Node n = g.nodes()[0];
  n.attrs = a;
  return node_alone(n, inputs, std::vector<TensorType>{{dtype, y, Layout::channels_last(4)}});
}

struct Lowered {
  std::unique_ptr<Step> step;
  std::string why;
  CudnnRecord record;
};

Lowered lower(const Graph& g, const Target& target) {
  Lowered l;
  const Node& n = g.nodes()[0];
  for (const Lowering& row : *cuda::lowerings().find(n.op))
    if (std::string_view(row.name) == "cudnn") l.step = row.lower({g, n, target, &l.why});
  l.record = taken();
  return l;
}

// The step is the plan that the record says should be taken.
void expect_first_allowed(const Lowered& l, DType dtype, const Target& target) {
  ASSERT_NE(l.step, nullptr) << l.why;
  const bool exact = dtype == DType::F32 && !target.allow_tf32;
  expect_first_allowed(l.step->kernel, l.step->workspace_bytes, l.record, target.deterministic, exact);
  EXPECT_EQ(l.step->library_calls, 1);
}

void expect_as_meant(const Graph& g, const Target& target, Lowered* seen = nullptr) {
  const DType dtype = g.type(g.nodes()[0].inputs[0]).dtype;
  std::vector<std::string> shapes;
  for (const ValueId v : g.nodes()[0].inputs) shapes.push_back(to_string(g.type(v)));
  SCOPED_TRACE(cat(g.nodes()[0].op, "(", join(shapes), ") on ", target.name));
  Lowered l = lower(g, target);
  EXPECT_EQ(join(l.record.faults), "");
  ASSERT_EQ(l.record.graphs.size(), 1u) << l.why;
  EXPECT_EQ(text(l.record.graphs[0]), text(meant(g, g.nodes()[0])));
  expect_first_allowed(l, dtype, target);
  if (seen != nullptr) *seen = std::move(l);
}

class CudnnPlans : public CudnnRecording {
 protected:
  // Each convolution of a model and its gradients: (op -> how many), each different one checked once.
  static std::map<std::string, int> check_model(const char* model, std::int64_t batch) {
    const auto net = make_model(model);
    const Graph g = training_graph(*net, {DType::F32, model_input(model, batch)}, *sgd({.lr = 0.1}));
    std::map<std::string, int> count;
    std::set<std::string> done;
    bool nondeterministic = false;
    for (const Node& n : g.nodes()) {
      if (n.op.find("conv2d") != 0) continue;
      ++count[n.op];
      for (const DType dtype : kCudnnTypes) {
        const Graph one = alone(g, n, dtype);
        if (!done.insert(print_graph(one)).second) continue;
        for (const char* name : {"h200", "a100"}) {
          Lowered l;
          expect_as_meant(one, read_target(name), &l);
          for (const CudnnEngine& e : l.record.heuristics)
            nondeterministic |= has(e, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
        }
      }
    }
    EXPECT_TRUE(nondeterministic) << "no engine that Ingot had to leave out, so the test shows nothing";
    return count;
  }
};

TEST_F(CudnnPlans, EveryConvolutionOfResNet50) {
  EXPECT_EQ(
      check_model("resnet50", 32),
      (std::map<std::string, int>{{"conv2d", 53}, {"conv2d_grad_input", 52}, {"conv2d_grad_weight", 53}}));
}

TEST_F(CudnnPlans, EveryConvolutionOfLeNet5) {
  EXPECT_EQ(check_model("lenet5", 64),
            (std::map<std::string, int>{{"conv2d", 2}, {"conv2d_grad_input", 1}, {"conv2d_grad_weight", 2}}));
}

const Shape kX{32, 64, 28, 30}, kW{64, 64, 3, 3};

TEST_F(CudnnPlans, EpiloguesWithABias) {
  for (const char* name : {"h200", "a100", "rtx4090"})
    for (const DType dtype : kCudnnTypes)
      for (const bool residual : {false, true})
        for (const char* activation : {"", "relu"})
          expect_as_meant(
              fused(kX, kW,
                    {.padding = {1, 1}, .has_bias = true, .has_residual = residual, .activation = activation},
                    dtype),
              read_target(name));
}

// As cuda/libs/cudnn.h says: they decline with cuDNN's reason in one line, and a kernel of our own serves.
TEST_F(CudnnPlans, EpiloguesWithoutABiasHaveNoPlan) {
  const Target target = read_target("h200");
  for (const bool residual : {false, true})
    for (const char* activation : {"", "relu"}) {
      const Graph g =
          fused(kX, kW, {.padding = {1, 1}, .has_residual = residual, .activation = activation}, DType::F16);
      const Lowered l = lower(g, target);
      if (!residual && *activation == '\0') {
        EXPECT_NE(l.step, nullptr);
        continue;
      }
      EXPECT_EQ(l.step, nullptr) << l.step->kernel;
      EXPECT_EQ(l.why.find("cuDNN has no plan: "), 0u) << l.why;
      EXPECT_EQ(l.why.find('\n'), std::string::npos) << l.why;
      EXPECT_EQ(first_step(cuda::lowerings(), {g, g.nodes()[0], target})->kernel, "conv");
    }
  const Lowered gelu = lower(fused(kX, kW, {.has_bias = true, .activation = "gelu"}, DType::F16), target);
  EXPECT_EQ(gelu.step, nullptr);
  EXPECT_NE(gelu.why.find("gelu"), std::string::npos) << gelu.why;
}

TEST_F(CudnnPlans, GroupsDilationStrideAndSmallImages) {
  struct Case {
    Shape x, w;
    Conv2dAttrs attrs;
  };
  const std::vector<Case> cases = {
      {{8, 64, 14, 14}, {64, 8, 3, 3}, {.padding = {1, 1}, .groups = 8}},
      {{8, 64, 14, 14}, {128, 32, 3, 3}, {.stride = {2, 2}, .padding = {1, 1}, .groups = 2}},
      {{8, 32, 14, 14}, {32, 1, 3, 3}, {.padding = {1, 1}, .groups = 32}},  // depthwise
      {{8, 32, 15, 13}, {48, 32, 3, 5}, {.padding = {2, 4}, .dilation = {2, 3}}},
      {{4, 8, 17, 9}, {16, 8, 3, 2}, {.stride = {3, 1}, .padding = {0, 1}}},
      {{4, 1, 28, 28}, {8, 1, 5, 5}, {.padding = {2, 2}}},
      {{16, 64, 1, 1}, {32, 64, 1, 1}, {}},
      {{1, 3, 5, 5}, {7, 3, 2, 2}, {}},
  };
  for (const Case& c : cases)
    for (const DType dtype : kCudnnTypes)
      for (const auto& [name, description] : described_targets()) {
        const Graph y = forward(c.x, c.w, c.attrs, dtype);
        expect_as_meant(y, read_target(name));
        const Shape out = y.type(y.nodes()[0].outputs[0]).shape;
        const Conv2dAttrs& a = c.attrs;
        Graph g;
        const Value dy = input(g, "dy", {DType::F32, out}), w = input(g, "w", {DType::F32, c.w}),
                    x = input(g, "x", {DType::F32, c.x});
        conv2d_grad_input(dy, w, {a.stride, a.padding, a.dilation, a.groups, c.x});
        conv2d_grad_weight(x, dy, {a.stride, a.padding, a.dilation, a.groups, c.w});
        for (const Node& n : g.nodes()) expect_as_meant(alone(g, n, dtype), read_target(name));
      }
}

// f32 means f32: what the heuristics like best rounds to TF32 and is taken when that is allowed only.
TEST_F(CudnnPlans, Tf32IsTakenWhenAllowedOnly) {
  for (const char* name : {"h200", "a100"}) {
    Target target = read_target(name);
    const Graph g = forward(kX, kW, {.padding = {1, 1}}, DType::F32);
    const Lowered exact = lower(g, target);
    target.allow_tf32 = true;
    Lowered rounded;
    expect_as_meant(g, target, &rounded);
    ASSERT_NE(exact.step, nullptr);
    EXPECT_FALSE(has(exact.record.plans.back().engine, CUDNN_NUMERICAL_NOTE_TENSOR_CORE));
    EXPECT_FALSE(has(exact.record.plans.back().engine, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
    EXPECT_TRUE(has(rounded.record.plans.back().engine, CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) << name;
    EXPECT_NE(exact.step->kernel, rounded.step->kernel);
  }
}

// As many plans as asked for, in the heuristics' order, none nondeterministic unless that is allowed.
TEST_F(CudnnPlans, NondeterministicEnginesAreForThoseWhoAllowThem) {
  const Target target = read_target("h200");
  cuda::CudnnConv c{.direction = cuda::ConvDirection::GradWeight,
                    .dtype = DType::F32,
                    .n = 32,
                    .c = 64,
                    .h = 56,
                    .w = 56,
                    .o = 64,
                    .kh = 3,
                    .kw = 3,
                    .oh = 56,
                    .ow = 56,
                    .padding = {1, 1}};
  c.allow_tf32 = true;
  const auto nondeterministic = [](const CudnnRecord& r) {
    return std::count_if(r.plans.begin(), r.plans.end(), [](const CudnnRecordedPlan& p) {
      return has(p.engine, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    });
  };
  const cuda::CudnnPlans strict = cuda::cudnn_plans(c, target, 1000);
  EXPECT_GT(strict.plans.size(), 1u) << strict.why;
  EXPECT_EQ(nondeterministic(taken()), 0);
  c.deterministic = false;
  const cuda::CudnnPlans any = cuda::cudnn_plans(c, target, 1000);
  EXPECT_GT(any.plans.size(), strict.plans.size());
  EXPECT_GT(nondeterministic(taken()), 0);
  // Asked for again, they come from memory.
  EXPECT_EQ(cuda::cudnn_plans(c, target, 1000).plans, any.plans);
  EXPECT_TRUE(taken().graphs.empty());
}

TEST_F(CudnnPlans, SizesThatCudnnDoesNotCount) {
  const Target target = read_target("h200");
  const auto why = [&](const Shape& x, const Shape& w, const Conv2dAttrs& a = {}) {
    const Lowered l = lower(forward(x, w, a, DType::F16), target);
    EXPECT_EQ(l.step, nullptr);
    EXPECT_TRUE(l.record.graphs.empty());
    return l.why;
  };
  EXPECT_NE(why({0, 8, 4, 4}, {8, 8, 3, 3}).find("empty"), std::string::npos);
  EXPECT_NE(why({2048, 64, 128, 128}, {8, 64, 1, 1}).find("32 bits"), std::string::npos);
  // One image less is below 2^31.
  expect_as_meant(forward({2047, 64, 128, 128}, {8, 64, 1, 1}, {}, DType::F16), target);
}

// cuDNN's complaint about a description it cannot use is the candidate's reason.
TEST_F(CudnnPlans, DescriptionThatCudnnRefuses) {
  Target target = read_target("h200");
  target.described = R"({"deviceVer": 900})";
  const Lowered l = lower(forward(kX, kW, {.padding = {1, 1}}, DType::F16), target);
  EXPECT_EQ(l.step, nullptr);
  EXPECT_NE(l.why.find("cuDNN refuses the description of"), std::string::npos) << l.why;
}

}  // namespace
}  // namespace ingot::test

#else
#include "gtest/gtest.h"

TEST(CudnnPlans, NeedsCudnn) {
  GTEST_SKIP() << "this build has no cuDNN to ask: it was configured without cudnn.h, cudnn_frontend.h, "
                  "libcudnn or nvcc";
}
#endif
