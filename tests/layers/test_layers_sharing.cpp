// Names, nesting and sharing: what a module is called, and what happens when it is called twice.
#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "tests/layers/layer_run.h"

namespace ingot {
namespace {

std::vector<std::string> names_of(const Graph& g) {
  std::vector<std::string> out;
  for (const State& s : g.states()) out.push_back(s.name);
  return out;
}

struct Block : Module {
  explicit Block(std::string name) : Module(std::move(name)) {}
  Linear fc{"fc", 4, 4};

 protected:
  Value forward(Value x) override { return relu(fc(x)); }
};

struct Net : Module {
  Block first{"layer1"}, second{"layer2"};
  Linear head{"head", 4, 2, {.bias = false}};

 protected:
  Value forward(Value x) override { return head(second(first(x))); }
};

TEST(Modules, NamesJoinAlongThePath) {
  Net net;
  EXPECT_EQ(names_of(layer_graph(net, {DType::F32, {1, 4}})),
            (std::vector<std::string>{"layer1.fc.weight", "layer1.fc.bias", "layer2.fc.weight",
                                      "layer2.fc.bias", "head.weight"}));
}

// torch.nn.Sequential: children are called by their position, those without parameters included.
TEST(Modules, SequentialNumbersItsChildren) {
  Sequential inner, net("features");
  net.add<Linear>("", 4, 4).add<ReLU>().add<Linear>("head", 4, 2);
  net.add<Block>("").add(std::make_shared<Linear>("", 4, 2));
  EXPECT_EQ(net.size(), 5u);
  Sequential fits("features");
  fits.add<Linear>("", 4, 4).add<ReLU>().add<Linear>("head", 4, 4).add<Block>("");
  auto nested = std::make_shared<Sequential>();
  nested->add<Linear>("", 4, 4);
  fits.add(nested);
  EXPECT_EQ(names_of(layer_graph(fits, {DType::F32, {1, 4}})),
            (std::vector<std::string>{"features.0.weight", "features.0.bias", "features.head.weight",
                                      "features.head.bias", "features.3.fc.weight", "features.3.fc.bias",
                                      "features.4.0.weight", "features.4.0.bias"}));
  EXPECT_THROW(fits.add(nullptr), UsageError);
}

TEST(Modules, SequentialRunsInOrder) {
  Sequential net("net");
  net.add<Linear>("", 3, 3).add<ReLU>().add<Linear>("", 3, 2);
  const Tensor x = formula::unit("x", {2, 3});
  LayerRun run(net, x.type());
  const Tensor y = run.with_formula()(x);
  std::vector<double> want;
  for (std::int64_t n = 0; n < 2; ++n) {
    double h[3];
    for (std::int64_t o = 0; o < 3; ++o) {
      h[o] = run.state("net.0.bias").get(o);
      for (std::int64_t i = 0; i < 3; ++i)
        h[o] += x.get(n * 3 + i) * run.state("net.0.weight").get(o * 3 + i);
      h[o] = std::max(h[o], 0.0);
    }
    for (std::int64_t o = 0; o < 2; ++o) {
      double sum = run.state("net.2.bias").get(o);
      for (std::int64_t i = 0; i < 3; ++i) sum += h[i] * run.state("net.2.weight").get(o * 3 + i);
      want.push_back(sum);
    }
  }
  expect_near(y, want);
}

// Nodes and errors point to the line that added the layer, also when the Sequential itself was made where no
// user's line is known (std::make_shared).
TEST(Modules, LayersOfASequentialPointToTheLineThatAddedThem) {
  const TensorType x{DType::F32, {1, 4}};
  const auto net = std::make_shared<Sequential>("net"), inner = std::make_shared<Sequential>("inner");
  std::uint32_t line = 0;
  net->add<Linear>("first", 4, 4), line = __LINE__;
  net->add<ReLU>();
  net->add(inner);
  const Graph fits = layer_graph(*net, x);
  EXPECT_EQ(fits.node(fits.value(fits.find_output("y")).producer).loc.line, line + 1) << "the ReLU";
  EXPECT_EQ(to_string(fits.nodes().front().loc), cat("test_layers_sharing.cpp:", line));

  const auto expect_place = [&](const char* node, std::uint32_t where) {
    EXPECT_TRUE(
        says(message_of<Error>([&] { layer_graph(*net, x); }), node, cat("test_layers_sharing.cpp:", where)));
  };
  inner->add(std::make_shared<Linear>("fc", 5, 2)), line = __LINE__;
  expect_place("net.inner.fc", line);
  const auto flat = std::make_shared<Sequential>("net");
  flat->add<MaxPool2d>(2), line = __LINE__;
  EXPECT_TRUE(says(message_of<Error>([&] { layer_graph(*flat, x); }), "net.0.max_pool2d",
                   cat("test_layers_sharing.cpp:", line)));
}

// A layer made of layers: all nodes carry the line of the outer call.
TEST(Modules, NodesOfALayerPointToTheOuterCall) {
  struct Twice : Layer {
    explicit Twice(std::string name) : Layer(std::move(name)) {}
    Linear fc{"fc", 4, 4};

   protected:
    Value forward(Value x) override {
      x = fc(x);
      return relu(fc(x));
    }
  };
  Twice twice("twice");
  Graph g;
  const Value x = input(g, "x", {DType::F32, {1, 4}});
  const std::uint32_t line = __LINE__ + 1;
  twice(x);
  ASSERT_EQ(g.nodes().size(), 3u);
  for (const Node& n : g.nodes()) {
    EXPECT_EQ(n.loc.line, line) << n.name;
    EXPECT_TRUE(n.name.starts_with("twice")) << n.name;
  }
}

TEST(Sharing, ALayerCalledTwiceHasOneSetOfParameters) {
  Linear fc("fc", 3, 3);
  const TensorType type{DType::F32, {2, 3}};
  Graph g;
  const Value x = input(g, "x", type);
  output("y", fc(fc(x)));
  EXPECT_EQ(keys_of(g),
            (std::map<std::string, std::string>{{"fc.weight", "f32[3, 3]"}, {"fc.bias", "f32[3]"}}));

  // The gradient collects both uses: with y = W (W x), dL/dW against a difference quotient.
  Graph t;
  const Value in = input(t, "x", type), loss = sum(square(fc(fc(in))));
  const Value w(t, t.find_state("fc.weight")->value), params[] = {w};
  output("y", loss);
  output("dw", differentiate(t, loss, params).at(0));
  LayerRun run(t);
  const Tensor data = formula::unit("x", {2, 3});
  run.with_formula()(data);
  const Tensor dw = run.session().output("dw").clone(), base = run.state("fc.weight");
  for (std::int64_t i = 0; i < 9; ++i) {
    double side[2];
    for (const int s : {0, 1}) {
      const Tensor moved = base.clone();
      moved.set(i, base.get(i) + (s == 0 ? -1e-2 : 1e-2));
      run.session().set_state("fc.weight", moved);
      side[s] = run(data).item();
    }
    EXPECT_NEAR(dw.get(i), (side[1] - side[0]) / 2e-2, 2e-3) << i;
  }
}

// As in PyTorch: the running statistics follow first one batch, then the other.
TEST(Sharing, BatchNormCalledTwiceRemembersBothBatches) {
  BatchNorm2d bn("bn", 2, {.momentum = 0.5});
  const TensorType type{DType::F32, {4, 2}};
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", type);
  output("y", bn(x));
  output("second", bn(x * 2.0 + 3.0));
  LayerRun run(g);
  const Tensor data = formula::unit("x", {4, 2});
  run(data);
  std::vector<double> mean, var;
  for (std::int64_t c = 0; c < 2; ++c) {
    double m = 0.0, v = 0.0;
    for (std::int64_t n = 0; n < 4; ++n) m += data.get(n * 2 + c) / 4.0;
    for (std::int64_t n = 0; n < 4; ++n) v += std::pow(data.get(n * 2 + c) - m, 2.0) / 3.0;
    mean.push_back(0.5 * (0.5 * m) + 0.5 * (2.0 * m + 3.0));
    var.push_back(0.5 * (0.5 + 0.5 * v) + 0.5 * (4.0 * v));
  }
  expect_near(run.state("bn.running_mean"), mean, 1e-6);
  expect_near(run.state("bn.running_var"), var, 1e-6);
  EXPECT_EQ(run.state("bn.num_batches_tracked").get(0), 2.0);
}

}  // namespace
}  // namespace ingot
