// Attributions against Captum's figures (tests/golden/explain.json), the axioms they follow, and pictures of
// them.
#include "train/explain.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "core/runtime/session.h"
#include "data/image.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "models/models.h"
#include "models/resnet.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "train/heat_map.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

const nlohmann::json& golden() {
  static const nlohmann::json j = [] {
    std::ifstream file(std::string(INGOT_SOURCE_DIR) + "/tests/golden/explain.json");
    return nlohmann::json::parse(file);
  }();
  return j;
}

const std::int64_t kSize = golden().at("size"), kClass = golden().at("target");
const Shape kSample{3, kSize, kSize};

Tensor scaled(const std::string& key, double factor) {
  const Tensor t = formula::unit(key, kSample);
  for (float& v : t.values<float>()) v *= static_cast<float>(factor);
  return t;
}
const Tensor kImage = scaled("explain/x", 1.0), kBaseline = scaled("explain/baseline", 0.5);

// The weights of the script that made the file.
std::map<std::string, Tensor> weights() {
  std::map<std::string, Tensor> states;
  Shape batch = kSample;
  batch.insert(0, 1);
  const Graph g = inference_graph(*make_cifar_resnet(1, 3, 10), {DType::F32, batch});
  for (const State& s : g.states()) {
    const TensorType& type = g.type(s.value);
    Tensor t = type.dtype == DType::F32 ? formula::parameter(s.name, type.shape) : Tensor::zeros(type);
    if (s.name.find("running") != std::string::npos) {
      t = formula::unit(s.name, type.shape);
      for (float& v : t.values<float>()) v = s.name.ends_with("var") ? 1.0f + v / 2 : v / 4;
    }
    states[s.name] = t;
  }
  return states;
}

Explainer explainer(std::int64_t rows = 8) {
  return Explainer(make_cifar_resnet(1, 3, 10), weights(),
                   {.compile = {.target = Target::cpu(2)}, .rows = rows});
}

// Within 1e-4 of the largest figure, `repeat` times over: occlusion is the same in all channels.
void expect_golden(const Tensor& got, const nlohmann::json& want, std::int64_t repeat = 1) {
  ASSERT_EQ(got.numel() * repeat, std::ssize(want));
  double most = 0.0;
  for (const double v : want) most = std::max(most, std::abs(v));
  ASSERT_GT(most, 0.0);
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got.get(static_cast<std::int64_t>(i) % got.numel()), want[i].get<double>(), 1e-4 * most) << i;
}

double total(const Tensor& t) {
  double sum = 0.0;
  for (const float v : t.values<float>()) sum += static_cast<double>(v);
  return sum;
}

TEST(Explain, IntegratedGradientsAreCaptums) {
  for (const auto& [method, name] : {std::pair(Quadrature::GaussLegendre, "gausslegendre"),
                                     std::pair(Quadrature::RiemannMiddle, "riemann_middle")})
    for (const std::int64_t rows : {3, 8}) {  // seven steps: batches that are not full, and one for all
      SCOPED_TRACE(cat(name, ", ", rows, " rows"));
      const Attribution a = explainer(rows).integrated_gradients(
          kImage, kClass, {.steps = golden().at("steps"), .method = method, .baseline = kBaseline});
      expect_golden(a.values, golden().at("integrated_gradients").at(name));
      EXPECT_NEAR(a.score, golden().at("score").get<double>(), 1e-6);
      EXPECT_NEAR(a.baseline_score, golden().at("baseline_score").get<double>(), 1e-6);
    }
}

