// The CPU backend's dispatch: candidates, the reference as the last one, layout rules, memory.
#include <gtest/gtest.h>

#include <cstring>

#include "core/op/builder.h"
#include "core/ops/conv.h"
#include "core/ops/fused_many.h"
#include "core/runtime/backend.h"
#include "core/runtime/lowering.h"

namespace ingot {
namespace {

// An op defined outside the library: it has a reference and no lowering.
void twice_reference(const RefArgs& a) {
  for (std::int64_t i = 0; i < a.inputs[0].numel(); ++i) a.outputs[0].set(i, 2 * a.inputs[0].get(i));
}

const OpDef& twice() {
  static const OpDef& def = [&]() -> const OpDef& {
    OpDef d;
    d.name = "test_twice";
    d.infer = [](const InferArgs& a) { return std::vector<TensorType>{{a.dtype(0), a.shape(0)}}; };
    d.not_differentiable = "a test needs no gradient";
    d.reference = twice_reference;
    Registry::instance().add(d);
    OpDef lost = d;
    lost.name = "test_lost";
    lost.reference = nullptr;
    Registry::instance().add(lost);
    return op("test_twice");
  }();
  return def;
}

struct OneNode {
  Graph graph;
  OneNode(std::string_view name, const TensorType& type) {
    twice();
    apply1(name, {input(graph, "x", type)});
  }
  const Node& node() const { return graph.nodes().at(0); }
};

TEST(CpuBackend, RunsAnOpThatOnlyHasAReference) {
  const Backend& cpu = backend("cpu");
  for (const DType d : {DType::F32, DType::F64, DType::F16, DType::BF16}) {
    const TensorType type{d, {3, 5}};
    const OneNode g("test_twice", type);
    const auto step = cpu.lower(g.graph, g.node(), Target::cpu(1));
    EXPECT_EQ(step->kernel, "reference");
    const Tensor x = Tensor::full(type, 1.5), y = Tensor::zeros(type);
    const auto workspace = cpu.allocate(step->workspace_bytes);
    void* in[] = {x.raw()};
    void* out[] = {y.raw()};
    const auto bound = step->bind({in, out, workspace.get(), nullptr});
    bound->run();
    for (std::int64_t i = 0; i < y.numel(); ++i) EXPECT_EQ(y.get(i), 3.0) << name(d);
  }
}

TEST(CpuBackend, SaysWhyItRefuses) {
  const Backend& cpu = backend("cpu");
  const OneNode lost("test_lost", {DType::F32, {2}});
  const auto why = cpu.refuses(lost.graph, lost.node());
  ASSERT_TRUE(why.has_value());
  EXPECT_NE(why->find("'test_lost'"), std::string::npos) << *why;
  try {
    cpu.lower(lost.graph, lost.node(), Target::cpu(1));
    FAIL() << "lowered an op without any kernel";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("test_backend.cpp"), std::string::npos) << e.what();
  }
  const OneNode fine("test_twice", {DType::F32, {2}});
  EXPECT_FALSE(cpu.refuses(fine.graph, fine.node()).has_value());
  // The reference reads row-major memory, so the layout pass must be told so.
  const OneNode nhwc("test_twice", {DType::F32, {2, 3, 4, 5}, Layout::channels_last(4)});
  EXPECT_TRUE(cpu.refuses(nhwc.graph, nhwc.node()).has_value());
  const auto l = cpu.layouts(nhwc.graph, nhwc.node(), {false}, Target::cpu(1));
  EXPECT_TRUE(l.inputs.at(0).is_row_major());
  EXPECT_TRUE(l.outputs.at(0).is_row_major());
}

// Joined with others, small tensors share a step; a large one is worth a step, and a team of threads.
TEST(CpuBackend, JoinsSmallNodesAlone) {
  ScalarExpr tape({DType::F32});
  tape.add_output(tape.emit_cast(0, DType::BF16));
  for (const std::int64_t n : {1, 4096, 1 << 20}) {
    Graph g;
    apply1("fused_many", {input(g, "x", {DType::F32, {n}})}, FusedManyAttrs{1, 0, tape});
    EXPECT_EQ(backend("cpu").accelerates(g, g.nodes().at(0), Target::cpu(2)), n <= 4096) << n;
  }
}

// An activation is worth fusing where it does not cost the convolution its kernel.
TEST(CpuBackend, ConvolutionsTakeActivationsAlong) {
  const auto along = [](const Shape& x, const Shape& w, Conv2dAttrs a, const char* activation) {
    Graph g;
    a.activation = activation;
    conv2d(input(g, "x", {DType::F32, x}), input(g, "w", {DType::F32, w}), a);
    return backend("cpu").accelerates(g, g.nodes().at(0), Target::cpu(2));
  };
  const Conv2dAttrs depthwise{.padding = {1, 1}, .groups = 32}, dense{.padding = {1, 1}};
  for (const char* activation : {"relu6", "silu", "hard_swish"}) {
    EXPECT_TRUE(along({2, 32, 14, 14}, {32, 1, 3, 3}, depthwise, activation)) << activation;
    EXPECT_TRUE(along({2, 32, 14, 14}, {64, 32, 1, 1}, {}, activation)) << activation;
    // Winograd's method, and the kernel for few channels.
    EXPECT_FALSE(along({2, 64, 28, 28}, {64, 64, 3, 3}, dense, activation)) << activation;
    EXPECT_FALSE(along({2, 1, 28, 28}, {6, 1, 3, 3}, dense, activation)) << activation;
  }
  EXPECT_FALSE(along({2, 32, 14, 14}, {64, 32, 1, 1}, {}, "mish"));
}

TEST(CpuBackend, AllocatesAlignedMemory) {
  const Backend& cpu = backend("cpu");
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{1000}}) {
    const auto p = cpu.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.get()) % 64, 0u);
  }
  EXPECT_THROW(cpu.allocate(~std::size_t{0}), DeviceError);
}

