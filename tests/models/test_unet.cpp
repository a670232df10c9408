// U-Net: PyTorch's keys and logits; what is refused. examples/segment_ellipses.cpp trains it.
#include "models/unet.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

TEST(UNet, EqualsPyTorch) {
  std::ifstream in(INGOT_SOURCE_DIR "/tests/golden/unet.json");
  const nlohmann::json golden = nlohmann::json::parse(in);
  Graph g;
  output("y", (*make_unet({.classes = 3, .features = 3}, 2))(input(g, "x", {DType::F32, {2, 2, 32, 16}})));
  std::map<std::string, std::vector<std::int64_t>> keys;
  for (const State& s : g.states()) {
    const Shape shape = g.type(s.value).shape;
    for (int i = 0; i < shape.rank(); ++i) keys[s.name].push_back(shape[i]);
    if (shape.rank() == 0) keys[s.name] = {};
  }
  EXPECT_EQ(keys, (golden.at("keys").get<std::map<std::string, std::vector<std::int64_t>>>()));

  Session session(compile(g, {.target = Target::cpu(1)}));
  for (const State& s : g.states()) {  // as make_unet_golden.py does
    const TensorType type = g.type(s.value);
    if (type.dtype != DType::F32) continue;
    const Tensor t = formula::unit(s.name, type.shape);
    const auto fan = static_cast<double>(t.numel() / type.shape[0]);
    const bool weight = type.shape.rank() > 1;
    const double scale = weight ? 1.5 / std::sqrt(fan) : 0.5;
    const double offset = weight ? 0.0 : s.name.ends_with("running_var") ? 1.5 : 0.5;
    for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, offset + scale * t.get(i));
    session.set_state(s.name, t);
  }
  session.input("x").copy_from(formula::unit("unet/x", {2, 2, 32, 16}));
  session.run();
  const Tensor y = session.output("y");
  ASSERT_EQ(y.shape(), (Shape{2, 3, 32, 16}));
  const auto logits = golden.at("logits").get<std::vector<double>>();
  double largest = 0.0;
  for (const double v : logits) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < logits.size(); ++i)
    ASSERT_NEAR(y.get(static_cast<std::int64_t>(i) * 7), logits[i], 1e-4 * largest) << i;
}

TEST(UNet, RefusesSizesThatItCannotHalve) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {1, 3, 24, 32}});
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { (*make_unet({}, 3))(x); }), "multiples of 16", "[1, 3, 24, 32]"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { make_unet({.classes = 0}, 3); }), "must be positive"));
}

}  // namespace
}  // namespace ingot