// Sundararajan et al., section 3, axiom "completeness". The path crosses the kinks of the ReLUs, so the error
// falls as the inverse of the number of steps and no faster. What is left is the rule's own: Captum, in
// float64, is left with the same.
TEST(Explain, IntegratedGradientsAddUpToTheDifferenceOfTheScores) {
  const auto steps = golden().at("completeness_steps").get<std::vector<std::int64_t>>();
  for (const auto& [method, name] : {std::pair(Quadrature::GaussLegendre, "gausslegendre"),
                                     std::pair(Quadrature::RiemannMiddle, "riemann_middle")})
    for (const auto& [cls, left] : golden().at("completeness").at(name).items())
      for (std::size_t k = 0; k < steps.size(); ++k) {
        const Attribution a = explainer(16).integrated_gradients(
            kImage, std::stoll(cls), {.steps = steps[k], .method = method, .baseline = kBaseline});
        const double error = total(a.values) - (a.score - a.baseline_score);
        EXPECT_NEAR(error, left.at(k).get<double>(), 1e-5)
            << name << ", class " << cls << ", " << steps[k] << " steps";
        EXPECT_LT(std::abs(error), 0.4 / static_cast<double>(steps[k])) << name << ", class " << cls;
      }
}

TEST(Explain, ALinearModelsAttributionsAreItsTermsWithOneStep) {
  struct Linear1 : Module {
    Linear fc{"fc", 12, 2};
    Value forward(Value x) override { return fc(reshape(x, {x.dim(0), 12})); }
  };
  const std::map<std::string, Tensor> states{{"fc.weight", formula::unit("w", {2, 12})},
                                             {"fc.bias", formula::unit("b", {2})}};
  const Tensor x = formula::unit("x", {3, 2, 2});
  const Attribution a =
      Explainer(std::make_shared<Linear1>(), states).integrated_gradients(x, 1, {.steps = 1});
  for (std::int64_t i = 0; i < 12; ++i)
    EXPECT_NEAR(a.values.get(i), x.get(i) * states.at("fc.weight").get(12 + i), 1e-6);
  EXPECT_NEAR(a.baseline_score, states.at("fc.bias").get(1), 1e-6);
}

TEST(Explain, QuadratureIsExactForPolynomials) {
  for (const std::int64_t n : {1, 2, 5, 50}) {
    const QuadratureRule rule = quadrature(Quadrature::GaussLegendre, n);
    for (const int degree : {0, 1, 2 * static_cast<int>(n) - 1}) {
      double sum = 0.0;
      for (std::size_t k = 0; k < rule.points.size(); ++k)
        sum += rule.weights[k] * std::pow(rule.points[k], degree);
      EXPECT_NEAR(sum, 1.0 / (degree + 1), 1e-14) << n << " points, degree " << degree;
    }
    EXPECT_TRUE(std::is_sorted(rule.points.begin(), rule.points.end()));
  }
}

TEST(Explain, SmoothGradIsCaptumsForTheSameNoise) {
  const std::int64_t samples = golden().at("samples");
  const Tensor noise(TensorType{DType::F32, {samples, 3, kSize, kSize}});
  for (std::int64_t k = 0; k < samples; ++k) {
    const Tensor one = scaled(cat("explain/noise/", k), 0.25);
    std::copy_n(one.data<float>(), one.numel(), noise.data<float>() + k * one.numel());
  }
  for (const std::int64_t rows : {2, 8})
    expect_golden(explainer(rows).smooth_grad(kImage, kClass, {.samples = samples, .noise = noise}).values,
                  golden().at("smoothgrad"));
  // Without noise it is the gradient.
  const Attribution plain = explainer().smooth_grad(kImage, kClass, {.samples = 1, .stddev = 0.0});
  expect_golden(plain.values, golden().at("saliency"));
  EXPECT_NEAR(plain.score, golden().at("score").get<double>(), 1e-6);
}

