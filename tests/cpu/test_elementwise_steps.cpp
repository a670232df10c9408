// Lowerings of elementwise and creation ops.
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "tests/cpu/lowering_check.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

TEST(ElementwiseSteps, ScalarOps) {
  const Tensor x = random_tensor({3, 5, 6, 7}, 1), y = random_tensor({3, 5, 6, 7}, 2);
  check_step("relu", {}, {x});
  check_step("gelu", {}, {x});
  check_step("add", {}, {x, y});
  check_step("mul", {}, {x, random_tensor({5, 1, 1}, 3)});
  check_step("sub", {}, {random_tensor({1}, 3), x});
  check_step("gt", {}, {x, y});
  check_step("where", {}, {random_tensor({3, 5, 6, 7}, 4, -1, 1, DType::Bool), x, random_tensor({}, 5)});
  check_step("div", {},
             {random_tensor({70, 90}, 6, -50, 50, DType::I32), random_tensor({90}, 7, -5, 5, DType::I32)});
  check_step("maximum", {}, {random_tensor({300, 200}, 8), random_tensor({300, 1}, 9)});
}

TEST(ElementwiseSteps, ValueUsedTwice) {
  const Tensor x = random_tensor({1000}, 1);
  check_step("mul", {}, {x, x});
}

TEST(ElementwiseSteps, CastAndFused) {
  const Tensor x = random_tensor({2, 8, 50, 51}, 1, -9, 9);
  check_step("cast", CastAttrs{DType::I64}, {x});
  check_step("cast", CastAttrs{DType::Bool}, {x});
  check_step(
      "fused",
      FusedAttrs{parse_scalar_expr("f32,f32;%2=mul(%0,%1);%3=add(%2,%0);%4=relu(%3);%5=neg(%2)->%4,%5")},
      {x, random_tensor({8, 1, 1}, 2)}, {.tolerance = 2e-5});
}

// A weight in blocks that are not full is cast as it lies, padding and all.
TEST(ElementwiseSteps, CastKeepsPaddedBlocks) {
  Layout blocks{.order = {1, 0}, .rank = 2};
  blocks.blocks[0] = {0, 16}, blocks.num_blocks = 1;
  const Tensor x = random_tensor({21, 7}, 3);
  const Backend::Layouts layouts{{blocks}, {blocks}};
  const Lowered r = run_lowered("cast", CastAttrs{DType::BF16}, {x}, 2, &layouts);
  EXPECT_TRUE(r.kernel.starts_with("tape:")) << r.kernel;
  expect_near(r.outputs, {x}, 1.0 / 256, "cast");
  const Graph g = one_node("cast", CastAttrs{DType::BF16}, {x}, layouts);
  const auto wanted = backend("cpu").layouts(g, g.node({0}), {false}, Target::cpu(2));
  EXPECT_EQ(wanted.inputs.at(0), blocks.canonical());
  EXPECT_EQ(wanted.outputs.at(0), blocks.canonical());
}

TEST(ElementwiseSteps, Creation) {
  check_step("full", FullAttrs{0.3, DType::F32, {3, 1000}}, {});
  check_step("full", FullAttrs{7, DType::I64, {}}, {});
  check_step("iota", IotaAttrs{1001, DType::I64}, {});
  check_step("iota", IotaAttrs{33, DType::F32}, {});
  check_step("constant", ConstantAttrs{random_tensor({4, 5}, 1)}, {});
}

TEST(ElementwiseSteps, ManyThreadsShareALargeTensor) {
  check_step("exp", {}, {random_tensor({257, 513}, 1)});
}

}  // namespace
}  // namespace ingot::test
