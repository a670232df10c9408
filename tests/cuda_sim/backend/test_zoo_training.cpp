// Three steps of training of every model in models(), forward, backward and update, on the simulated device
// against the CPU. Tests run a few of them, `make zoo` all (half an hour of one core).
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// A convolution's weight, scaled to variance 1 / fan_in. Where it begins much smaller, as GoogLeNet's, batch
// norm divides by differences between nearly equal numbers, and makes as much of their rounding.
Tensor of_unit_gain(const Tensor& w) {
  double squares = 0.0;
  for (std::int64_t i = 0; i < w.numel(); ++i) squares += w.get(i) * w.get(i);
  const Tensor scaled = w.clone();
  const double factor = std::sqrt(static_cast<double>(w.shape()[0]) / squares);
  for (std::int64_t i = 0; i < w.numel(); ++i) scaled.set(i, w.get(i) * factor);
  return scaled;
}

// Batch norm's biases begin at 2 rather than 0, and a convolution's at 0.5 where there is no batch norm, so
// that few arguments of ReLU lie near its kink. With 0 two orders of summing soon give one of them two signs,
// and batch norm over the few pixels of a small image makes much of it: two correct programs then differ by a
// tenth after three steps.
void shift_activations(Session& s) {
  const auto states = s.states();
  const bool normalises = std::any_of(states.begin(), states.end(), [](const auto& state) {
    return ends_with(state.first, ".running_mean");
  });
  for (const auto& [name, t] : states) {
    if (t.shape().rank() == 4 && ends_with(name, ".weight")) s.set_state(name, of_unit_gain(t));
    if (!ends_with(name, ".bias")) continue;
    const std::string module = name.substr(0, name.size() - std::string_view("bias").size());
    if (!normalises)
      s.set_state(name, Tensor::full(t.type(), 0.5));
    else if (states.count(module + "running_mean") != 0)
      s.set_state(name, Tensor::full(t.type(), 2.0));
  }
}

std::map<std::string, Tensor> train(const Graph& g, const Target& target) {
  Session s(compile(g, {.target = target}), {.seed = 3});
  shift_activations(s);
  std::map<std::string, Tensor> all;
  for (int i = 0; i < 3; ++i) {
    fill_inputs(s, i);
    s.run();
    for (const char* name : {"loss", "logits"})
      all.emplace(cat(name, " of run ", i), s.output(name).contiguous().clone());
  }
  for (auto& [name, t] : s.states()) all.emplace(name, t);
  return all;
}

// ||got - want|| / ||want|| over tensors of a kind: by elements, gradients that are 0 but for rounding, such
// as those of biases before a batch norm, would say nothing.
struct Distance {
  double difference = 0.0, length = 0.0;
  void add(const Tensor& got, const Tensor& want) {
    for (std::int64_t i = 0; i < want.numel(); ++i) {
      const double a = got.get(i), b = want.get(i);
      difference += (a - b) * (a - b);
      length += b * b;
    }
  }
  double relative() const { return std::sqrt(difference / length); }
};

enum Kind { Results, Gradients, Statistics, Parameters };
constexpr std::array<const char*, 4> kKinds = {"losses and logits", "sums of gradients", "running statistics",
                                               "parameters"};
Kind kind_of(std::string_view name) {
  if (name.find(" of run ") != std::string_view::npos) return Results;
  if (ends_with(name, "/momentum")) return Gradients;
  if (ends_with(name, "running_mean") || ends_with(name, "running_var")) return Statistics;
  return Parameters;
}

// Where a ReLU's argument, or the difference of a pooling window's two largest elements, is smaller than the
// rounding of what came before, another order of summing takes the other side, and the gradient of one pixel
// goes elsewhere: about once a step among the 250,000 windows of GoogLeNet's thirteen poolings and the ReLUs
// of ResNet-152, which shows in all gradients below it. Losses and statistics do not feel it.
constexpr double kTolerance = 1e-5, kGradientTolerance = 1e-3;

class CudaBackendZoo : public CudaBackendTest, public testing::WithParamInterface<ModelInfo> {};

TEST_P(CudaBackendZoo, ThreeTrainingStepsEqualTheCpus) {
  const ModelInfo& m = GetParam();
  sim::reset({.memory = std::size_t{4} << 30});
  // The least size at which no batch norm of a net that divides by 32 sees a single pixel.
  const ModelOptions options{.num_classes = 10, .image_size = std::max<std::int64_t>(m.least_image, 64)};
  const Graph g = training_graph(*make_model(m.name, options), {DType::F32, model_input(m.name, 2, options)},
                                 *sgd({.lr = 1e-5, .momentum = 0.9}));
  const auto want = train(g, Target::cpu(1)), got = train(g, Target::cuda(0));
  ASSERT_EQ(got.size(), want.size());
  std::array<Distance, kKinds.size()> distances;
  for (const auto& [name, t] : want) distances[static_cast<std::size_t>(kind_of(name))].add(got.at(name), t);
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (distances[i].length == 0.0) continue;  // no batch norm, no statistics
    const double relative = distances[i].relative();
    EXPECT_LE(relative, i == Gradients ? kGradientTolerance : kTolerance) << kKinds[i];
    RecordProperty(cat("difference of ", kKinds[i]), cat(relative));
  }
}

std::string name_of(const testing::TestParamInfo<ModelInfo>& p) {
  return std::string(p.param.name);
}

// One of each family that has blocks of its own, the cheapest.
std::vector<ModelInfo> few() {
  std::vector<ModelInfo> out;
  for (const char* name : {"lenet5", "resnet20", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small",
                           "resnet18", "efficientnet_b0", "convnext_tiny"})
    out.push_back(model_info(name));
  return out;
}

INSTANTIATE_TEST_SUITE_P(Few, CudaBackendZoo, testing::ValuesIn(few()), name_of);
INSTANTIATE_TEST_SUITE_P(All, CudaBackendZoo, testing::ValuesIn(models().begin(), models().end()), name_of);

}  // namespace
}  // namespace ingot
