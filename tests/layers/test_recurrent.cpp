// RNN, LSTM and GRU: values, last states and all gradients against PyTorch's
// (tests/golden/op_recurrent.json), by the references in f64 and as a program in f32; state-dict keys; what
// the layers refuse.
#include "layers/recurrent.h"

#include <cmath>
#include <memory>

#include "core/autodiff/differentiate.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "core/runtime/interpreter.h"
#include "optim/optimizer.h"
#include "tests/layers/layer_run.h"
#include "tests/support/golden.h"

namespace ingot {
namespace {

std::unique_ptr<RecurrentLayer> layer_of(const golden::OpCase& c) {
  const RecurrentLayerOptions o{.num_layers = c.attrs.integer("num_layers"),
                                .bias = c.attrs.flag("bias"),
                                .bidirectional = c.attrs.flag("bidirectional")};
  const std::int64_t in = c.inputs[0].shape()[2], hidden = c.attrs.integer("hidden");
  if (c.op == "lstm") return std::make_unique<LSTM>("net", in, hidden, o);
  if (c.op == "gru") return std::make_unique<GRU>("net", in, hidden, o);
  const std::string& nonlinearity = c.attrs.text("nonlinearity");
  return std::make_unique<RNN>("net", in, hidden, o, nonlinearity.empty() ? "tanh" : nonlinearity);
}

// A golden case as a graph: outputs y0, y1, ... and the gradients g0, g1, ... of its inputs, in their order.
struct Case {
  Graph graph;
  NamedTensors feeds, states;

