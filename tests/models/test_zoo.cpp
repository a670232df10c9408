// The zoo against torchvision: state-dict keys, shapes, parameter counts and multiply-adds of
// tests/golden/model_keys.txt; initialisation; every model runs, and trains every parameter it has.
// benchmarks/zoo_parity.py compares logits.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "core/autodiff/differentiate.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/norm.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "models/convnext.h"
#include "models/densenet.h"
#include "models/efficientnet.h"
#include "models/models.h"
#include "models/resnet.h"
#include "models/vgg.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

Graph forward_graph(Module& net, const Shape& shape, bool training = false) {
  Graph g;
  g.build.training = training;
  output("logits", net(input(g, "x", {DType::F32, shape})));
  return g;
}

// --- torchvision's figures

struct Golden {
  std::string name;
  std::int64_t parameters = 0;
  double gmacs = 0.0;                                       // 0: not published
  std::vector<std::pair<std::string, std::string>> states;  // in the state dict's order, "f32[64, 3, 7, 7]"
};

std::string type_text(const std::string& dims, const char* dtype = "f32") {
  std::string text = cat(dtype, "[");
  for (const char c : dims) text += c == ',' ? std::string(", ") : std::string(1, c);
  return text + "]";
}

const std::vector<Golden>& golden_models() {
  static const std::vector<Golden> all = [] {
    std::vector<Golden> models;
    std::ifstream file(INGOT_SOURCE_DIR "/tests/golden/model_keys.txt");
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string module, entry;
      words >> module;
      if (module == "#") continue;
      if (module == "model") words >> models.emplace_back().name;
      while (words >> entry) {
        const std::size_t equals = entry.find('=');
        const std::string key = entry.substr(0, equals), value = entry.substr(equals + 1);
        Golden& m = models.back();
        const auto add = [&](const char* leaf, const std::string& type) {
          m.states.emplace_back(cat(module, ".", leaf), type);
        };
        if (module == "model") {
          if (key == "gmacs")
            m.gmacs = std::stod(value);
          else
            m.parameters = std::stoll(value);
        } else if (key == "norm") {
          for (const char* leaf : {"weight", "bias", "running_mean", "running_var"})
            add(leaf, type_text(value));
          add("num_batches_tracked", type_text("", "i64"));
        } else {
          add(key.c_str(), type_text(value));
        }
      }
    }
    return models;
  }();
  return all;
}

TEST(Zoo, GoldenFileHoldsEveryModelThatPyTorchHas) {
  std::vector<std::string> expected, found;
  for (const ModelInfo& m : models())
    if (m.name != "mlp" && m.name != "simple_cnn") expected.emplace_back(m.name);
  for (const Golden& m : golden_models()) found.push_back(m.name);
  std::sort(expected.begin(), expected.end());
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, expected);
}

TEST(Zoo, KeysAndShapesAreTorchvisions) {
  for (const Golden& m : golden_models()) {
    const Graph g = forward_graph(*make_model(m.name), model_input(m.name, 1));
    std::map<std::string, std::string> ours;
    for (const State& s : g.states()) ours[s.name] = to_string(g.type(s.value));
    // The first difference says enough; a misnamed block would fill pages.
    const auto differs = std::find_if(m.states.begin(), m.states.end(), [&](const auto& state) {
      const auto it = ours.find(state.first);
      return it == ours.end() || it->second != state.second;
    });
    if (differs != m.states.end()) {
      const auto it = ours.find(differs->first);
      ADD_FAILURE() << m.name << ": torchvision has " << differs->first << " " << differs->second
                    << ", Ingot " << (it == ours.end() ? "has no such key" : it->second);
      continue;
    }
    for (const auto& [key, type] : m.states) ours.erase(key);
    EXPECT_TRUE(ours.empty()) << m.name << ": torchvision has no " << ours.begin()->first;
  }
}

TEST(Zoo, ParametersAndMultiplyAddsArePublished) {
  for (const Golden& m : golden_models()) {
    const ModelSize size = model_size(m.name);
    EXPECT_EQ(size.parameters, m.parameters) << m.name;
    EXPECT_EQ(size.parameter_bytes, 4 * m.parameters) << m.name;
    // Published to three decimals.
    if (m.gmacs == 0.0) continue;
    EXPECT_NEAR(static_cast<double>(size.multiply_adds) * 1e-9, m.gmacs, 0.000501) << m.name;
  }
}

