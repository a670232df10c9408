#include "io/state_dict.h"

#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// Two parameters, a buffer and an optimiser's state, all zero.
Session session() {
  Graph g;
  g.build.training = true;
  const auto zeros = [](Shape s) { return Init::from(Tensor::zeros({DType::F32, s})); };
  const Value w = parameter(g, "fc.weight", {DType::F32, {2, 3}}, zeros({2, 3})),
              b = parameter(g, "fc.bias", {DType::F32, {2}}, zeros({2})),
              m = buffer(g, "bn.running_mean", {DType::F32, {2}}, zeros({2})),
              o = state(g, StateRole::Optimizer, "optim/fc.bias/momentum", {DType::F32, {2}}, zeros({2}),
                        false);
  output("sum", sum(w) + sum(b + m + o));
  return Session(compile(g, {.target = Target::cpu(1)}));
}

TensorFile file(Shape weight, std::initializer_list<const char*> vectors) {
  TensorFile f;
  f.tensors.emplace_back("fc.weight", Tensor::full({DType::F32, weight}, 1.0));
  for (const char* name : vectors) f.tensors.emplace_back(name, Tensor::full({DType::F32, {2}}, 2.0));
  return f;
}

TEST(LoadStateDict, LoadsWhatFitsWholly) {
  Session s = session();
  const KeyReport r = load_state_dict(s, file({2, 3}, {"fc.bias", "bn.running_mean"}));
  EXPECT_TRUE(r.match());
  s.run();
  EXPECT_EQ(s.output("sum").item(), 6.0 + 2 * 2.0 + 2 * 2.0);
}

TEST(LoadStateDict, IsStrictByDefaultListsAllAndLoadsNothing) {
  Session s = session();
  const std::string message = message_of<FormatError>([&] {
    load_state_dict(s, file({5, 3}, {"bn.running_mean", "old", "older"}), {}, "w.safetensors");
  });
  EXPECT_TRUE(says(message, "'w.safetensors' does not fit", "1 missing (fc.bias)",
                   "2 unexpected (old, older)", "fc.weight: expected f32[2, 3], found f32[5, 3]"));
  s.run();
  EXPECT_EQ(s.output("sum").item(), 0.0);
}

TEST(LoadStateDict, NotStrictLoadsWhatFitsAndReports) {
  Session s = session();
  const KeyReport r = load_state_dict(s, file({2, 3}, {"fc.bias", "old"}), {.strict = false});
  EXPECT_EQ(r.missing_keys, std::vector<std::string>{"bn.running_mean"});
  EXPECT_EQ(r.unexpected_keys, std::vector<std::string>{"old"});
  EXPECT_TRUE(r.mismatched_keys.empty());
  s.run();
  EXPECT_EQ(s.output("sum").item(), 6.0 + 2 * 2.0);
}

// As in PyTorch, where strict=False does not allow "size mismatch for fc.weight".
TEST(LoadStateDict, AnotherShapeNeedsAnOptionOfItsOwn) {
  Session s = session();
  const TensorFile other = file({5, 3}, {"fc.bias", "bn.running_mean"});
  const std::string message =
      message_of<FormatError>([&] { load_state_dict(s, other, {.strict = false}, "w"); });
  EXPECT_TRUE(says(message, "fc.weight: expected f32[2, 3], found f32[5, 3]"));
  const KeyReport r = load_state_dict(s, other, {.ignore_mismatched = true});
  ASSERT_EQ(r.mismatched_keys.size(), 1u);
  EXPECT_EQ(r.mismatched_keys[0].name, "fc.weight");
  EXPECT_EQ(r.mismatched_keys[0].found.shape, Shape({5, 3}));
  s.run();
  EXPECT_EQ(s.output("sum").item(), 2 * 2.0 + 2 * 2.0);
  EXPECT_TRUE(says(message_of<FormatError>([&] {
                     load_state_dict(s, file({5, 3}, {"fc.bias"}), {.ignore_mismatched = true});
                   }),
                   "1 missing (bn.running_mean)"));
}

TEST(LoadStateDict, ExceptedKeysMayDifferInAnyWay) {
  Session s = session();
  const TensorFile other = file({5, 3}, {"bn.running_mean", "aux.bias"});
  const KeyReport r = load_state_dict(s, other, {.except = {"fc.*", "aux.*"}});
  EXPECT_EQ(r.missing_keys, std::vector<std::string>{"fc.bias"});
  EXPECT_EQ(r.unexpected_keys, std::vector<std::string>{"aux.bias"});
  EXPECT_EQ(r.mismatched_keys.size(), 1u);
  const std::string message = message_of<FormatError>([&] {
    load_state_dict(s, other, {.except = {"fc.weight", "aux.*"}}, "w");
  });
  EXPECT_TRUE(says(message, "1 missing (fc.bias)"));
  EXPECT_FALSE(says(message, "aux")) << message;
}

TEST(LoadStateDict, StatesOfOptimisersAreLeftOut) {
  Session s = session();
  const KeyReport r =
      load_state_dict(s, file({2, 3}, {"fc.bias", "bn.running_mean", "optim/fc.bias/momentum", "generator"}));
  EXPECT_TRUE(r.match());
  EXPECT_EQ(s.state("optim/fc.bias/momentum").get(0), 0.0);
}

}  // namespace
}  // namespace ingot
