// What every layer declares: shapes, state-dict keys, initialisation, defaults, and the errors that name the
// layer and the line that calls it.
#include <cmath>

#include "core/ops/conv.h"
#include "core/ops/norm.h"
#include "core/ops/pool.h"
#include "core/ops/random.h"
#include "tests/layers/layer_run.h"

namespace ingot {
namespace {

using Keys = std::map<std::string, std::string>;

TensorType image(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  return {DType::F32, {n, c, h, w}};
}

Shape shape_after(Module& layer, const TensorType& type, bool training = false) {
  const Graph g = layer_graph(layer, type, training);
  return g.type(g.find_output("y")).shape;
}

// The attributes of the only node of that op.
template <class A>
A attrs_of(const Graph& g, std::string_view op) {
  for (const Node& n : g.nodes())
    if (n.op == op) return n.attrs.as<A>();
  ADD_FAILURE() << "no node " << op;
  return {};
}

// --- shapes and keys

TEST(LayerKeys, Conv2d) {
  Conv2d plain("conv1", 6, 8, {3, 5}, {.stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2});
  const Graph g = layer_graph(plain, image(4, 6, 9, 11));
  EXPECT_EQ(keys_of(g), (Keys{{"conv1.weight", "f32[8, 3, 3, 5]"}, {"conv1.bias", "f32[8]"}}));
  // floor((9 + 2 - 2 - 1) / 2) + 1 and floor((11 + 4 - 2 * 4 - 1) / 1) + 1
  EXPECT_EQ(g.type(g.find_output("y")).shape, Shape({4, 8, 5, 7}));
  Conv2d bare("c", 6, 8, 1, {.bias = false});
  EXPECT_EQ(keys_of(layer_graph(bare, image(4, 6, 9, 11))), (Keys{{"c.weight", "f32[8, 6, 1, 1]"}}));
}

TEST(LayerKeys, Linear) {
  Linear fc("fc", 5, 3);
  EXPECT_EQ(keys_of(layer_graph(fc, {DType::F32, {2, 5}})),
            (Keys{{"fc.weight", "f32[3, 5]"}, {"fc.bias", "f32[3]"}}));
  EXPECT_EQ(shape_after(fc, {DType::F32, {2, 5}}), Shape({2, 3}));
  EXPECT_EQ(shape_after(fc, {DType::F32, {2, 4, 5}}), Shape({2, 4, 3}));
  Linear bare("fc", 5, 3, {.bias = false});
  EXPECT_EQ(keys_of(layer_graph(bare, {DType::F32, {2, 5}})), (Keys{{"fc.weight", "f32[3, 5]"}}));
}

TEST(LayerKeys, BatchNormHasTheSameInBothModes) {
  BatchNorm2d bn("bn1", 7);
  const Keys keys{{"bn1.weight", "f32[7]"},
                  {"bn1.bias", "f32[7]"},
                  {"bn1.running_mean", "f32[7]"},
                  {"bn1.running_var", "f32[7]"},
                  {"bn1.num_batches_tracked", "i64[]"}};
  for (const bool training : {false, true}) {
    const Graph g = layer_graph(bn, image(2, 7, 3, 3), training);
    EXPECT_EQ(keys_of(g), keys);
    EXPECT_EQ(g.type(g.find_output("y")).shape, Shape({2, 7, 3, 3}));
    for (const State& s : g.states()) {
      const bool learnt = s.name == "bn1.weight" || s.name == "bn1.bias";
      EXPECT_EQ(s.role, learnt ? StateRole::Parameter : StateRole::Buffer) << s.name;
      EXPECT_EQ(s.trainable, learnt) << s.name;
    }
  }
  BatchNorm1d flat("bn", 4);
  EXPECT_EQ(shape_after(flat, {DType::F32, {3, 4}}, true), Shape({3, 4}));
}

TEST(LayerKeys, LayerNorm) {
  LayerNorm ln("ln", {4, 5});
  const Graph g = layer_graph(ln, {DType::F32, {2, 3, 4, 5}});
  EXPECT_EQ(keys_of(g), (Keys{{"ln.weight", "f32[4, 5]"}, {"ln.bias", "f32[4, 5]"}}));
  EXPECT_EQ(g.type(g.find_output("y")).shape, Shape({2, 3, 4, 5}));
}

TEST(LayerKeys, Embedding) {
  Embedding e("tokens", 10, 6);
  const Graph g = layer_graph(e, {DType::I64, {2, 3}});
  EXPECT_EQ(keys_of(g), (Keys{{"tokens.weight", "f32[10, 6]"}}));
  EXPECT_EQ(g.type(g.find_output("y")).shape, Shape({2, 3, 6}));
  EXPECT_EQ(shape_after(e, {DType::I32, {4}}), Shape({4, 6}));
}

TEST(LayerKeys, LayersWithoutParametersHaveNone) {
  MaxPool2d max(3, {.stride = Pair(2), .padding = 1});
  AvgPool2d avg({2, 3});
  AdaptiveAvgPool2d adaptive({2, 3});
  Flatten flatten;
  ReLU relu;
  Softmax softmax;
  const TensorType x = image(2, 3, 8, 9);
  for (Module* m :
       {static_cast<Module*>(&max), static_cast<Module*>(&avg), static_cast<Module*>(&adaptive),
        static_cast<Module*>(&flatten), static_cast<Module*>(&relu), static_cast<Module*>(&softmax)})
    EXPECT_TRUE(layer_graph(*m, x).states().empty());
  EXPECT_EQ(shape_after(max, x), Shape({2, 3, 4, 5}));  // floor((8 + 2 - 3) / 2) + 1
  EXPECT_EQ(shape_after(avg, x), Shape({2, 3, 4, 3}));
  EXPECT_EQ(shape_after(adaptive, x), Shape({2, 3, 2, 3}));
  EXPECT_EQ(shape_after(flatten, x), Shape({2, 216}));
  EXPECT_EQ(shape_after(relu, x), x.shape);
  EXPECT_EQ(shape_after(softmax, x), x.shape);
  Flatten from2(2), all(0);
  EXPECT_EQ(shape_after(from2, x), Shape({2, 3, 72}));
  EXPECT_EQ(shape_after(all, x), Shape({432}));
  MaxPool2d ceil(3, {.stride = Pair(2), .ceil_mode = true});
  EXPECT_EQ(shape_after(ceil, image(1, 1, 8, 8)), Shape({1, 1, 4, 4}));
  MaxPool2d floor(3, {.stride = Pair(2)});
  EXPECT_EQ(shape_after(floor, image(1, 1, 8, 8)), Shape({1, 1, 3, 3}));
}

TEST(LayerKeys, DropoutKeepsAGeneratorInTrainingOnly) {
  Dropout drop("drop", 0.25);
  EXPECT_EQ(keys_of(layer_graph(drop, image(2, 3, 4, 4), true)), (Keys{{"generator", "i64[2]"}}));
  EXPECT_TRUE(layer_graph(drop, image(2, 3, 4, 4), false).states().empty());
}

TEST(LayerKeys, StochasticDepthKeepsAGeneratorInTrainingOnly) {
  StochasticDepth drop(0.25);
  EXPECT_EQ(keys_of(layer_graph(drop, image(2, 3, 4, 4), true)), (Keys{{"generator", "i64[2]"}}));
  EXPECT_TRUE(layer_graph(drop, image(2, 3, 4, 4), false).states().empty());
}

// --- defaults, PyTorch's

TEST(LayerDefaults, ArePyTorchs) {
  Conv2d conv("c", 4, 4, 3);
  const auto c = attrs_of<Conv2dAttrs>(layer_graph(conv, image(1, 4, 5, 5)), "conv2d");
  EXPECT_EQ(c.stride, (std::array<std::int64_t, 2>{1, 1}));
  EXPECT_EQ(c.padding, (std::array<std::int64_t, 2>{0, 0}));
  EXPECT_EQ(c.dilation, (std::array<std::int64_t, 2>{1, 1}));
  EXPECT_EQ(c.groups, 1);
  EXPECT_TRUE(c.has_bias);

  BatchNorm2d bn("b", 4);
  const auto b = attrs_of<BatchNormAttrs>(layer_graph(bn, image(2, 4, 5, 5), true), "batch_norm");
  EXPECT_EQ(b.eps, 1e-5);
  EXPECT_EQ(b.momentum, 0.1);
  const auto bi = attrs_of<BatchNormInferAttrs>(layer_graph(bn, image(2, 4, 5, 5)), "batch_norm_infer");
  EXPECT_EQ(bi.eps, 1e-5);
  BatchNorm2d own("b", 4, {.eps = 1e-3, .momentum = 0.25});
  EXPECT_EQ(attrs_of<BatchNormAttrs>(layer_graph(own, image(2, 4, 5, 5), true), "batch_norm").momentum, 0.25);
  EXPECT_EQ(attrs_of<BatchNormInferAttrs>(layer_graph(own, image(2, 4, 5, 5)), "batch_norm_infer").eps, 1e-3);

  LayerNorm ln("l", {5});
  const auto l = attrs_of<LayerNormAttrs>(layer_graph(ln, {DType::F32, {2, 5}}), "layer_norm");
  EXPECT_EQ(l.eps, 1e-5);
  EXPECT_EQ(l.axis, 1);

  Dropout drop("d");
  EXPECT_EQ(attrs_of<DropoutAttrs>(layer_graph(drop, image(1, 1, 2, 2), true), "dropout").p, 0.5);

  MaxPool2d max({2, 3});
  const auto m = attrs_of<MaxPool2dAttrs>(layer_graph(max, image(1, 1, 6, 6)), "max_pool2d");
  EXPECT_EQ(m.kernel, (std::array<std::int64_t, 2>{2, 3}));
  EXPECT_EQ(m.stride, m.kernel) << "the stride is the kernel's size";
  EXPECT_EQ(m.padding, (std::array<std::int64_t, 2>{0, 0}));
  EXPECT_EQ(m.dilation, (std::array<std::int64_t, 2>{1, 1}));
  EXPECT_FALSE(m.ceil_mode);
  AvgPool2d avg({2, 3});
  const auto a = attrs_of<AvgPool2dAttrs>(layer_graph(avg, image(1, 1, 6, 6)), "avg_pool2d");
  EXPECT_EQ(a.stride, a.kernel);
  EXPECT_FALSE(a.ceil_mode);
  EXPECT_TRUE(a.count_include_pad);
}

// --- initialisation

struct Spread {
  double lowest = 1e300, highest = -1e300, mean = 0.0, stddev = 0.0;
};
Spread spread(const Tensor& t) {
  Spread s;
  const double n = static_cast<double>(t.numel());
  for (const float v : t.values<float>()) {
    s.lowest = std::min(s.lowest, static_cast<double>(v));
    s.highest = std::max(s.highest, static_cast<double>(v));
    s.mean += static_cast<double>(v) / n;
  }
  for (const float v : t.values<float>()) s.stddev += std::pow(static_cast<double>(v) - s.mean, 2.0) / n;
  s.stddev = std::sqrt(s.stddev);
  return s;
}

// U(-b, b): inside, close to both ends, and of standard deviation b / sqrt(3).
void expect_uniform(const Tensor& t, double b) {
  const Spread s = spread(t);
  EXPECT_GE(s.lowest, -b * 1.000001);
  EXPECT_LE(s.highest, b * 1.000001);
  EXPECT_LT(s.lowest, -0.9 * b);
  EXPECT_GT(s.highest, 0.9 * b);
  if (t.numel() < 1000) return;
  EXPECT_NEAR(s.mean, 0.0, 0.05 * b);
  EXPECT_NEAR(s.stddev, b / std::sqrt(3.0), 0.03 * b);
}

void expect_normal(const Tensor& t, double stddev) {
  const Spread s = spread(t);
  EXPECT_NEAR(s.mean, 0.0, 0.05 * stddev);
  EXPECT_NEAR(s.stddev, stddev, 0.04 * stddev);
  EXPECT_LT(s.lowest, -2.5 * stddev);
  EXPECT_GT(s.highest, 2.5 * stddev);
}

// torch.nn.Conv2d and Linear: kaiming_uniform_(weight, a = sqrt(5)) is U(-1 / sqrt(fan_in), 1 /
// sqrt(fan_in)), and so is the bias.
TEST(LayerInit, Conv2dAndLinear) {
  Conv2d conv("conv", 16, 128, {3, 5});
  LayerRun c(conv, image(1, 16, 6, 6));
  const double conv_bound = 1.0 / std::sqrt(16.0 * 15.0);
  expect_uniform(c.state("conv.weight"), conv_bound);
  expect_uniform(c.state("conv.bias"), conv_bound);
  Conv2d grouped("conv", 16, 128, 3, {.groups = 4});
  LayerRun d(grouped, image(1, 16, 6, 6));
  const double grouped_bound = 1.0 / std::sqrt(4.0 * 9.0);
  expect_uniform(d.state("conv.weight"), grouped_bound);
  expect_uniform(d.state("conv.bias"), grouped_bound);
  Linear fc("fc", 25, 160);
  LayerRun l(fc, {DType::F32, {2, 25}});
  expect_uniform(l.state("fc.weight"), 0.2);
  expect_uniform(l.state("fc.bias"), 0.2);
}

TEST(LayerInit, ChosenWeights) {
  // He et al.: N(0, sqrt(2 / fan_out)).
  Conv2d conv("conv", 16, 32, {3, 5}, {.weight_init = kaiming_normal_fan_out(32, {3, 5})});
  LayerRun c(conv, image(1, 16, 6, 6));
  expect_normal(c.state("conv.weight"), std::sqrt(2.0 / (32.0 * 15.0)));
  Conv2d still("conv", 2, 3, 1, {.bias_init = Init::constant(0.5)});
  expect_near(LayerRun(still, image(1, 2, 2, 2)).state("conv.bias"), {0.5, 0.5, 0.5}, 0.0);
  Linear fc("fc", 40, 100, {.weight_init = Init::normal(0.0, 0.01), .bias_init = Init::uniform(-2.0, 2.0)});
  LayerRun l(fc, {DType::F32, {1, 40}});
  expect_normal(l.state("fc.weight"), 0.01);
  expect_uniform(l.state("fc.bias"), 2.0);
  Embedding e("e", 100, 40);
  expect_normal(LayerRun(e, {DType::I64, {1}}).state("e.weight"), 1.0);
  BatchNorm2d bn("bn", 3, {.weight_init = 0.0});
  expect_near(LayerRun(bn, image(1, 3, 2, 2)).state("bn.weight"), {0, 0, 0}, 0.0);
}

TEST(LayerInit, Norms) {
  BatchNorm2d bn("bn", 2);
  LayerRun b(bn, image(1, 2, 2, 2));
  expect_near(b.state("bn.weight"), {1, 1}, 0.0);
  expect_near(b.state("bn.bias"), {0, 0}, 0.0);
  expect_near(b.state("bn.running_mean"), {0, 0}, 0.0);
  expect_near(b.state("bn.running_var"), {1, 1}, 0.0);
  expect_near(b.state("bn.num_batches_tracked"), {0}, 0.0);
  LayerNorm ln("ln", {2});
  LayerRun l(ln, {DType::F32, {1, 2}});
  expect_near(l.state("ln.weight"), {1, 1}, 0.0);
  expect_near(l.state("ln.bias"), {0, 0}, 0.0);
}

// The bits depend on the seed and the parameter's name, not on what was built before it.
TEST(LayerInit, IsDecidedBySeedAndName) {
  Linear a("a", 8, 8), b("b", 8, 8);
  Sequential both("");
  both.add<Linear>("b", 8, 8).add<Linear>("a", 8, 8);
  const TensorType x{DType::F32, {1, 8}};
  const Tensor alone = LayerRun(a, x, false, 5).state("a.weight");
  EXPECT_TRUE(bitwise_equal(alone, LayerRun(a, x, true, 5).state("a.weight")));
  EXPECT_TRUE(bitwise_equal(alone, LayerRun(both, x, false, 5).state("a.weight")));
  EXPECT_FALSE(bitwise_equal(alone, LayerRun(a, x, false, 6).state("a.weight")));
  EXPECT_FALSE(bitwise_equal(alone, LayerRun(b, x, false, 5).state("b.weight")));
}

// --- errors

TEST(LayerErrors, NameTheLayerAndTheLine) {
  Graph g;
  const Value x = input(g, "x", image(2, 4, 8, 8)), flat = input(g, "flat", {DType::F32, {2, 7}});
  const Value row = input(g, "row", {DType::F32, {7}}), whole = input(g, "whole", {DType::I64, {2, 4, 8, 8}});
  Conv2d conv("conv1", 3, 8, 3);
  EXPECT_REFUSED(ShapeError, HERE(conv(x)), "conv1", "3 input channels", "has 4");
  EXPECT_REFUSED(ShapeError, HERE(conv(flat)), "conv1", "rank 4", "[2, 7]");
  EXPECT_REFUSED(ShapeError, HERE(conv(whole)), "conv1", "floating", "i64");
  Conv2d wide("wide", 4, 8, 9);
  EXPECT_REFUSED(ShapeError, HERE(wide(x)), "wide", "spans 9 pixels");
  Conv2d still("still", 4, 8, 3, {.stride = 0});
  EXPECT_REFUSED(UsageError, HERE(still(x)), "still", "stride", "(0, 0)");
  Linear fc("fc", 6, 2);
  EXPECT_REFUSED(ShapeError, HERE(fc(flat)), "fc", "[2, 7]", "[2, 6]");
  EXPECT_REFUSED(ShapeError, HERE(fc(row)), "fc", "2 or more dimensions");
  BatchNorm2d bn("bn1", 3);
  EXPECT_REFUSED(ShapeError, HERE(bn(x)), "bn1", "[4]", "[3]");
  EXPECT_REFUSED(ShapeError, HERE(bn(row)), "bn1", "[N, C]");
  LayerNorm ln("ln", {8, 9});
  EXPECT_REFUSED(ShapeError, HERE(ln(x)), "'ln'", "[8, 9]", "[2, 4, 8, 8]");
  EXPECT_REFUSED(ShapeError, HERE(ln(row)), "'ln'", "[8, 9]", "[7]");
  Embedding e("tokens", 10, 4);
  EXPECT_REFUSED(ShapeError, HERE(e(flat)), "tokens", "i32 or i64", "f32");
  MaxPool2d max(9);
  EXPECT_REFUSED(ShapeError, HERE(max(x)), "max_pool2d", "spans 9 pixels");
  EXPECT_REFUSED(ShapeError, HERE(max(flat)), "max_pool2d", "rank 4");
  MaxPool2d padded(2, {.padding = 2});
  EXPECT_REFUSED(UsageError, HERE(padded(x)), "max_pool2d", "padding", "half the window");
  AvgPool2d avg(0);
  EXPECT_REFUSED(UsageError, HERE(avg(x)), "avg_pool2d", "1 or more");
  AdaptiveAvgPool2d adaptive(0);
  EXPECT_REFUSED(UsageError, HERE(adaptive(x)), "adaptive_avg_pool2d");
  EXPECT_REFUSED(ShapeError, HERE(adaptive(flat)), "adaptive_avg_pool2d", "rank 4");
  Flatten flatten(2);
  EXPECT_REFUSED(ShapeError, HERE(flatten(flat)), "axis 2", "[2, 7]");
  Softmax softmax(5);
  EXPECT_REFUSED(ShapeError, HERE(softmax(x)), "softmax", "axis 5");
  GELU gelu;
  EXPECT_REFUSED(ShapeError, HERE(gelu(whole)), "gelu", "i64");
  g.build.training = true;
  Dropout drop("drop1", 0.5);
  EXPECT_REFUSED(ShapeError, HERE(drop(whole)), "drop1", "floating");
  StochasticDepth depth(0.5);
  EXPECT_REFUSED(ShapeError, HERE(depth(whole)), "floating");
}

// A second layer of the same name must ask for the same shape.
TEST(LayerErrors, TwoLayersOfOneNameMustAgree) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 6}});
  Linear first("fc", 6, 4), second("fc", 6, 5);
  first(x);
  EXPECT_REFUSED(ShapeError, HERE(second(x)), "fc.weight", "f32[4, 6]", "f32[5, 6]");
}

