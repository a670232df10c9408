// ArcFace as a layer: its parameter, its logits from the parameter that it made, what it refuses. Its
// function is held against PyTorch in tests/golden/op_margin.json.
#include "layers/arc_face.h"

#include <cmath>

#include "core/ops/loss.h"
#include "optim/optimizer.h"
#include "tests/layers/layer_run.h"

namespace ingot {
namespace {

TEST(ArcFaceLayer, OwnClassIsHarderByTheMargin) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 8}}), labels = input(g, "labels", {DType::I64, {2}});
  output("hard", ArcFace("head", 8, 5, {.scale = 10.0, .margin = 0.3})(x, labels));
  output("easy", ArcFace("head", 8, 5, {.scale = 10.0, .margin = 0.0})(x, labels));
  EXPECT_EQ(keys_of(g), (std::map<std::string, std::string>{{"head.weight", "f32[5, 8]"}}));
  Session s(compile(g, {.target = Target::cpu(1)}), {.seed = 1});
  s.input("x").copy_from(formula::unit("features", {2, 8}));
  s.input("labels").data<std::int64_t>()[0] = 3;
  s.input("labels").data<std::int64_t>()[1] = 0;
  s.run();
  const Tensor hard = s.output("hard"), easy = s.output("easy");
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t c = 0; c < 5; ++c) {
      const double angle = std::acos(easy.get(n * 5 + c) / 10.0), margin = c == (n == 0 ? 3 : 0) ? 0.3 : 0.0;
      EXPECT_NEAR(hard.get(n * 5 + c), 10.0 * std::cos(angle + margin), 1e-4) << n << ' ' << c;
    }
}

TEST(ArcFaceLayer, Learns) {
  Graph g;
  g.build.training = true;
  const Value labels = input(g, "labels", {DType::I64, {4}});
  const Value loss = cross_entropy(
      ArcFace("head", 6, 4, {.scale = 8.0})(input(g, "x", {DType::F32, {4, 6}}), labels), labels);
  output("loss", loss);
  adam({.lr = 0.01})->minimize(loss);
  Session s(compile(g, {.target = Target::cpu(1)}), {.seed = 1});
  s.input("x").copy_from(formula::unit("features", {4, 6}));
  for (std::int64_t i = 0; i < 4; ++i) s.input("labels").data<std::int64_t>()[i] = i;
  s.run();
  const double first = s.output("loss").item();
  for (int i = 0; i < 100; ++i) s.run();
  EXPECT_LT(s.output("loss").item(), 0.2 * first);
}

TEST(ArcFaceLayer, Refuses) {
  EXPECT_TRUE(says(message_of<UsageError>([] { ArcFace("head", 0, 4); }),
                   "ArcFace 'head': in_features must be positive"));
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2, 7}}), labels = input(g, "labels", {DType::I64, {2}});
  EXPECT_TRUE(says(message_of<ShapeError>([&] { ArcFace("head", 8, 4)(x, labels); }), "arc_face", "f32[2, 7]",
                   "head"));
}

}  // namespace
}  // namespace ingot
