// Programs and sessions: exact bytes, memory shared without changing a bit, inputs and states, and the first
// bad node by name.
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/view.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

Graph small_training(const char* model, std::int64_t batch) {
  const auto net = make_model(model);
  return training_graph(*net, {DType::F32, model_input(model, batch)}, *sgd({.lr = 0.05, .momentum = 0.9}));
}

void fill(const Session& s) {
  for (const ValueId v : s.program().graph().inputs()) {
    const ValueInfo& info = s.program().graph().value(v);
    const Tensor t = s.input(info.name);
    for (std::int64_t i = 0; i < t.numel(); ++i)
      t.set(i, info.name == "valid_rows" ? static_cast<double>(s.input("x").shape()[0] - 1)
               : is_floating(t.dtype())  ? std::sin(static_cast<double>(i))
                                         : static_cast<double>(i % 10));
  }
}

CompileOptions options(bool share, bool in_place) {
  CompileOptions o;
  o.target = Target::cpu(2);
  o.share_memory = share;
  o.in_place = in_place;
  return o;
}

// Runs three steps and returns the loss and every state.
std::map<std::string, Tensor> three_steps(const Graph& g, const CompileOptions& o, bool poison) {
  SessionOptions so;
  so.seed = 3;
  so.poison = poison;
  Session s(compile(g, o), so);
  fill(s);
  for (int i = 0; i < 3; ++i) s.run();
  auto all = s.states();
  all.emplace("loss", s.output("loss").clone());
  return all;
}

// Smooth activations keep their operand and their result; ReLU's layers keep one tensor.
struct SmoothNet : Module {
  Conv2d conv1{"conv1", 3, 16, 3, {.padding = 1}}, conv2{"conv2", 16, 16, 3, {.padding = 1}},
      conv3{"conv3", 16, 16, 3, {.padding = 1}};
  Linear fc{"fc", 16 * 32 * 32, 10};
  Value forward(Value x) override {
    for (Conv2d* c : {&conv1, &conv2, &conv3}) x = gelu((*c)(x));
    return fc(flatten(x));
  }
};

TEST(Session, RecomputedActivationsLowerTheArenaAndChangeNoBit) {
  SmoothNet net;
  const Graph g = training_graph(net, {DType::F32, {4, 3, 32, 32}}, *sgd({.lr = 0.05, .momentum = 0.9}));
  CompileOptions kept = options(true, true);
  kept.skip_passes = {"recompute"};
  const MemoryReport with = compile(g, options(true, true))->report(), without = compile(g, kept)->report();
  // Activations (4 x 16 x 32 x 32 floats each) that are not alive when the backward pass begins make room for
  // one at least; workspaces of the convolutions' gradients, which the pass does not know, may take what
  // another leaves.
  EXPECT_LE(with.arena_bytes + 4 * 16 * 32 * 32 * sizeof(float), without.arena_bytes);
  const auto a = three_steps(g, options(true, true), true), b = three_steps(g, kept, true);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(bitwise_equal(tensor, b.at(name))) << name;
}

TEST(Session, SharingMemoryChangesNoBit) {
  for (const char* model : {"lenet5", "simple_cnn"}) {
    const Graph g = small_training(model, 6);
    const auto plain = three_steps(g, options(false, false), false);
    for (const bool in_place : {false, true})
      for (const bool poison : {false, true}) {
        const auto planned = three_steps(g, options(true, in_place), poison);
        ASSERT_EQ(planned.size(), plain.size());
        for (const auto& [name, tensor] : plain)
          EXPECT_TRUE(bitwise_equal(tensor, planned.at(name)))
              << model << " " << name << " in place " << in_place << " poison " << poison;
      }
  }
}

TEST(Session, AnOutputThatIsAStateIsItsOldContent) {
  Graph g;
  const Value a = parameter(g, "a", {DType::F32, {2, 3}}, Init::constant(1.0));
  const Value n = state(g, StateRole::Counter, "n", {DType::I64, {}}, Init::constant(5.0));
  g.add_update(a.id(), add(a, 1.0).id());
  g.add_update(n.id(), add(n, 2.0).id());
  g.add_output("a", a.id());
  g.add_output("flat", reshape(a, {6}).id());
  g.add_output("n", n.id());
  g.add_output("again", n.id());
  g.add_output("next", g.next_content(a.id()));
  for (const bool in_place : {true, false})
    for (const bool optimise : {true, false}) {
      CompileOptions o = options(true, in_place);
      o.optimise = optimise;
      Session s(compile(g, o));
      for (int run = 0; run < 3; ++run) {
        s.run();
        for (std::int64_t i = 0; i < 6; ++i) {
          EXPECT_EQ(s.output("a").get(i), 1.0 + run);
          EXPECT_EQ(s.output("flat").get(i), 1.0 + run);
          EXPECT_EQ(s.output("next").get(i), 2.0 + run);
        }
        EXPECT_EQ(s.output("n").get(0), 5.0 + 2 * run);
        EXPECT_EQ(s.output("again").get(0), 5.0 + 2 * run);
        EXPECT_EQ(s.state("a").get(0), 2.0 + run);
        EXPECT_EQ(s.state("n").get(0), 7.0 + 2 * run);
      }
    }
}

TEST(Session, StatesChangePlaces) {
  Graph g;
  const Value a = parameter(g, "a", {DType::F32, {3}}, Init::constant(1.0));
  const Value b = parameter(g, "b", {DType::F32, {3}}, Init::constant(2.0));
  const Value c = parameter(g, "c", {DType::F32, {3}}, Init::constant(3.0));
  g.add_update(a.id(), b.id());
  g.add_update(b.id(), c.id());
  g.add_update(c.id(), a.id());
  g.add_output("a", a.id());
  Session s(compile(g, options(true, true)));
  s.run();
  EXPECT_EQ(s.output("a").get(0), 1.0);
  EXPECT_EQ(s.state("a").get(0), 2.0);
  EXPECT_EQ(s.state("b").get(0), 3.0);
  EXPECT_EQ(s.state("c").get(0), 1.0);
}