TEST(Explain, SmoothGradDrawsTheSameForASeedWhateverTheBatch) {
  const SmoothGradOptions o{.samples = 6, .seed = 5};
  const Tensor a = explainer(4).smooth_grad(kImage, kClass, o).values,
               b = explainer(6).smooth_grad(kImage, kClass, o).values;
  for (std::int64_t i = 0; i < a.numel(); ++i) ASSERT_NEAR(a.get(i), b.get(i), 1e-6);
  const Tensor other = explainer(4).smooth_grad(kImage, kClass, {.samples = 6, .seed = 6}).values;
  EXPECT_FALSE(bitwise_equal(a, other));
  // Of the asked deviation: the mean gradient of a square is that of its middle, noise adding nothing on
  // average.
  struct Square : Module {
    Value forward(Value x) override {
      const Value flat = reshape(x, {x.dim(0), 3 * 64 * 64});
      return concat({sum(flat * flat, {1}, true), sum(flat, {1}, true)}, 1);
    }
  };
  const Tensor flat = Tensor::zeros({DType::F32, {3, 64, 64}});
  const Tensor g =
      Explainer(std::make_shared<Square>(), {}).smooth_grad(flat, 0, {.samples = 1, .stddev = 0.5}).values;
  double squares = 0.0;
  for (const float v : g.values<float>()) squares += static_cast<double>(v) * static_cast<double>(v);
  const double n = static_cast<double>(g.numel());
  EXPECT_NEAR(std::sqrt(squares / n), 2 * 0.5, 0.05);  // the gradient is 2 (x + noise)
  EXPECT_NEAR(total(g) / n, 0.0, 0.05);
}

TEST(Explain, OcclusionIsCaptums) {
  const auto pair = [](const char* key) { return golden().at(key).get<std::array<std::int64_t, 2>>(); };
  for (const std::int64_t rows : {1, 7, 16}) {
    const Attribution a = explainer(rows).occlusion(
        kImage, kClass, {.window = pair("window"), .stride = pair("stride"), .baseline = kBaseline});
    expect_golden(a.values, golden().at("occlusion"), 3);
    EXPECT_NEAR(a.baseline_score, golden().at("baseline_score").get<double>(), 1e-6);
  }
  const Attribution whole = explainer().occlusion(kImage, kClass, {.window = {50, 50}, .stride = {50, 50}});
  for (std::int64_t p = 0; p < kSize * kSize; ++p)
    ASSERT_NEAR(whole.values.get(p), whole.score - whole.baseline_score, 1e-6) << "one window over all";
}

TEST(Explain, GradCamIsCaptums) {
  for (const char* layer : {"layer2", "layer3"}) {
    const Attribution a = explainer().grad_cam(kImage, kClass, {.layer = layer});
    expect_golden(a.coarse, golden().at("grad_cam").at(layer).at("coarse"));
    expect_golden(a.values, golden().at("grad_cam").at(layer).at("fine"));
    EXPECT_EQ(a.values.shape(), Shape({1, kSize, kSize}));
  }
  const Attribution last = explainer().grad_cam(kImage, kClass);
  expect_golden(last.coarse, golden().at("grad_cam").at("layer3").at("coarse"));
}

TEST(Explain, GradCamFindsTheLastImageOfActivationsOfEveryModel) {
  for (const ModelInfo& m : models()) {
    if (m.name == "mlp") continue;
    const Shape in = model_input(m.name, 1);
    const Graph g = grad_cam_graph(*make_model(m.name), {in[1], in[2], in[3]}, "");
    const Shape coarse = g.type(g.find_output("coarse")).shape;
    EXPECT_GT(coarse[2] * coarse[3], 1) << m.name;
    EXPECT_LE(coarse[2], 15) << m.name;
  }
}

TEST(Explain, NothingIsDifferentiatedBelowTheLayerOfGradCam) {
  const ProgramPtr p =
      compile(grad_cam_graph(*make_cifar_resnet(1, 3, 10), kSample, "layer3"), {.target = Target::cpu(1)});
  for (const Node& n : p->graph().nodes()) EXPECT_FALSE(n.name.starts_with("grad/layer")) << n.name;
}

