// A session on a device whose memory is not the host's and whose work is put off gives the bits of one on the
// CPU.
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/support/remote_backend.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

Graph training(const char* model, std::int64_t batch) {
  const auto net = make_model(model);
  return training_graph(*net, {DType::F32, model_input(model, batch)}, *adam({.lr = 0.01}));
}

void fill(const Session& s, int run) {
  for (const ValueId v : s.program().graph().inputs()) {
    const ValueInfo& info = s.program().graph().value(v);
    const Tensor t = s.input(info.name);
    for (std::int64_t i = 0; i < t.numel(); ++i)
      t.set(i, info.name == "valid_rows" ? static_cast<double>(s.input("x").shape()[0])
               : is_floating(t.dtype())  ? std::sin(static_cast<double>(i + 31 * run))
                                         : static_cast<double>((i + run) % 10));
  }
}

std::map<std::string, Tensor> trained(const Graph& g, const Target& target,
                                      const SessionOptions& options = {.seed = 3}) {
  Session s(compile(g, {.target = target}), options);
  std::map<std::string, Tensor> all;
  for (int run = 0; run < 5; ++run) {
    fill(s, run);
    s.run();
    // Every other loss is looked at; in between the next inputs are written while the run is still pending.
    if (run % 2 == 0) all.emplace(cat("loss ", run), s.output("loss").clone());
  }
  for (auto& [name, t] : s.states()) all.emplace(name, t);
  all.emplace("logits", s.output("logits").clone());
  return all;
}

void expect_same(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, t] : want) EXPECT_TRUE(bitwise_equal(got.at(name), t)) << name;
}

class RemoteSession : public testing::Test {
 protected:
  void SetUp() override { test::register_remote_backend(); }
};

TEST_F(RemoteSession, TrainsToTheSameBits) {
  for (const char* model : {"mlp", "simple_cnn"}) {
    const Graph g = training(model, 6);
    const auto want = trained(g, Target::cpu(2));
    expect_same(trained(g, test::remote_target(2)), want);
    expect_same(trained(g, test::remote_target(2), {.seed = 3, .guard = "loss"}), want);
    expect_same(trained(g, test::remote_target(2), {.seed = 3, .check_numerics = true}), want);
    expect_same(trained(g, test::remote_target(2), {.seed = 3, .poison = true}), want);
  }
}

TEST_F(RemoteSession, StatesTravelBetweenDevices) {
  const Graph g = training("lenet5", 4);
  Session here(compile(g, {.target = Target::cpu(2)}), {.seed = 1});
  Session there(compile(g, {.target = test::remote_target(2)}), {.seed = 2});
  EXPECT_EQ(there.copy_states_from(here), here.states().size());
  fill(here, 0);
  fill(there, 0);
  here.run();
  there.run();
  EXPECT_TRUE(bitwise_equal(here.output("logits"), there.output("logits")));
  expect_same(there.states(), here.states());
  EXPECT_EQ(here.copy_states_from(there), here.states().size());
  const Tensor bias = Tensor::full({DType::F32, {10}}, 0.5);
  there.set_state("fc3.bias", bias);
  EXPECT_TRUE(bitwise_equal(there.state("fc3.bias"), bias));
}

TEST_F(RemoteSession, NamesTheFirstBadNode) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4}});
  output("y", apply1("log", {x}));
  Session s(compile(g, {.target = test::remote_target(1)}), {.check_numerics = true});
  s.input("x").copy_from(Tensor::of({1, 2, -1, 4}));
  try {
    s.run();
    FAIL() << "log(-1) was let through";
  } catch (const NumericError& e) {
    EXPECT_NE(std::string(e.what()).find("log"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("1 NaN"), std::string::npos) << e.what();
  }
}

// The device finds it, in its own time; the runs behind the bad one do nothing.
TEST_F(RemoteSession, AGuardedRunThatIsBadChangesNothing) {
  const ProgramPtr p = compile(training("mlp", 6), {.target = test::remote_target(2)});
  for (const int before : {0, 1, 2, 3}) {
    SCOPED_TRACE(before);
    Session s(p, {.seed = 3, .guard = "loss"}), clean(p, {.seed = 3});
    const auto good_run = [](Session& to, int run) {
      fill(to, run);
      to.run();
    };
    for (int run = 0; run < before; ++run)
      for (Session* to : {&s, &clean}) good_run(*to, run);
    fill(s, before);
    s.input("x").set(5, std::numeric_limits<double>::quiet_NaN());
    s.run();
    good_run(s, before + 1);
    try {
      s.output("loss");
      FAIL() << "NaN was let through";
    } catch (const NumericError& e) {
      EXPECT_NE(std::string(e.what()).find("the input x"), std::string::npos) << e.what();
    }
    expect_same(s.states(), clean.states());
    for (Session* to : {&s, &clean}) good_run(*to, before);
    expect_same(s.states(), clean.states());
  }
}

TEST_F(RemoteSession, AllocatesWhatTheReportSaysAndGivesItBack) {
  const std::size_t device = test::remote_bytes(), host = test::remote_host_bytes();
  const ProgramPtr p = compile(training("simple_cnn", 8), {.target = test::remote_target(2)});
  {
    Session s(p);
    EXPECT_EQ(s.allocated_bytes(), p->report().total_bytes);
    EXPECT_EQ(test::remote_bytes() - device, p->report().total_bytes);
    fill(s, 0);
    s.run();
    EXPECT_EQ(s.run_timed().size(), p->schedule().size());
    EXPECT_EQ(test::remote_bytes() - device, p->report().total_bytes);
  }
  EXPECT_EQ(test::remote_bytes(), device);
  EXPECT_EQ(test::remote_host_bytes(), host);
}

}  // namespace
}  // namespace ingot
