// Parameter groups: whom a pattern reaches.
#include "core/base/error.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

Graph training(std::vector<ParameterGroup> groups) {
  SgdOptions o;
  o.lr = 0.5;
  o.groups = std::move(groups);
  return training_graph(*make_model("mlp"), {DType::F32, model_input("mlp", 2)}, *sgd(o));
}

TEST(ParameterGroups, AScaleOfZeroFreezesTheParametersOfTheGroup) {
  Session s(compile(training({{"fc1.*", 0.0, {}}})));
  const Tensor x = s.input("x");
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, 1.0);
  s.input("valid_rows").set(0, 2.0);
  const auto before = s.states();
  s.run();
  EXPECT_TRUE(bitwise_equal(s.state("fc1.weight"), before.at("fc1.weight")));
  EXPECT_FALSE(bitwise_equal(s.state("fc2.weight"), before.at("fc2.weight")));
}

TEST(ParameterGroups, APatternThatMatchesNothingListsTheParameters) {
  try {
    training({{"*.biass", 1.0, 0.0}});
    FAIL() << "expected an error";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("'*.biass'; there are: fc1.weight"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace ingot