TEST(Explain, ErrorsSayWhatIsWanted) {
  const Explainer e = explainer();
  EXPECT_TRUE(says(message_of<UsageError>([&] { e.grad_cam(kImage, 10); }), "classes 0 to 9, got 10"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { e.grad_cam(kImage, 0, {.layer = "layer9"}); }),
                   "no module 'layer9'", "conv1, bn1, relu, layer1"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { e.integrated_gradients(kImage, 0, {.steps = 0}); }), "got 0"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     e.integrated_gradients(kImage, 0, {.baseline = Tensor::zeros({DType::F32, {3, 2, 2}})});
                   }),
                   "[3, 12, 12]", "[3, 2, 2]"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { e.smooth_grad(kImage, 0, {.samples = 0}); }), "got 0"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { e.smooth_grad(kImage, 0, {.stddev = -1.0}); }), "got -1"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] { e.smooth_grad(kImage, 0, {.samples = 2, .noise = kImage}); }),
                   "2 images"));
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     e.occlusion(kImage, 0, {.window = {4, 4}, .stride = {5, 4}});
                   }),
                   "got 4 and 5"));
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     grad_cam_graph(*make_model("mlp"), {1, 28, 28}, "");
                   }),
                   "more than one place"));
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { Explainer(make_cifar_resnet(1, 3, 10), {}).grad_cam(kImage, 0); }),
           "missing (conv1.weight"));
}

TEST(HeatMap, IsOverItsPercentileAndOfOneSign) {
  const Tensor a = Tensor::zeros({DType::F32, {2, 10, 10}});
  for (std::int64_t p = 0; p < 100; ++p)
    a.set(p, static_cast<double>(p)), a.set(100 + p, p % 2 == 0 ? 0.0 : -2.0 * static_cast<double>(p));
  const Tensor absolute = heat_map(a), positive = heat_map(a, HeatSign::Positive);
  EXPECT_EQ(absolute.shape(), Shape({10, 10}));
  EXPECT_NEAR(absolute.get(50), 50.0 / 97.0, 1e-6) << "0.98 of 99 is 97.02";
  EXPECT_NEAR(absolute.get(51), 51.0 / 97.0, 1e-6);
  EXPECT_EQ(absolute.get(99), 1.0);
  EXPECT_EQ(positive.get(51), 0.0);
  EXPECT_GT(positive.get(50), 0.0);
  EXPECT_EQ(total(heat_map(Tensor::zeros({DType::F32, {3, 4, 5}}))), 0.0);
  a.set(7, NAN);
  EXPECT_THROW(heat_map(a), NumericError);
}

TEST(HeatMap, LiesOverThePictureAndGoesThroughAFile) {
  const Tensor pixels(TensorType{DType::U8, {3, 2, 3}}), heat = Tensor::zeros({DType::F32, {2, 3}});
  for (std::int64_t i = 0; i < pixels.numel(); ++i) pixels.set(i, static_cast<double>(10 * i));
  heat.set(5, 1.0);
  const Tensor over = heat_overlay(pixels, heat, 1.0);
  for (std::int64_t c = 0; c < 3; ++c) {
    EXPECT_EQ(over.get(c * 6), std::round(0.299 * 0 + 0.587 * 60 + 0.114 * 120))
        << "cold: the picture in grey";
    EXPECT_EQ(over.get(c * 6 + 5), c == 0 ? std::round(255.0 * 0.5) : 0.0) << "hot: dark red";
  }
  const TempDir dir;
  write_png(dir / "o.png", over);
  EXPECT_TRUE(bitwise_equal(read_image(dir / "o.png").contiguous(), over));
  EXPECT_EQ(image_info(dir / "o.png").format, "PNG");
  const Tensor grey = Tensor::full({DType::U8, {1, 300, 2}}, 77);
  write_png(dir / "o.png", grey);
  EXPECT_TRUE(bitwise_equal(read_image(dir / "o.png", 1).contiguous(), grey));
  EXPECT_TRUE(
      says(message_of<ShapeError>([&] { write_png(dir / "o.png", heat); }), "u8[1 or 3, height, width]"));
  EXPECT_THROW(write_png(dir / "no/o.png", grey), Error);
  EXPECT_TRUE(bitwise_equal(read_image(dir / "o.png", 1).contiguous(), grey))
      << "what failed left the file as it was";
  EXPECT_THROW(heat_overlay(pixels, Tensor::zeros({DType::F32, {3, 2}})), ShapeError);
}

}  // namespace
}  // namespace ingot