  explicit Case(const golden::OpCase& c) {
    std::size_t next = 0;
    std::vector<Value> wrt;
    const auto given = [&](DType dtype) {
      const std::string name = cat("in", next);
      const Tensor& t = c.inputs[next++];
      feeds[name] = is_floating(dtype) ? t : t.to(dtype);
      return input(graph, name, {dtype, t.shape()});
    };
    wrt.push_back(given(DType::F32));
    RecurrentLayer::Start start;
    if (c.attrs.flag("states")) {
      wrt.push_back(start.h0 = given(DType::F32));
      if (c.op == "lstm") wrt.push_back(start.c0 = given(DType::F32));
    }
    const std::size_t parameters = next;
    if (c.attrs.flag("lengths")) {
      next = c.inputs.size() - 1;
      start.lengths = given(DType::I32);
    }
    const RecurrentLayer::Result r = layer_of(c)->unroll(wrt[0], start);
    next = parameters;
    for (const State& s : graph.states()) {
      states[s.name] = c.inputs[next++];
      wrt.emplace_back(graph, s.value);
    }
    Value loss;
    std::size_t k = 0;
    for (const Value& v : {r.y, r.h_n, r.c_n}) {
      if (!v.defined()) continue;
      output(cat("y", k), v);
      feeds[cat("w", k)] = c.cotangents[k];
      const Value term = sum(mul(v, input(graph, cat("w", k), v.type())));
      loss = loss.defined() ? add(loss, term) : term;
      ++k;
    }
    const auto grads = differentiate(graph, loss, wrt);
    for (std::size_t i = 0; i < grads.size(); ++i) output(cat("g", i), grads[i]);
  }
};

void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  ASSERT_EQ(to_string(got.shape()), to_string(want.shape())) << what;
  for (std::int64_t i = 0; i < want.numel(); ++i)
    ASSERT_NEAR(got.get(i), want.get(i), tolerance * std::max(1.0, std::abs(want.get(i))))
        << what << ", element " << i;
}

// `result("y0")` gives what came out under that name.
template <class Result>
void expect_golden(const golden::OpCase& c, double tolerance, const Result& result) {
  for (std::size_t k = 0; k < c.outputs.size(); ++k)
    expect_close(result(cat("y", k)), c.outputs[k], tolerance, cat(c.title(), ": output ", k));
  for (std::size_t i = 0; i < c.grads.size(); ++i)
    if (c.grads[i].defined())
      expect_close(result(cat("g", i)), c.grads[i], tolerance, cat(c.title(), ": gradient of input ", i));
}

TEST(RecurrentLayers, MatchPyTorchInF64) {
  for (const golden::OpCase& c : golden::op_cases("recurrent")) {
    const Case made(c);
    const Evaluated r = evaluate(made.graph, made.feeds, made.states, {.as_f64 = true});
    expect_golden(c, 1e-10, [&](const std::string& name) { return r.outputs.at(name); });
  }
}

TEST(RecurrentLayers, MatchPyTorchAsPrograms) {
  for (const golden::OpCase& c : golden::op_cases("recurrent")) {
    const Case made(c);
    Session s(compile(made.graph, {.target = Target::cpu(2)}), {.seed = 1});
    for (const auto& [name, t] : made.states) s.set_state(name, t.to(DType::F32));
    for (const auto& [name, t] : made.feeds)
      s.input(name).copy_from(is_floating(t.dtype()) ? t.to(DType::F32) : t);
    s.run();
    expect_golden(c, 1e-5, [&](const std::string& name) { return s.output(name); });
  }
}

TEST(RecurrentLayers, KeysArePyTorchs) {
  Graph g;
  LSTM("lstm", 5, 3, {.num_layers = 2, .bidirectional = true})(input(g, "x", {DType::F32, {2, 4, 5}}));
  std::map<std::string, std::string> want;
  for (const std::string side : {"", "_reverse"}) {
    want["lstm.weight_ih_l0" + side] = "f32[12, 5]";
    want["lstm.weight_ih_l1" + side] = "f32[12, 6]";
    for (const std::string layer : {"l0", "l1"}) {
      want["lstm.weight_hh_" + layer + side] = "f32[12, 3]";
      want["lstm.bias_ih_" + layer + side] = want["lstm.bias_hh_" + layer + side] = "f32[12]";
    }
  }
  EXPECT_EQ(keys_of(g), want);
  Graph bare;
  GRU("gru", 5, 3, {.bias = false})(input(bare, "x", {DType::F32, {2, 4, 5}}));
  EXPECT_EQ(keys_of(bare), (std::map<std::string, std::string>{{"gru.weight_hh_l0", "f32[9, 3]"},
                                                               {"gru.weight_ih_l0", "f32[9, 5]"}}));
}

TEST(RecurrentLayers, StartWithinPyTorchsRange) {
  GRU gru("gru", 3, 16);
  LayerRun run(gru, {DType::F32, {1, 1, 3}});
  double most = 0.0;
  for (const char* key : {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}) {
    const Tensor t = run.state(cat("gru.", key));
    for (std::int64_t i = 0; i < t.numel(); ++i) most = std::max(most, std::abs(t.get(i)));
  }
  EXPECT_LE(most, 0.25);
  EXPECT_GT(most, 0.24);
}

TEST(RecurrentLayers, BatchFirstIsATranspose) {
  LSTM plain("net", 3, 4, {.bidirectional = true}),
      first("net", 3, 4, {.batch_first = true, .bidirectional = true});
  LayerRun a(plain, {DType::F32, {5, 2, 3}}), b(first, {DType::F32, {2, 5, 3}});
  const Tensor x = formula::unit("x", {5, 2, 3});
  Tensor turned(TensorType{DType::F32, {2, 5, 3}});
  const auto place = [](std::int64_t t, std::int64_t n, std::int64_t k, std::int64_t width, bool by_batch) {
    return (by_batch ? n * 5 + t : t * 2 + n) * width + k;
  };
  for (std::int64_t t = 0; t < 5; ++t)
    for (std::int64_t n = 0; n < 2; ++n)
      for (std::int64_t k = 0; k < 3; ++k)
        turned.set(place(t, n, k, 3, true), x.get(place(t, n, k, 3, false)));
  const Tensor y = a(x), z = b(turned);
  ASSERT_EQ(to_string(z.shape()), "[2, 5, 8]");
  for (std::int64_t t = 0; t < 5; ++t)
    for (std::int64_t n = 0; n < 2; ++n)
      for (std::int64_t k = 0; k < 8; ++k)
        ASSERT_FLOAT_EQ(static_cast<float>(z.get(place(t, n, k, 8, true))),
                        static_cast<float>(y.get(place(t, n, k, 8, false))));
}

// Between the layers, not behind the last: zeros appear in what the second one reads only.
TEST(RecurrentLayers, DropoutComesBetweenLayers) {
  RNN net("net", 3, 8, {.num_layers = 2, .dropout = 0.5});
  const auto dropouts = [&](bool training) {
    const Graph g = layer_graph(net, {DType::F32, {4, 2, 3}}, training);
    int count = 0;
    for (const Node& n : g.nodes()) count += n.op == "dropout" ? 1 : 0;
    return count;
  };
  EXPECT_EQ(dropouts(true), 1);
  EXPECT_EQ(dropouts(false), 0);
}

// Which of two symbols came first, after seven steps of another: needs a memory.
TEST(RecurrentLayers, LearnToRemember) {
  constexpr std::int64_t kSteps = 8, kRows = 8;
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", {DType::F32, {kSteps, kRows, 2}}),
              labels = input(g, "labels", {DType::I64, {kRows}});
  const RecurrentLayer::Result r = LSTM("lstm", 2, 8).unroll(x);
  const Value loss = cross_entropy(Linear("head", 8, 2)(reshape(r.h_n, {kRows, 8})), labels);
  output("loss", loss);
  adam({.lr = 0.05})->minimize(loss);
  Session s(compile(g, {.target = Target::cpu(2)}), {.seed = 3});
  Tensor sequence = Tensor::zeros(TensorType{DType::F32, {kSteps, kRows, 2}});
  for (std::int64_t n = 0; n < kRows; ++n) {
    s.input("labels").data<std::int64_t>()[n] = n % 2;
    sequence.set(n * 2 + n % 2, 1.0);
  }
  s.input("x").copy_from(sequence);
  s.run();
  const double first = s.output("loss").item();
  for (int i = 0; i < 60; ++i) s.run();
  EXPECT_LT(s.output("loss").item(), 0.1 * first);
}

TEST(RecurrentLayers, Refuse) {
  EXPECT_TRUE(
      says(message_of<UsageError>([] { LSTM("net", 0, 3); }), "LSTM 'net': input_size must be positive"));
  EXPECT_TRUE(says(message_of<UsageError>([] { GRU("net", 2, 3, {.dropout = 0.5}); }), "num_layers is 1"));
  EXPECT_TRUE(says(message_of<UsageError>([] { RNN("net", 2, 3, {}, "selu"); }), "tanh or relu, got 'selu'"));
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4, 2, 5}}), state = input(g, "state", {DType::F32, {1, 2, 3}});
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     GRU("net", 6, 3)
                     (x);
                   }),
                   "GRU 'net'", "[T, N, 6]", "f32[4, 2, 5]"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] { GRU("net", 5, 4).unroll(x, {.h0 = state}); }),
                   "first states must be", "[1, 2, 4]"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { GRU("net", 5, 3).unroll(x, {.c0 = state}); }), "only an LSTM"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     LSTM("net", 5, 3).unroll(x, {.lengths = input(g, "n", {DType::I64, {2}})});
                   }),
                   "lengths must be i32, got i64", "net"));
}

}  // namespace
}  // namespace ingot
