#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/image.h"
#include "tools/checkpoint_options.h"
#include "tools/machine_file.h"
#include "train/explain.h"
#include "train/heat_map.h"

namespace ingot::tools {

namespace {

struct ExplainArguments {
  CheckpointArguments file;
  std::string method = "grad-cam", cls, out, layer, baseline = "mean";
  std::int64_t steps = 50, samples = 25, rows = 8;
  std::vector<std::int64_t> window{}, stride{};
  double noise = 0.15;
  std::uint64_t seed = 0;
};

// A class by number, or by name where the file has names; the most likely one when nothing is asked for.
std::int64_t class_of(const std::string& asked, const std::vector<std::string>& names, const float* logits,
                      std::int64_t classes) {
  if (asked.empty()) return std::max_element(logits, logits + classes) - logits;
  const auto named = std::find(names.begin(), names.end(), asked);
  if (named != names.end()) return named - names.begin();
  std::int64_t n = 0;
  if (CLI::detail::lexical_cast(asked, n) && n >= 0 && n < classes) return n;
  throw UsageError(cat("--class: expected a number from 0 to ", classes - 1,
                       names.empty() ? "" : cat(" or one of ", join(names)), ", got '", asked, "'"));
}

std::array<std::int64_t, 2> both(const std::vector<std::int64_t>& given, std::int64_t otherwise) {
  if (given.empty()) return {otherwise, otherwise};
  return {given.front(), given.back()};
}

// u8 pixels of x in [0, 1].
Tensor pixels_of(const Tensor& x) {
  const Tensor pixels(TensorType{DType::U8, x.shape()});
  for (std::int64_t i = 0; i < x.numel(); ++i)
    pixels.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(std::lround(255.0f * std::clamp(x.data<float>()[i], 0.0f, 1.0f)));
  return pixels;
}

int run_explain(const ExplainArguments& a) {
  const auto [x, names] = read_images(a.file);
  if (x.shape()[0] != 1)
    throw UsageError(cat("explain takes one image, '", a.file.images[0], "' holds ", x.shape()[0]));
  std::error_code none;
  if (std::filesystem::equivalent(a.out, a.file.images[0], none))
    throw UsageError(cat("--out '", a.out, "' is the image itself, and would replace it"));
  Shape sample = x.shape();
  sample.erase(0);
  const auto trainer = open_trainer(a.file, sample, 0, cat("'", a.file.images[0], "'"));
  const bool told = !a.file.mean.empty() || !a.file.stddev.empty();
  const Normalisation normal =
      told ? Normalisation{a.file.mean, a.file.stddev} : trainer->normalisation().value_or(Normalisation{});
  const Tensor pixels = pixels_of(x.reshaped(sample));
  normalise(x, normal);
  const Tensor image = x.reshaped(sample);
  Tensor baseline;
  if (a.baseline != "mean") {
    baseline = Tensor::full(x.type(), a.baseline == "white" ? 1.0 : 0.0);
    normalise(baseline, normal);
    baseline = baseline.reshaped(sample);
  }

  const Tensor logits = trainer->predict(x, 1);
  const std::int64_t classes = logits.shape()[1];
  const float* const p = logits.data<float>();
  const std::vector<std::string>& called = trainer->sample_notes().class_names;
  const bool named = std::ssize(called) == classes;
  const std::int64_t cls = class_of(a.cls, named ? called : std::vector<std::string>{}, p, classes);
  double sum = 0.0;
  for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(p[c] - p[cls]));

  ExplainerOptions how;
  how.compile.target = a.file.device.target();
  how.compile.memory_budget = a.file.device.budget();
  how.compile.node_seconds = seconds_on(how.compile.target);
  how.rows = a.rows;
  const Explainer explain(trainer->model(), trainer->states(), how);
  Attribution found;
  HeatSign sign = HeatSign::Absolute;
  if (a.method == "grad-cam") {
    found = explain.grad_cam(image, cls, {.layer = a.layer});
    sign = HeatSign::Positive;
  } else if (a.method == "integrated-gradients") {
    found = explain.integrated_gradients(image, cls, {.steps = a.steps, .baseline = baseline});
  } else if (a.method == "smoothgrad") {
    const auto [low, high] = std::minmax_element(image.data<float>(), image.data<float>() + image.numel());
    found = explain.smooth_grad(
        image, cls,
        {.samples = a.samples, .stddev = a.noise * static_cast<double>(*high - *low), .seed = a.seed});
  } else {
    const std::int64_t side = std::max<std::int64_t>(1, std::min(sample[1], sample[2]) / 8);
    const auto window = both(a.window, side);
    const auto stride =
        a.stride.empty() ? std::array{(window[0] + 1) / 2, (window[1] + 1) / 2} : both(a.stride, 0);
    found = explain.occlusion(image, cls, {.window = window, .stride = stride, .baseline = baseline});
    sign = HeatSign::Positive;
  }
  write_png(a.out, heat_overlay(pixels, heat_map(found.values, sign)));

