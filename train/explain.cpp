#include "train/explain.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "core/autodiff/differentiate.h"
#include "core/base/philox.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/reduce.h"
#include "core/ops/resize.h"
#include "core/ops/view.h"
#include "core/runtime/session.h"
#include "io/state_dict.h"

namespace ingot {

namespace {

Shape batch_of(const Shape& sample, std::int64_t rows) {
  if (rows < 1) throw UsageError(cat("explain: at least one row must be computed at once, got ", rows));
  if (sample.rank() != 3)
    throw ShapeError(cat("explain: an image is [channels, height, width], got ", to_string(sample)));
  Shape shape = sample;
  shape.insert(0, rows);
  return shape;
}

Value image_input(Graph& g, const char* name, const Shape& sample, std::int64_t rows = 1) {
  return input(g, name, {DType::F32, batch_of(sample, rows)});
}

// The logit of "class" in each row, as the output "scores".
Value scores_of(Value logits) {
  Graph& g = logits.graph();
  if (logits.rank() != 2)
    throw ShapeError(cat("explain: a classifier gives logits of shape [rows, classes], the model gives ",
                         to_string(logits.shape())));
  const Value hot = one_hot(input(g, "class", {DType::I64, {1}}), logits.dim(1), logits.dtype());
  const Value scores = sum(logits * hot, {1});
  output("scores", scores);
  output("logits", logits);
  return scores;
}

// sum_k weight_k grad f(points_k), [1, C, H, W].
Value weighed_gradient(Module& model, Value points) {
  Graph& g = points.graph();
  const Value scores = scores_of(model(points));
  const Value gradient = differentiate(g, sum(scores), std::array{points})[0];
  const Value weight = input(g, "weight", {DType::F32, {points.dim(0)}});
  return sum(gradient * reshape(weight, {points.dim(0), 1, 1, 1}), {0}, true);
}

// The node whose result Grad-CAM looks at.
const Node& activation(const Graph& g, const std::string& layer) {
  const Node* found = nullptr;
  for (const Node& n : g.nodes()) {
    const Shape& s = g.type(n.outputs.at(0)).shape;
    const bool places = s.rank() == 4 && is_floating(g.type(n.outputs[0]).dtype);
    const bool wanted = layer.empty() ? places && s[2] * s[3] > 1
                                      : places && (n.name == layer || n.name.starts_with(layer + "."));
    if (wanted) found = &n;
  }
  if (found != nullptr) return *found;
  if (layer.empty())
    throw UsageError("grad-cam: the model has no activation with rows, channels and more than one place");
  std::vector<std::string> modules;
  for (const Node& n : g.nodes()) {
    const std::string first = n.name.substr(0, n.name.find('.'));
    if (std::find(modules.begin(), modules.end(), first) == modules.end()) modules.push_back(first);
  }
  throw UsageError(cat("grad-cam: no module '", layer,
                       "' of the model gives an image of activations; there are: ", join(modules),
                       ", and those within them"));
}

std::int64_t windows(std::int64_t size, std::int64_t window, std::int64_t stride) {
  return (std::max<std::int64_t>(size - window, 0) + stride - 1) / stride + 1;
}

}  // namespace

Graph integrated_gradients_graph(Module& model, const Shape& sample, std::int64_t rows) {
  Graph g;
  const Value x = image_input(g, "x", sample), baseline = image_input(g, "baseline", sample);
  const Value alpha = reshape(input(g, "alpha", {DType::F32, {rows}}), {rows, 1, 1, 1});
  output("attribution", (x - baseline) * weighed_gradient(model, baseline + alpha * (x - baseline)));
  return g;
}

Graph smooth_grad_graph(Module& model, const Shape& sample, std::int64_t rows) {
  Graph g;
  const Value x = image_input(g, "x", sample);
  output("attribution", weighed_gradient(model, x + image_input(g, "noise", sample, rows)));
  return g;
}

Graph occlusion_graph(Module& model, const Shape& sample, std::int64_t rows) {
  Graph g;
  const Value x = image_input(g, "x", sample), baseline = image_input(g, "baseline", sample);
  const Value keep = input(g, "keep", {DType::F32, {rows, 1, sample[1], sample[2]}});
  scores_of(model(where(gt(keep, 0.5), x, baseline)));
  return g;
}

Graph grad_cam_graph(Module& model, const Shape& sample, const std::string& layer) {
  Graph g;
  const Value scores = scores_of(model(image_input(g, "x", sample)));
  const Value a(g, activation(g, layer).outputs[0]);
  const Value gradient = differentiate(g, sum(scores), std::array{a})[0];
  const Value cam = relu(sum(mean(gradient, {2, 3}, true) * a, {1}, true));
  output("coarse", cam);
  output("attribution", interpolate(cam, {.size = {{sample[1], sample[2]}}, .mode = "bilinear"}));
  return g;
}

// Gauss and Legendre's points are the zeros of the polynomial P_n, found by Newton's method (Press et al.,
// "Numerical Recipes", section 4.6).
QuadratureRule quadrature(Quadrature method, std::int64_t steps) {
  if (steps < 1 || steps > 100'000)
    throw UsageError(cat("integrated gradients take 1 to 100000 steps, got ", steps));
  const auto n = static_cast<std::size_t>(steps);
  QuadratureRule rule{std::vector<double>(n), std::vector<double>(n)};
  const double count = static_cast<double>(steps);
  for (std::size_t i = 0; i < n; ++i) {
    const double at = static_cast<double>(i);
    if (method == Quadrature::RiemannMiddle) {
      rule.points[i] = (at + 0.5) / count;
      rule.weights[i] = 1.0 / count;
      continue;
    }
    double z = std::cos(std::numbers::pi * (at + 0.75) / (count + 0.5)), slope = 1.0;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double p = 1.0, before = 0.0;
      for (double k = 1.0; k <= count; k += 1.0) {
        const double next = ((2.0 * k - 1.0) * z * p - (k - 1.0) * before) / k;
        before = p;
        p = next;
      }
      slope = count * (z * p - before) / (z * z - 1.0);
      const double step = p / slope;
      z -= step;
      if (std::abs(step) < 1e-15) break;
    }
    rule.points[n - 1 - i] = 0.5 * (1.0 + z);
    rule.weights[n - 1 - i] = 1.0 / ((1.0 - z * z) * slope * slope);
  }
  return rule;
}

// One program with its weights, image and class.
struct Explainer::Run {
  Session session;
  Shape sample;