TEST(Backend, UnknownNamesListWhatThereIs) {
  try {
    backend("tpu");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("cpu"), std::string::npos) << e.what();
  }
  try {  // only some builds have it
    EXPECT_EQ(backend("cuda").name(), "cuda");
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("it has: cpu"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("INGOT_CUDA=ON"), std::string::npos) << e.what();
  }
}

TEST(Target, DescribesThisMachine) {
  const Target all = Target::cpu(), three = Target::cpu(3);
  EXPECT_GE(all.threads, 1);
  EXPECT_EQ(three.threads, 3);
  EXPECT_NE(three.name.find("3 threads"), std::string::npos) << three.name;
  EXPECT_GT(all.memory_bytes, std::size_t{1} << 20);
  EXPECT_THROW(Target::cpu(-1), UsageError);
}

TEST(LayoutRules, ElementwiseOperandsShareOneLayout) {
  const Layout nhwc = Layout::channels_last(4);
  Graph g;
  const ValueId a = g.add_input("a", {DType::F32, {2, 3, 4, 5}});
  const ValueId b = g.add_input("b", {DType::F32, {2, 3, 4, 5}, nhwc});
  const ValueId bias = g.add_input("bias", {DType::F32, {3, 1, 1}});
  Node node;
  node.op = "fused";
  node.inputs = {a, b, bias};
  const TensorType out{DType::F32, {2, 3, 4, 5}};
  const NodeId id = g.add_node(node, std::vector<TensorType>{out, out});
  const Target target;
  const auto l = elementwise_layouts({g, g.node(id), target}, {});
  EXPECT_EQ(l.inputs, (std::vector<Layout>{nhwc, nhwc, {}}));
  EXPECT_EQ(l.outputs, (std::vector<Layout>{nhwc, nhwc}));
}

TEST(LayoutRules, PaddedBlocksAreNotSpread) {
  Layout blocked = Layout::channels_last(4);
  blocked.num_blocks = 1;
  blocked.blocks[0] = {1, 16};
  Graph g;
  const ValueId a = g.add_input("a", {DType::F32, {2, 3, 4, 5}, blocked});
  Node node;
  node.op = "exp";
  node.inputs = {a};
  const NodeId id = g.add_node(node, std::vector<TensorType>{{DType::F32, {2, 3, 4, 5}}});
  const Target target;
  const auto l = elementwise_layouts({g, g.node(id), target}, {});
  EXPECT_TRUE(l.inputs.at(0).is_row_major());
  EXPECT_TRUE(l.outputs.at(0).is_row_major());
}

}  // namespace
}  // namespace ingot
