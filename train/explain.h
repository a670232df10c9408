// Why a network says what it says: which pixels of an image speak for a class.
//
// Each method is a graph, written around the model's own and differentiated like any other, so that it is
// compiled, planned and run as one program; one method needs no gradient. What is explained is a logit,
// before any softmax. Names and formulas are Captum's.
//
//   Explainer explain(make_model("resnet18"), trainer.states());
//   Attribution a = explain.integrated_gradients(x, 207);         // x: f32[3, 224, 224], as the network sees
//   it Attribution b = explain.grad_cam(x, 207, {.layer = "layer4"}); write_png("dog.png",
//   heat_overlay(pixels, heat_map(b.values)));   // train/heat_map.h
//
// The graphs have the inputs "x" f32[1, C, H, W] and "class" i64[1], others as said below, and the outputs
// "attribution" [1, C, H, W] and "scores" [rows], the logit of each row of the model's batch. Rows of weight
// 0 add nothing, so a batch need not be full.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/ir/graph.h"
#include "core/runtime/program.h"
#include "layers/module.h"

namespace ingot {

// Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks" (arXiv 1703.01365):
// (x - baseline) sum_k weight_k grad f(baseline + alpha_k (x - baseline)).
// Inputs besides: "baseline" [1, C, H, W]; "alpha", "weight" f32[rows].
Graph integrated_gradients_graph(Module& model, const Shape& sample, std::int64_t rows);
// Smilkov et al., "SmoothGrad: removing noise by adding noise" (arXiv 1706.03825):
// sum_k weight_k grad f(x + noise_k). Inputs besides: "noise" f32[rows, C, H, W], "weight" f32[rows].
Graph smooth_grad_graph(Module& model, const Shape& sample, std::int64_t rows);
// Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks" (arXiv 1311.2901): the logits of x
// where "keep" [rows, 1, H, W] is 1 and of "baseline" where it is 0. There is no "attribution", only
// "scores".
Graph occlusion_graph(Module& model, const Shape& sample, std::int64_t rows);
// Selvaraju et al., "Grad-CAM" (arXiv 1610.02391): relu(sum_k a_k A_k), a_k being the mean over the places of
// the gradient for channel k of the activation A. Outputs: "coarse" [1, 1, h, w], and as "attribution" its
// bilinear interpolation to [1, 1, H, W]. A is the result of the module `layer` ("layer4", "features.28"), of
// which the last node with rows, channels and places counts; empty: of the last such node of the model with
// more than one place. Throws UsageError where there is none, listing the modules.
Graph grad_cam_graph(Module& model, const Shape& sample, const std::string& layer);

enum class Quadrature { GaussLegendre, RiemannMiddle };  // Captum's gausslegendre, riemann_middle

struct IntegratedGradientsOptions {
  std::int64_t steps = 50;
  Quadrature method = Quadrature::GaussLegendre;
  Tensor baseline{};  // default: zeros
};

struct SmoothGradOptions {
  std::int64_t samples = 25;
  std::optional<double> stddev{};  // default: 0.15 of the range of x, as in the paper
  std::uint64_t seed = 0;
  Tensor noise{};  // [samples, C, H, W] in the place of what would be drawn
};

struct OcclusionOptions {
  std::array<std::int64_t, 2> window{15, 15}, stride{8, 8};  // rows, columns; over all channels
  Tensor baseline{};                                         // default: zeros
};

struct GradCamOptions {
  std::string layer{};
};

struct Attribution {
  Tensor values;                // [C, H, W]; occlusion, Grad-CAM: [1, H, W]
  double score = 0.0;           // the logit of the class
  double baseline_score = 0.0;  // of the baseline, where the method has one
  Tensor coarse{};              // Grad-CAM: [1, h, w], before it is resized
};

struct ExplainerOptions {
  CompileOptions compile{};
  std::int64_t rows = 8;  // images computed at once
};

// Compiles what it is asked for, anew for each image: one image is what is usually explained.
class Explainer {
 public:
  // `states` as Trainer::states() or a file of weights gives them; throws FormatError where they are not the
  // model's.
  Explainer(std::shared_ptr<Module> model, std::map<std::string, Tensor> states,
            ExplainerOptions options = {});

  // `x` is f32[C, H, W], normalised. Each throws UsageError for impossible options and for a class that the
  // model does not have.
  //
  // The attributions add up to score - baseline_score, but for the error of the quadrature.
  Attribution integrated_gradients(const Tensor& x, std::int64_t cls,
                                   const IntegratedGradientsOptions& options = {}) const;
  Attribution smooth_grad(const Tensor& x, std::int64_t cls, const SmoothGradOptions& options = {}) const;
  // Of each pixel, the mean of score - score without the window, over the windows that cover it. Those at the
  // right and lower border may be cut off there.
  Attribution occlusion(const Tensor& x, std::int64_t cls, const OcclusionOptions& options = {}) const;
  Attribution grad_cam(const Tensor& x, std::int64_t cls, const GradCamOptions& options = {}) const;

 private:
  struct Run;
  std::shared_ptr<Module> model_;
  std::map<std::string, Tensor> states_;
  ExplainerOptions options_;
};

// Points and weights of a rule for the integral over [0, 1]; the weights add up to 1.
struct QuadratureRule {
  std::vector<double> points, weights;
};
QuadratureRule quadrature(Quadrature method, std::int64_t steps);

}  // namespace ingot