// Members that have no name: docs/models.md says whose they are. Counts are torchvision's.
TEST(Zoo, FactoriesMakeOtherMembers) {
  const auto parameters = [](Module& net) {
    const Graph g = forward_graph(net, {1, 3, 64, 64});
    std::int64_t n = 0;
    for (const State& s : g.states())
      if (s.role == StateRole::Parameter) n += g.type(s.value).numel();
    return n;
  };
  const ResNetConfig resnext101{
      .bottleneck = true, .blocks = {3, 4, 23, 3}, .groups = 32, .width_per_group = 8};
  EXPECT_EQ(parameters(*make_resnet(resnext101, 3, 1000)), 88791336);
  EXPECT_EQ(parameters(*make_vgg({.convolutions = {2, 2, 4, 4, 4}}, 3, 1000)), 143667240);
  EXPECT_EQ(parameters(*make_densenet({.layers = {6, 12, 32, 32}}, 3, 1000)), 14149480);
  EXPECT_EQ(parameters(*make_efficientnet({.width = 1.4, .depth = 1.8, .dropout = 0.4}, 3, 1000)), 19341616);
  EXPECT_EQ(parameters(*make_convnext({.blocks = {3, 3, 27, 3}, .drop = 0.4}, 3, 1000)), 50223688);
}

// --- initialisation, torchvision's

struct Start {
  const char *model, *key;
  Init::Kind kind;
  double a, b;
};

TEST(Zoo, InitialisationIsTorchvisions) {
  using K = Init::Kind;
  const auto he = [](double fan) { return std::sqrt(2.0 / fan); };
  const Start rows[] = {
      {"resnet34", "layer2.0.downsample.0.weight", K::Normal, 0.0, he(128)},
      {"resnext50_32x4d", "layer1.0.conv2.weight", K::Normal, 0.0, he(128 * 9)},
      {"vgg11", "features.3.weight", K::Normal, 0.0, he(128 * 9)},
      {"vgg11", "features.3.bias", K::Constant, 0.0, 0.0},
      {"vgg11", "classifier.3.weight", K::Normal, 0.0, 0.01},
      {"vgg11", "classifier.3.bias", K::Constant, 0.0, 0.0},
      {"squeezenet1_1", "features.3.expand3x3.weight", K::Uniform, -std::sqrt(6.0 / 144),
       std::sqrt(6.0 / 144)},
      {"squeezenet1_1", "features.3.squeeze.bias", K::Constant, 0.0, 0.0},
      {"squeezenet1_1", "classifier.1.weight", K::Normal, 0.0, 0.01},
      {"mobilenet_v2", "features.2.conv.1.0.weight", K::Normal, 0.0, he(96 * 9)},
      {"mobilenet_v2", "classifier.1.weight", K::Normal, 0.0, 0.01},
      {"mobilenet_v3_small", "features.1.block.1.fc1.weight", K::Normal, 0.0, he(8)},
      {"mobilenet_v3_small", "features.1.block.1.fc1.bias", K::Constant, 0.0, 0.0},
      {"mobilenet_v3_small", "classifier.3.bias", K::Constant, 0.0, 0.0},
      {"densenet121", "features.denseblock1.denselayer2.conv1.weight", K::Normal, 0.0, he(96)},
      {"densenet121", "classifier.weight", K::Uniform, -1.0 / 32.0, 1.0 / 32.0},
      {"densenet121", "classifier.bias", K::Constant, 0.0, 0.0},
      {"googlenet", "inception3a.branch1.conv.weight", K::Normal, 0.0, 0.01},
      {"googlenet", "fc.weight", K::Normal, 0.0, 0.01},
      {"googlenet", "fc.bias", K::Uniform, -1.0 / 32.0, 1.0 / 32.0},
      {"efficientnet_b1", "features.0.0.weight", K::Normal, 0.0, he(32 * 9)},
      {"efficientnet_b1", "classifier.1.weight", K::Uniform, -1.0 / std::sqrt(1000.0),
       1.0 / std::sqrt(1000.0)},
      {"efficientnet_b1", "classifier.1.bias", K::Constant, 0.0, 0.0},
      {"convnext_tiny", "features.1.0.block.0.weight", K::Normal, 0.0, 0.02},
      {"convnext_tiny", "features.1.0.block.3.bias", K::Constant, 0.0, 0.0},
      {"convnext_tiny", "features.1.0.layer_scale", K::Constant, 1e-6, 0.0},
  };
  for (const Start& row : rows) {
    const Graph g = forward_graph(*make_model(row.model), model_input(row.model, 1));
    const State* s = g.find_state(row.key);
    ASSERT_NE(s, nullptr) << row.model << " " << row.key;
    EXPECT_EQ(s->init.kind, row.kind) << row.model << " " << row.key;
    EXPECT_NEAR(s->init.a, row.a, 1e-12) << row.model << " " << row.key;
    EXPECT_NEAR(s->init.b, row.b, 1e-12) << row.model << " " << row.key;
  }
}

