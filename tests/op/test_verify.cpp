#include "core/op/verify.h"

#include "core/op/text.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

Graph good() {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {8, 4}});
  const Value w = parameter(g, "w", {DType::F32, {4}}, Init::constant(1));
  const Value y = relu(x * w);
  output("loss", mean(y));
  g.add_update(w.id(), (w - sum(y, {0})).id());
  return g;
}

std::string why(const Graph& g) {
  return message_of<UsageError>([&] { verify(g); });
}

TEST(Verify, AcceptsWhatTheBuilderMakes) {
  EXPECT_NO_THROW(verify(good()));
  EXPECT_NO_THROW(verify({}));
}

TEST(Verify, LayoutsAreFree) {
  Graph g;
  const Value y = relu(input(g, "x", {DType::F32, {1, 2, 3, 4}}));
  g.value(y.id()).type.layout = Layout::channels_last(4);
  EXPECT_NO_THROW(verify(g));
  g.value(y.id()).type.layout = Layout::channels_last(3);
  EXPECT_TRUE(says(why(g), "layout of rank 3"));
}

TEST(Verify, FindsWrongTypes) {
  Graph g = good();
  g.value(ValueId{2}).type.shape = {4, 8};
  EXPECT_TRUE(says(why(g), "'mul'", "f32[4, 8]", "f32[8, 4]"));
  g = good();
  g.value(ValueId{2}).type.dtype = DType::F64;
  EXPECT_TRUE(says(why(g), "f64[8, 4]"));
}

TEST(Verify, FindsUseBeforeDefinition) {
  Graph g = good();
  g.node(NodeId{0}).inputs[0] = ValueId{3};  // its own reader's result
  EXPECT_TRUE(says(why(g), "reads %3 before it is computed"));
  g.node(NodeId{0}).inputs[0] = ValueId{77};
  EXPECT_TRUE(says(why(g), "%77, which does not exist"));
}

TEST(Verify, FindsWrongOrigins) {
  Graph g = good();
  g.value(ValueId{3}).producer = NodeId{0};
  EXPECT_TRUE(says(why(g), "does not list it"));
  g = good();
  g.value(ValueId{0}).kind = ValueKind::State;
  EXPECT_TRUE(says(why(g), "list of inputs denies"));
}

TEST(Verify, FindsWrongOpsAndAttributes) {
  Graph g = good();
  g.node(NodeId{0}).op = "muk";
  EXPECT_TRUE(says(why(g), "no such op"));
  g = good();
  g.node(NodeId{2}).attrs = CastAttrs{DType::F32};
  EXPECT_TRUE(says(why(g), "attributes of another op"));
}

TEST(Verify, FindsDoubledNamesAndUpdates) {
  Graph g = good();
  const Value z = input(g, "z", {DType::F32, {}});
  g.value(z.id()).name = g.value(g.inputs()[0]).name;
  EXPECT_TRUE(says(why(g), "two inputs are named 'x'"));
  g = good();
  g.add_gradient(g.inputs()[0], g.inputs()[0]);
  EXPECT_TRUE(says(why(g), "cannot be the gradient of"));
}

TEST(Verify, ListsAllFindings) {
  Graph g = good();
  g.value(ValueId{2}).type.shape = {4, 8};
  g.node(NodeId{2}).op = "none";
  EXPECT_GE(broken_rules(g).size(), 2u);
}

}  // namespace
}  // namespace ingot
