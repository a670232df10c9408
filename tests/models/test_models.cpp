// Models as programs: arena near its lower bound; what is refused. test_zoo.cpp has what they consist of.
#include <algorithm>

#include "core/base/error.h"
#include "core/runtime/program.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

void expect_tight_arenas(std::initializer_list<const char*> names,
                         std::initializer_list<std::int64_t> batches) {
  for (const char* name : names)
    for (const bool train : {true, false})
      for (const std::int64_t batch : batches) {
        ModelOptions small;
        if (model_info(name).image_size > 64) small.image_size = 64;
        const auto net = make_model(name, small);
        const TensorType input{DType::F32, model_input(name, batch, small)};
        const Graph g = train ? training_graph(*net, input, *sgd({.lr = 0.1, .momentum = 0.9}))
                              : inference_graph(*net, input);
        const MemoryReport r = compile(g, {.target = Target::cpu(2)})->report();
        EXPECT_LE(static_cast<double>(r.arena_bytes), 1.01 * static_cast<double>(r.max_live_bytes))
            << name << (train ? " training" : " inference") << ", batch " << batch;
      }
}

TEST(Models, ArenaIsAtMostOnePercentAboveTheLowerBound) {
  expect_tight_arenas({"mlp", "lenet5", "simple_cnn", "resnet20", "resnet18", "resnet50"},
                      {1, 4, 7, 16, 20, 64});
}

// One of each family: a graph of another shape, whichever its depth.
TEST(Models, SlowArenaIsAtMostOnePercentAboveTheLowerBoundInTheZoo) {
  expect_tight_arenas({"vgg11", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "densenet121",
                       "googlenet", "efficientnet_b0", "convnext_tiny"},
                      {1, 16});
}

TEST(Models, ABatchHoldsAtLeastOneSample) {
  for (const auto& make :
       {+[](Module&m, const TensorType&t) { return inference_graph(m, t); },
        +[](Module&m, const TensorType&t) { return evaluation_graph(m, t); },
        +[](Module&m, const TensorType&t) { return training_graph(m, t, *sgd({.lr = 0.1})); }})
    try {
      make(*make_model("mlp"), {DType::F32, {0, 1, 28, 28}});
      FAIL() << "an empty batch was accepted";
    } catch (const UsageError& e) {
      EXPECT_NE(std::string(e.what()).find("[0, 1, 28, 28]"), std::string::npos) << e.what();
    }
}

TEST(Models, TheHeadIsWhatFollowsTheNumberOfClasses) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(head_parameters("resnet20"), (Names{"fc.weight", "fc.bias"}));
  EXPECT_EQ(head_parameters("vgg11_bn", {.num_classes = 7, .image_size = 32}),
            (Names{"classifier.6.weight", "classifier.6.bias"}));
  EXPECT_EQ(head_parameters("squeezenet1_1", {.image_size = 32}),
            (Names{"classifier.1.weight", "classifier.1.bias"}));
  for (const ModelInfo& m : models()) {
    const std::vector<std::string> head = head_parameters(m.name);
    // airbench94's has no bias.
    EXPECT_EQ(head.size(), m.name == "airbench94" ? 1u : 2u) << m.name << ": " << join(head);
  }
}

TEST(Models, UnknownModelListsThoseThereAre) {
  try {
    make_model("resnet19");
    FAIL() << "expected an error";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("resnet18"), std::string::npos);
  }
  EXPECT_THROW(model_input("mlp", 0), UsageError);
  EXPECT_THROW(make_model("lenet5", {.in_channels = {}, .num_classes = {}, .image_size = 8}), UsageError);
}

}  // namespace
}  // namespace ingot