TEST(Zoo, BatchNormsAreTorchvisions) {
  struct Row {
    const char* model;
    double eps, momentum;
  };
  for (const Row& row :
       {Row{"resnet50", 1e-5, 0.1}, Row{"vgg11_bn", 1e-5, 0.1}, Row{"mobilenet_v2", 1e-5, 0.1},
        Row{"mobilenet_v3_small", 1e-3, 0.01}, Row{"densenet121", 1e-5, 0.1}, Row{"googlenet", 1e-3, 0.1},
        Row{"efficientnet_b3", 1e-5, 0.1}}) {
    const Graph g = forward_graph(*make_model(row.model), model_input(row.model, 2), true);
    for (const Node& n : g.nodes()) {
      if (n.op != "batch_norm") continue;
      EXPECT_EQ(n.attrs.as<BatchNormAttrs>().eps, row.eps) << row.model << " " << n.name;
      EXPECT_EQ(n.attrs.as<BatchNormAttrs>().momentum, row.momentum) << row.model << " " << n.name;
    }
  }
}

std::vector<double> dropped(const char* model) {
  std::vector<double> p;
  const Graph g = forward_graph(*make_model(model), model_input(model, 2), true);
  for (const Node& n : g.nodes())
    if (n.op == "dropout") p.push_back(n.attrs.as<DropoutAttrs>().p);
  return p;
}

TEST(Zoo, DropsWhatTorchvisionDrops) {
  EXPECT_EQ(dropped("resnet50"), std::vector<double>{});
  EXPECT_EQ(dropped("vgg16"), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(dropped("squeezenet1_0"), std::vector<double>{0.5});
  EXPECT_EQ(dropped("mobilenet_v2"), std::vector<double>{0.2});
  EXPECT_EQ(dropped("mobilenet_v3_large"), std::vector<double>{0.2});
  EXPECT_EQ(dropped("googlenet"), std::vector<double>{0.2});
  // Blocks 2, 4, 6 and 7, 9 and 10, 12 to 14 of 16 have a shortcut; then the classifier's.
  std::vector<double> b0;
  for (const double block : {2, 4, 6, 7, 9, 10, 12, 13, 14}) b0.push_back(0.2 * block / 16.0);
  b0.push_back(0.2);
  EXPECT_EQ(dropped("efficientnet_b0"), b0);
  EXPECT_EQ(dropped("efficientnet_b3").back(), 0.3);
  const std::vector<double> tiny = dropped("convnext_tiny");
  ASSERT_EQ(tiny.size(), 17u);  // of 18 blocks: the first keeps all
  EXPECT_DOUBLE_EQ(tiny.front(), 0.1 / 17.0);
  EXPECT_DOUBLE_EQ(tiny.back(), 0.1);
}

// --- every model runs and learns

class ZooRuns : public testing::TestWithParam<const char*> {
 protected:
  ZooRuns() {
    options_.image_size = std::max<std::int64_t>(model_info(name_).least_image, 64);
    options_.num_classes = 10;
  }

  const std::string name_ = GetParam();
  ModelOptions options_;
};

// A VGG of narrow hidden layers, whose own would take seconds to fill with random numbers; others as they
// are.
std::shared_ptr<Module> light_model(const std::string& name, const ModelOptions& options) {
  if (!name.starts_with("vgg")) return make_model(name, options);
  VggConfig config{.batch_norm = name.ends_with("_bn"), .hidden = 64};
  if (name.starts_with("vgg16")) config.convolutions = {2, 2, 3, 3, 3};
  return make_vgg(config, 3, *options.num_classes);
}

TEST_P(ZooRuns, AndGradientsReachEveryParameter) {
  // Stochastic depth leaves a branch without gradient where it drops it in every row.
  constexpr std::int64_t kRows = 4;
  const Shape shape = model_input(name_, kRows, options_);
  Graph g = forward_graph(*light_model(name_, options_), shape, true);
  const Value logits(g, g.find_output("logits"));
  ASSERT_EQ(logits.shape(), Shape({kRows, 10}));
  std::vector<Value> parameters;
  std::vector<std::string> names;
  for (const State& s : g.states())
    if (s.role == StateRole::Parameter) {
      parameters.emplace_back(g, s.value);
      names.push_back(s.name);
    }
  const Value loss = cross_entropy(logits, input(g, "labels", {DType::I64, {kRows}}));
  const std::vector<Value> gradients = differentiate(g, loss, parameters);
  for (std::size_t i = 0; i < names.size(); ++i) output(names[i], max(abs(gradients[i])));
  Session s(compile(g, {.target = Target::cpu(2)}), {.seed = 1});
  s.input("x").copy_from(formula::unit("x", shape));
  s.input("labels").copy_from(formula::labels("labels", kRows, 10, DType::I64));
  s.run();
  double least = s.output("logits").get(0), most = least;
  for (std::int64_t i = 0; i < 10 * kRows; ++i) {
    ASSERT_TRUE(std::isfinite(s.output("logits").get(i)));
    least = std::min(least, s.output("logits").get(i));
    most = std::max(most, s.output("logits").get(i));
  }
  EXPECT_LT(least, most);
  for (const std::string& name : names) {
    const double g_max = s.output(name).item();
    ASSERT_TRUE(std::isfinite(g_max)) << name;
    ASSERT_GT(g_max, 0.0) << "no gradient reaches " << name;
  }
}

// The smallest image that the registry allows, and what one pixel less says.
TEST_P(ZooRuns, OnTheSmallestImage) {
  const std::int64_t least = model_info(name_).least_image;
  options_.image_size = least;
  const Graph g = forward_graph(*make_model(name_, options_), model_input(name_, 1, options_));
  EXPECT_EQ(g.type(g.find_output("logits")).shape, Shape({1, 10}));
  options_.image_size = least - 1;
  const std::string message = message_of<UsageError>([&] { make_model(name_, options_); });
  EXPECT_TRUE(says(message, name_, std::to_string(least - 1))) << message;
}

const auto model_name = [](const testing::TestParamInfo<const char*>& p) { return std::string(p.param); };
INSTANTIATE_TEST_SUITE_P(Zoo, ZooRuns,
                         testing::Values("resnet32", "squeezenet1_1", "mobilenet_v3_small", "googlenet",
                                         "efficientnet_b0"),
                         model_name);
INSTANTIATE_TEST_SUITE_P(ZooSlow, ZooRuns,
                         testing::Values("resnet56", "resnet110", "resnet18", "resnet34", "resnet50",
                                         "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2",
                                         "vgg11", "vgg11_bn", "vgg16", "vgg16_bn", "squeezenet1_0",
                                         "mobilenet_v2", "mobilenet_v3_large", "densenet121",
                                         "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
                                         "convnext_tiny"),
                         model_name);

// --- what is refused

TEST(Zoo, BadOptionsAreRefused) {
  for (const ModelInfo& m : models()) {
    for (const std::int64_t bad : {0, -3}) {
      EXPECT_THROW(make_model(m.name, {.in_channels = bad}), UsageError) << m.name;
      EXPECT_THROW(make_model(m.name, {.num_classes = bad}), UsageError) << m.name;
      EXPECT_THROW(make_model(m.name, {.image_size = bad}), UsageError) << m.name;
    }
    EXPECT_THROW(model_input(m.name, 0), UsageError) << m.name;
  }
  EXPECT_TRUE(says(message_of<UsageError>([] { make_model("vgg16", {.image_size = 31}); }), "vgg16",
                   "32 x 32", "31 x 31"));
  EXPECT_TRUE(says(message_of<UsageError>([] { make_resnet({.groups = 32}, 3, 10); }), "bottleneck"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { make_resnet({.bottleneck = true, .groups = 0}, 3, 10); }), "0"));
}

