// The layers of layers/image_layers.cpp: state-dict keys, initialisation, options that reach the function
// behind the layer, and refusals. (What the functions compute: tests/golden, tests/ops/test_composed.cpp.)
#include <algorithm>
#include <cmath>

#include "core/ops/conv_transpose.h"
#include "core/ops/normalize.h"
#include "core/ops/rearrange.h"
#include "core/ops/resize.h"
#include "core/runtime/interpreter.h"
#include "layers/image_layers.h"
#include "tests/layers/layer_run.h"

namespace ingot {
namespace {

using Keys = std::map<std::string, std::string>;

// The layer's program with parameters by formula, against `want`, a function of x and of the parameters by
// name.
template <class Want>
void expect_computes(Module& layer, const Shape& shape, const Want& want) {
  const Tensor x = formula::unit("x", shape);
  LayerRun run(layer, x.type());
  const Tensor y = run.with_formula()(x);
  Graph g;
  output("y", want(input(g, "x", x.type()), [&](const std::string& name) {
           const Tensor t = run.state(name);
           return input(g, name, t.type());
         }));
  NamedTensors feeds{{"x", x}};
  for (const ValueId v : g.inputs())
    if (g.value(v).name != "x") feeds[g.value(v).name] = run.state(g.value(v).name);
  const Tensor expected = evaluate(g, feeds).outputs.at("y");
  ASSERT_EQ(y.shape(), expected.shape());
  for (std::int64_t i = 0; i < y.numel(); ++i)
    ASSERT_NEAR(y.get(i), expected.get(i), 2e-5) << "element " << i;
}

TEST(ImageLayers, ConvTranspose2d) {
  ConvTranspose2d up(
      "up", 6, 4, {3, 2},
      {.stride = {2, 3}, .padding = {1, 0}, .output_padding = {1, 2}, .dilation = {1, 2}, .groups = 2});
  const Graph g = layer_graph(up, {DType::F32, {2, 6, 4, 3}});
  EXPECT_EQ(keys_of(g), (Keys{{"up.weight", "f32[6, 2, 3, 2]"}, {"up.bias", "f32[4]"}}));
  // (4 - 1) 2 - 2 + 2 + 1 + 1 and (3 - 1) 3 + 2 + 2 + 1
  EXPECT_EQ(g.type(g.find_output("y")).shape, Shape({2, 4, 8, 11}));
  expect_computes(up, {2, 6, 4, 3}, [](Value x, const auto& state) {
    return conv_transpose2d(x, state("up.weight"), state("up.bias"), {{2, 3}, {1, 0}, {1, 2}, {1, 2}, 2});
  });
  ConvTranspose2d bare("c", 6, 4, 2, {.bias = false});
  EXPECT_EQ(keys_of(layer_graph(bare, {DType::F32, {2, 6, 4, 3}})), (Keys{{"c.weight", "f32[6, 4, 2, 2]"}}));
  // U(-b, b), b = 1 / sqrt(4 2 2).
  const Tensor w = LayerRun(bare, {DType::F32, {2, 6, 4, 3}}).state("c.weight");
  double most = 0.0;
  for (std::int64_t i = 0; i < w.numel(); ++i) most = std::max(most, std::abs(w.get(i)));
  EXPECT_LE(most, 0.25);
  EXPECT_GT(most, 0.2);
  EXPECT_THROW(ConvTranspose2d("c", 6, 4, 3, {.groups = 4}), UsageError);
  EXPECT_THROW(ConvTranspose2d("c", 0, 4, 3), UsageError);
  Graph other;
  const Value five = input(other, "x", {DType::F32, {2, 5, 4, 3}});
  EXPECT_REFUSED(ShapeError, HERE(up(five)), "up", "the input [2, 5, 4, 3] has 5");
}

TEST(ImageLayers, GroupNorm) {
  GroupNorm gn("gn", 3, 6, {.eps = 1e-3});
  EXPECT_EQ(keys_of(layer_graph(gn, {DType::F32, {2, 6, 3, 3}})),
            (Keys{{"gn.weight", "f32[6]"}, {"gn.bias", "f32[6]"}}));
  expect_computes(gn, {2, 6, 3, 3}, [](Value x, const auto& state) {
    return group_norm(x, 3, state("gn.weight"), state("gn.bias"), 1e-3);
  });
  GroupNorm bare("gn", 2, 4, {.affine = false});
  EXPECT_EQ(keys_of(layer_graph(bare, {DType::F32, {2, 4, 3}})), Keys{});
  expect_computes(bare, {2, 4, 3}, [](Value x, const auto&) { return group_norm(x, 2); });
  EXPECT_THROW(GroupNorm("gn", 4, 6), UsageError);
  Graph other;
  const Value nine = input(other, "x", {DType::F32, {2, 9, 3, 3}});
  EXPECT_REFUSED(ShapeError, HERE(gn(nine)), "gn", "got f32[6]");
}

TEST(ImageLayers, InstanceNorm2d) {
  InstanceNorm2d plain("in", 3);
  EXPECT_EQ(keys_of(layer_graph(plain, {DType::F32, {2, 3, 4, 4}})), Keys{});
  expect_computes(plain, {2, 3, 4, 4}, [](Value x, const auto&) { return instance_norm(x); });
  InstanceNorm2d affine("in", 3, {.eps = 1e-2, .affine = true});
  EXPECT_EQ(keys_of(layer_graph(affine, {DType::F32, {2, 3, 4, 4}})),
            (Keys{{"in.weight", "f32[3]"}, {"in.bias", "f32[3]"}}));
  expect_computes(affine, {2, 3, 4, 4}, [](Value x, const auto& state) {
    return instance_norm(x, state("in.weight"), state("in.bias"), 1e-2);
  });
}

TEST(ImageLayers, LocalResponseNorm) {
  LocalResponseNorm lrn(3, 0.5, 0.6, 2.0);
  expect_computes(lrn, {2, 5, 3, 3}, [](Value x, const auto&) {
    return local_response_norm(x, 3, {.alpha = 0.5, .beta = 0.6, .k = 2.0});
  });
  EXPECT_THROW(LocalResponseNorm(0), UsageError);
}

TEST(ImageLayers, Upsample) {
  Upsample twice({.scale_factor = 2.0});
  expect_computes(twice, {1, 2, 3, 4}, [](Value x, const auto&) {
    return interpolate(x, {.scale_factor = {{2.0, 2.0}}});
  });
  Upsample corners({.size = Pair(5, 7), .mode = "bilinear", .align_corners = true});
  expect_computes(corners, {1, 2, 3, 4}, [](Value x, const auto&) {
    return interpolate(x, {.size = {{5, 7}}, .mode = "bilinear", .align_corners = true});
  });
  Graph other;
  const Value image = input(other, "x", {DType::F32, {1, 2, 3, 4}});
  Upsample neither(UpsampleOptions{});
  EXPECT_REFUSED(UsageError, HERE(neither(image)), "give either size or scale_factor");
}

TEST(ImageLayers, PixelShuffle) {
  PixelShuffle shuffle(2);
  expect_computes(shuffle, {1, 8, 3, 2}, [](Value x, const auto&) { return pixel_shuffle(x, 2); });
  PixelUnshuffle back(2);
  expect_computes(back, {1, 2, 4, 6}, [](Value x, const auto&) { return pixel_unshuffle(x, 2); });
  EXPECT_THROW(PixelShuffle(0), UsageError);
  EXPECT_THROW(PixelUnshuffle(-1), UsageError);
}

}  // namespace
}  // namespace ingot