  double total = 0.0;
  for (const float v : found.values.contiguous().values<float>()) total += static_cast<double>(v);
  const std::string name = named ? called[static_cast<std::size_t>(cls)] : "";
  if (a.file.json) {
    nlohmann::ordered_json j{{"file", names[0]}, {"method", a.method}, {"class", cls}};
    if (named) j["name"] = name;
    j["probability"] = 1.0 / sum;
    j["score"] = found.score;
    if (a.method == "integrated-gradients") j["baseline_score"] = found.baseline_score;
    if (a.method == "integrated-gradients") j["sum"] = total;
    j["out"] = a.out;
    std::printf("%s\n", j.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  std::printf("%s: class %lld%s (%.3f), heat map by %s in %s\n", names[0].c_str(),
              static_cast<long long>(cls), named ? cat(" ", name).c_str() : "", 1.0 / sum, a.method.c_str(),
              a.out.c_str());
  if (a.method == "integrated-gradients")
    std::printf("attributions add up to %.4f, the score is %.4f above the baseline's\n", total,
                found.score - found.baseline_score);
  return 0;
}

}  // namespace

Action add_explain(CLI::App& app) {
  auto a = std::make_shared<ExplainArguments>();
  a->file.add_file_to(app);
  app.add_option_function<std::string>(
         "image", [a](const std::string& path) { a->file.images = {path}; },
         "A JPEG or PNG file, or an .npy file of one image [1, C, H, W]")
      ->required();
  app.add_option("--method", a->method, "grad-cam, integrated-gradients, smoothgrad or occlusion")
      ->capture_default_str()
      ->check(CLI::IsMember({"grad-cam", "integrated-gradients", "smoothgrad", "occlusion"}));
  app.add_option("--class", a->cls,
                 "What is to be explained, by number or name (default: the most likely class)");
  app.add_option("--out", a->out, "The heat map over the image, a PNG file of the size that the network sees")
      ->required();
  app.add_option("--layer", a->layer,
                 "grad-cam: the module whose activations count, e.g. layer3 (default: the last with places)");
  app.add_option("--steps", a->steps, "integrated-gradients: points on the path from the baseline")
      ->capture_default_str()
      ->check(between(1, 100'000));
  app.add_option("--baseline", a->baseline,
                 "integrated-gradients, occlusion: mean (of the training images), black or white")
      ->capture_default_str()
      ->check(CLI::IsMember({"mean", "black", "white"}));
  app.add_option("--samples", a->samples, "smoothgrad: noisy images")
      ->capture_default_str()
      ->check(between(1, 1'000'000));
  app.add_option("--noise", a->noise, "smoothgrad: deviation of the noise, as a share of the image's range")
      ->capture_default_str()
      ->check(nonnegative_number());
  app.add_option("--seed", a->seed, "smoothgrad: of the noise")->capture_default_str()->check(any_unsigned());
  app.add_option("--window", a->window,
                 "occlusion: pixels, one number or height and width (default: an eighth)")
      ->expected(1, 2)
      ->check(at_least(1));
  app.add_option("--stride", a->stride, "occlusion: by how much it moves (default: half the window)")
      ->expected(1, 2)
      ->check(at_least(1));
  app.add_option("--batch-size", a->rows, "Images computed at once")
      ->capture_default_str()
      ->check(between(1, 65536));
  app.footer(
      "Example:\n  ingot explain runs/pets/weights.safetensors cat.jpg --out why.png\n"
      "  ingot explain runs/pets/weights.safetensors cat.jpg --method integrated-gradients --class dog --out "
      "why.png");
  return [a] { return run_explain(*a); };
}

}  // namespace ingot::tools