TEST(LayerErrors, ConstructorsRefuseBadArguments) {
  EXPECT_TRUE(
      says(message_of<UsageError>([] { Conv2d("conv1", 0, 8, 3); }), "conv1", "in_channels", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Conv2d("conv1", 3, -8, 3); }), "conv1", "out_channels", "-8"));
  EXPECT_TRUE(says(message_of<UsageError>([] {
                     Conv2d("conv1", 3, 8, {3, 0});
                   }),
                   "conv1", "kernel", "got 0"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { Conv2d("conv1", 4, 8, 3, {.groups = 0}); }), "conv1", "groups", "0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Conv2d("conv1", 4, 9, 3, {.groups = 2}); }), "conv1",
                   "out_channels 9", "groups 2"));
  for (const double p : {-0.1, 1.5, std::nan("")})
    EXPECT_TRUE(says(message_of<UsageError>([&] { StochasticDepth depth(p); }), "StochasticDepth", "[0, 1]"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Linear("fc", 0, 8); }), "fc", "in_features", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Linear("fc", 8, 0); }), "fc", "out_features", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { BatchNorm2d("bn1", 0); }), "bn1", "num_features", "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Embedding("tokens", 0, 8); }), "tokens", "num_embeddings"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Embedding("tokens", 8, 0); }), "tokens", "embedding_dim"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Dropout("drop", -0.1); }), "drop", "[0, 1]", "-0.1"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Dropout("drop", 1.5); }), "drop", "[0, 1]", "1.5"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Dropout("drop", std::nan("")); }), "drop", "[0, 1]"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Activation("reul"); }), "reul", "scalar_ops.def"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Activation("add"); }), "add", "one argument"));
}

}  // namespace
}  // namespace ingot