  Run(const Explainer& e, const Graph& g, const Tensor& x, std::int64_t cls)
      : session(compile(g, e.options_.compile)), sample(x.shape()) {
    TensorFile file;
    file.tensors.assign(e.states_.begin(), e.states_.end());
    load_state_dict(session, file, {}, "the weights");
    const std::int64_t classes = session.output("logits").shape()[1];
    if (cls < 0 || cls >= classes)
      throw UsageError(cat("explain: the model has the classes 0 to ", classes - 1, ", got ", cls));
    session.input("x").copy_from(one(x));
    session.input("class").set(0, static_cast<double>(cls));
  }
  void baseline(const Tensor& given) const {
    if (given.defined() && given.shape() != sample)
      throw ShapeError(cat("explain: the baseline must be as the image ", to_string(sample), ", it is ",
                           to_string(given.shape())));
    session.input("baseline").copy_from(one(given.defined() ? given : Tensor::zeros({DType::F32, sample})));
  }
  static Tensor one(const Tensor& x) {
    return x.to(DType::F32).contiguous().reshaped(batch_of(x.shape(), 1));
  }
  // Without the batch's axis.
  Tensor result(const char* name) const {
    const Tensor t = session.output(name).contiguous().clone();
    Shape s = t.shape();
    s.erase(0);
    return t.reshaped(s);
  }
};

Explainer::Explainer(std::shared_ptr<Module> model, std::map<std::string, Tensor> states,
                     ExplainerOptions options)
    : model_(std::move(model)), states_(std::move(states)), options_(std::move(options)) {
  if (model_ == nullptr) throw UsageError("Explainer: the model is null");
}

namespace {

void add_to(const Tensor& sum, const Tensor& part) {
  float* const to = sum.data<float>();
  const float* const from = part.data<float>();
  for (std::int64_t i = 0; i < sum.numel(); ++i) to[i] += from[i];
}

double score_of(const Session& s) {
  return s.output("scores").get(0);
}

}  // namespace

Attribution Explainer::integrated_gradients(const Tensor& x, std::int64_t cls,
                                            const IntegratedGradientsOptions& o) const {
  const QuadratureRule rule = quadrature(o.method, o.steps);
  const std::int64_t rows = std::min(options_.rows, o.steps);
  Run run(*this, integrated_gradients_graph(*model_, x.shape(), rows), x, cls);
  run.baseline(o.baseline);
  Attribution out{Tensor::zeros({DType::F32, x.shape()})};
  const Tensor alpha = run.session.input("alpha"), weight = run.session.input("weight");
  for (std::int64_t at = 0; at < o.steps; at += rows) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const auto k = static_cast<std::size_t>(at + i);
      alpha.set(i, at + i < o.steps ? rule.points[k] : 1.0);
      weight.set(i, at + i < o.steps ? rule.weights[k] : 0.0);
    }
    run.session.run();
    add_to(out.values, run.result("attribution"));
  }
  for (const double end : {1.0, 0.0}) {
    alpha.set(0, end);
    run.session.run();
    (end == 1.0 ? out.score : out.baseline_score) = score_of(run.session);
  }
  return out;
}