TEST(Session, AllocatesExactlyWhatTheReportSays) {
  const ProgramPtr p = compile(small_training("simple_cnn", 32), options(true, true));
  const MemoryReport& r = p->report();
  EXPECT_EQ(r.total_bytes, r.arena_bytes + r.parameter_bytes + r.gradient_bytes + r.state_bytes +
                               r.staging_bytes + r.constant_bytes);
  Session s(p, {});
  EXPECT_EQ(s.allocated_bytes(), r.total_bytes);
}

// log(-1) in place of its operand: the operand's range would be the result's.
TEST(Session, ABadNodeDoesNotBlameTheOperandItOverwrote) {
  Graph g;
  Value a = input(g, "a", {DType::F32, {32, 32}}), b = input(g, "b", {DType::F32, {32, 32}});
  Value y = log(matmul(a, b));
  g.add_output("y", y.id());
  SessionOptions o;
  o.check_numerics = true;
  Session s(compile(g, options(true, true)), o);
  for (std::int64_t i = 0; i < 1024; ++i) {
    s.input("a").set(i, 1.0);
    s.input("b").set(i, -1.0);
  }
  try {
    s.run();
    FAIL() << "expected an error";
  } catch (const NumericError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("which the result has overwritten"), std::string::npos) << text;
    EXPECT_EQ(text.find("NaN"), text.rfind("NaN")) << text;
  }
}

TEST(Session, RefusesWhatIsNull) {
  EXPECT_THROW(Session(ProgramPtr{}), UsageError);
}

TEST(Session, NamesTheInputsItHas) {
  Session s(compile(small_training("mlp", 2), options(true, true)), {});
  try {
    s.input("images");
    FAIL() << "expected an error";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("labels"), std::string::npos) << e.what();
  }
  EXPECT_THROW(s.set_state("fc1.weight", Tensor::zeros({DType::F32, {1}})), ShapeError);
}

TEST(Session, StatesComeBackPlainWhateverTheirLayout) {
  Session s(compile(small_training("simple_cnn", 4), options(true, true)), {});
  Tensor w = s.state("conv2.weight");
  for (std::int64_t i = 0; i < w.numel(); ++i) w.set(i, static_cast<double>(i));
  s.set_state("conv2.weight", w);
  EXPECT_TRUE(bitwise_equal(s.state("conv2.weight"), w));
}

TEST(Session, SameSeedSameBitsTwice) {
  const Graph g = small_training("simple_cnn", 8);
  const auto a = three_steps(g, options(true, true), false), b = three_steps(g, options(true, true), false);
  for (const auto& [name, tensor] : a) EXPECT_TRUE(bitwise_equal(tensor, b.at(name))) << name;
}

TEST(Session, ABadInputIsNamedBeforeParametersChange) {
  SessionOptions so;
  so.guard = "loss";
  Session s(compile(small_training("simple_cnn", 4), options(true, true)), so);
  fill(s);
  const Tensor before = s.state("conv1.weight");
  s.input("x").set(5, std::numeric_limits<double>::quiet_NaN());
  try {
    s.run();
    FAIL() << "expected an error";
  } catch (const NumericError& e) {
    EXPECT_NE(std::string(e.what()).find("input x"), std::string::npos) << e.what();
  }
  EXPECT_TRUE(bitwise_equal(before, s.state("conv1.weight")));
}

TEST(Session, TheFirstBadNodeIsNamedWithItsLine) {
  SessionOptions so;
  so.guard = "loss";
  Session s(compile(small_training("mlp", 4), options(true, true)), so);
  fill(s);
  s.set_state("fc2.bias", Tensor::full({DType::F32, {128}}, 3e38));
  s.set_state("fc3.weight", Tensor::full({DType::F32, {10, 128}}, 3e38));
  try {
    s.run();
    FAIL() << "expected an error";
  } catch (const NumericError& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("fc3.matmul"), std::string::npos) << what;
    EXPECT_NE(what.find("small.cpp:"), std::string::npos) << what;
  }
}

TEST(Session, AfterAMoveOnlyTheNewOneWorks) {
  Session s(compile(small_training("mlp", 2), options(true, true)), {});
  Session t(std::move(s));
  fill(t);
  t.run();
  EXPECT_THROW(s.run(), UsageError);  // NOLINT(bugprone-use-after-move)
  EXPECT_THROW(s.wait(), UsageError);
  EXPECT_THROW(static_cast<void>(s.program()), UsageError);
  EXPECT_THROW(static_cast<void>(s.input("x")), UsageError);
  EXPECT_THROW(t.copy_states_from(s), UsageError);
  s = std::move(t);
  EXPECT_NO_THROW(s.run());
}

// oneDNN counts in int where it looks for block sizes, and would divide by 0.
TEST(Compile, MoreElementsThanAnIntCounts) {
  for (const char* model : {"mlp", "resnet18"}) {
    const ProgramPtr p = compile(small_training(model, 100000000), options(true, true));
    EXPECT_GT(p->report().total_bytes, std::size_t{1} << 31) << model;
  }
}

TEST(Compile, UnknownBackendSaysWhatThereIs) {
  CompileOptions o;
  o.target.backend = "abacus";
  EXPECT_THROW(compile(small_training("mlp", 2), o), UsageError);
}

}  // namespace
}  // namespace ingot