// Channels and classes are the user's.
TEST(Zoo, OptionsReachTheModel) {
  for (const ModelInfo& m : models()) {
    const ModelOptions o{.in_channels = 2, .num_classes = 7};
    const Shape shape = model_input(m.name, 3, o);
    EXPECT_EQ(shape[1], 2) << m.name;
    const Graph g = forward_graph(*make_model(m.name, o), shape);
    EXPECT_EQ(g.type(g.find_output("logits")).shape, Shape({3, 7})) << m.name;
  }
}

// --- the page

std::string with_commas(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (std::ptrdiff_t i = std::ssize(digits) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

TEST(Zoo, DocumentedSizesAreRight) {
  std::ifstream file(INGOT_SOURCE_DIR "/docs/models.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const ModelInfo& m : models()) {
    const ModelSize size = model_size(m.name);
    char gmacs[32];
    std::snprintf(gmacs, sizeof gmacs, "%.3g", static_cast<double>(size.multiply_adds) * 1e-9);
    const std::string row =
        cat("| `", m.name, "` | ", m.in_channels, " x ", m.image_size, " x ", m.image_size, " | ",
            m.least_image, " | ", with_commas(size.parameters), " | ", gmacs, " |");
    EXPECT_NE(page.find(row), std::string::npos) << "docs/models.md lacks:\n" << row;
  }
  for (const ModelInfo& m : text_models()) {
    const ModelSize size = model_size(m.name);
    char gmacs[32];
    std::snprintf(gmacs, sizeof gmacs, "%.3g", static_cast<double>(size.multiply_adds) * 1e-9);
    const std::string row = cat("| `", m.name, "` | ", m.sequence_length, " x ", m.vocabulary, " | ",
                                m.least_length, " | ", with_commas(size.parameters), " | ", gmacs, " |");
    EXPECT_NE(page.find(row), std::string::npos) << "docs/models.md lacks:\n" << row;
  }
}

}  // namespace
}  // namespace ingot