Attribution Explainer::smooth_grad(const Tensor& x, std::int64_t cls, const SmoothGradOptions& o) const {
  if (o.samples < 1) throw UsageError(cat("smoothgrad takes at least one sample, got ", o.samples));
  const std::int64_t rows = std::min(options_.rows, o.samples), size = x.numel();
  if (o.noise.defined() && (o.noise.shape().rank() != 4 || o.noise.numel() != o.samples * size))
    throw ShapeError(cat("smoothgrad: the noise must be ", o.samples, " images like ", to_string(x.shape()),
                         ", it is ", to_string(o.noise.shape())));
  const Tensor plain = x.to(DType::F32).contiguous();
  const auto [low, high] = std::minmax_element(plain.data<float>(), plain.data<float>() + size);
  const double stddev = o.stddev.value_or(0.15 * static_cast<double>(*high - *low));
  if (!(stddev >= 0.0)) throw UsageError(cat("smoothgrad: stddev must not be negative, got ", stddev));
  const Tensor given = o.noise.defined() ? o.noise.to(DType::F32).contiguous() : Tensor();
  Run run(*this, smooth_grad_graph(*model_, x.shape(), rows), x, cls);
  Attribution out{Tensor::zeros({DType::F32, x.shape()})};
  const Tensor noise = run.session.input("noise"), weight = run.session.input("weight");
  for (std::int64_t at = 0; at < o.samples; at += rows) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const bool real = at + i < o.samples;
      weight.set(i, real ? 1.0 / static_cast<double>(o.samples) : 0.0);
      float* const to = noise.data<float>() + i * size;
      if (given.defined() && real) {
        std::copy_n(given.data<float>() + (at + i) * size, size, to);
        continue;
      }
      const Philox draws(o.seed, static_cast<std::uint64_t>(at + i));  // one stream a sample
      for (std::int64_t k = 0; k < size; k += 2) {
        double a = 0.0, b = 0.0;
        box_muller(draws.bits(static_cast<std::uint64_t>(k)), draws.bits(static_cast<std::uint64_t>(k + 1)),
                   a, b);
        to[k] = static_cast<float>(stddev * a);
        if (k + 1 < size) to[k + 1] = static_cast<float>(stddev * b);
      }
    }
    run.session.run();
    add_to(out.values, run.result("attribution"));
  }
  std::fill_n(noise.data<float>(), size, 0.0f);
  run.session.run();
  out.score = score_of(run.session);
  return out;
}

Attribution Explainer::occlusion(const Tensor& x, std::int64_t cls, const OcclusionOptions& o) const {
  batch_of(x.shape(), 1);
  const std::int64_t h = x.shape()[1], w = x.shape()[2];
  for (std::size_t k = 0; k < 2; ++k)
    if (o.window[k] < 1 || o.stride[k] < 1 || o.stride[k] > o.window[k])
      throw UsageError(cat("occlusion: a window of at least 1 moves by at least 1 and at most its size, got ",
                           o.window[k], " and ", o.stride[k]));
  const std::int64_t across = windows(w, o.window[1], o.stride[1]),
                     count = windows(h, o.window[0], o.stride[0]) * across,
                     rows = std::min(options_.rows, count);
  Run run(*this, occlusion_graph(*model_, x.shape(), rows), x, cls);
  run.baseline(o.baseline);
  const Tensor keep = run.session.input("keep");
  const auto fill = [&](std::int64_t row, float v) {
    std::fill_n(keep.data<float>() + row * h * w, h * w, v);
  };
  Attribution out;
  for (const float all : {0.0f, 1.0f}) {
    for (std::int64_t i = 0; i < rows; ++i) fill(i, all);
    run.session.run();
    (all == 1.0f ? out.score : out.baseline_score) = score_of(run.session);
  }
  std::vector<double> sum(static_cast<std::size_t>(h * w)), covered(sum.size());
  // The pixels of window number k.
  const auto each = [&](std::int64_t k, auto&& pixel) {
    const std::int64_t top = k / across * o.stride[0], left = k % across * o.stride[1];
    for (std::int64_t y = top; y < std::min(h, top + o.window[0]); ++y)
      for (std::int64_t z = left; z < std::min(w, left + o.window[1]); ++z) pixel(y * w + z);
  };
  for (std::int64_t at = 0; at < count; at += rows) {
    for (std::int64_t i = 0; i < rows; ++i) {
      fill(i, 1.0f);
      if (at + i < count) each(at + i, [&](std::int64_t p) { keep.data<float>()[i * h * w + p] = 0.0f; });
    }
    run.session.run();
    const Tensor scores = run.session.output("scores");
    for (std::int64_t i = 0; i < std::min(rows, count - at); ++i)
      each(at + i, [&](std::int64_t p) {
        sum[static_cast<std::size_t>(p)] += out.score - scores.get(i);
        covered[static_cast<std::size_t>(p)] += 1.0;
      });
  }
  out.values = Tensor(TensorType{DType::F32, {1, h, w}});
  for (std::int64_t p = 0; p < h * w; ++p)
    out.values.set(p, sum[static_cast<std::size_t>(p)] / covered[static_cast<std::size_t>(p)]);
  return out;
}

Attribution Explainer::grad_cam(const Tensor& x, std::int64_t cls, const GradCamOptions& o) const {
  Run run(*this, grad_cam_graph(*model_, x.shape(), o.layer), x, cls);
  run.session.run();
  return {run.result("attribution"), score_of(run.session), 0.0, run.result("coarse")};
}

}  // namespace ingot
