#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/file.h"
#include "data/npy.h"
#include "io/checkpoint.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "train/trainer.h"

namespace ingot::tools {

namespace {

struct CheckpointArguments {
  std::string checkpoint, model, data, images;
  DeviceOptions device;
  PrecisionArguments precision;
  std::int64_t batch_size = 256, top = 5, channels = 0, image_size = 0, classes = 0;
  std::vector<float> mean, stddev;
  bool json = false;

  void add_to(CLI::App& app) {
    device.add_to(app);
    precision.add_to(app);
    app.add_option("checkpoint", checkpoint, "A file that `ingot train` wrote (last or weights .safetensors)")
        ->required();
    app.add_option("--model", model, "The model, where the file does not name it");
    app.add_option("--batch-size", batch_size, "Images computed at once")
        ->capture_default_str()
        ->check(at_least(1));
    app.add_option("--mean", mean, "Per-channel mean of the normalisation (default: what the file says)");
    app.add_option("--stddev", stddev, "Per-channel standard deviation, with --mean");
    app.add_flag("--json", json, "Print one JSON object");
  }
};

// What a file says about the network it belongs to; empty where it says nothing.
struct ModelIdentity {
  std::string model;
  std::map<std::string, std::int64_t> config;
};

ModelIdentity read_model_identity(const std::string& path) {
  const Metadata m = load_weights(path).metadata;
  ModelIdentity id;
  if (const auto it = m.find("model"); it != m.end()) id.model = it->second;
  try {
    if (const auto it = m.find("model_config"); it != m.end())
      id.config = nlohmann::json::parse(it->second).get<std::map<std::string, std::int64_t>>();
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(cat("'", path, "': the model's configuration is damaged: ", e.what()));
  }
  return id;
}

// The trainer for a file: its model from the file, else from the options and the images [channels, height,
// width], which must fit it; `whose` names those in an error.
std::unique_ptr<Trainer> open_trainer(const CheckpointArguments& a, const Shape& images, std::int64_t classes,
                                      const std::string& whose) {
  TrainerOptions to;
  to.target = a.device.target();
  to.memory_budget = a.device.budget();
  to.node_seconds = seconds_on(to.target);
  to.precision = a.precision.options();
  const ModelIdentity id = read_model_identity(a.checkpoint);
  to.model_name = a.model.empty() ? id.model : a.model;
  if (to.model_name.empty())
    throw UsageError(cat("'", a.checkpoint, "' does not name its model; give --model"));
  if (!a.model.empty() && !id.model.empty() && id.model != a.model)
    throw UsageError(cat("'", a.checkpoint, "' holds the model '", id.model, "', not '", a.model, "'"));
  const auto pick = [&](const char* key, std::int64_t otherwise) {
    const auto it = id.config.find(key);
    return it == id.config.end() ? otherwise : it->second;
  };
  ModelOptions mo;
  mo.in_channels = pick("in_channels", images[0]);
  mo.image_size = pick("image_size", images[1]);
  mo.num_classes = pick("num_classes", classes > 0 ? classes : model_info(to.model_name).num_classes);
  const auto net = make_model(to.model_name, mo);
  require_fitting_images(*net, to.model_name, {*mo.in_channels, *mo.image_size, *mo.image_size}, images,
                         whose);
  auto t = std::make_unique<Trainer>(net, to);
  t->load(a.checkpoint);
  return t;
}

int run_eval(const CheckpointArguments& a) {
  const std::shared_ptr<const Dataset> test = open_dataset(a.data, Split::Test);
  const Shape s = test->input_type().shape;
  if (s.rank() != 3)
    throw UsageError(cat("eval needs images [channels, height, width], the data set has ", to_string(s)));
  auto trainer = open_trainer(a, s, test->num_classes(), cat("the test part of '", a.data, "'"));
  EvaluateOptions o;
  o.batch_size = a.batch_size;
  o.augment.mean = a.mean;
  o.augment.stddev = a.stddev;
  if (a.mean.empty() && trainer->normalisation()) {
    o.augment.mean = trainer->normalisation()->mean;
    o.augment.stddev = trainer->normalisation()->stddev;
  } else if (a.mean.empty()) {
    const ChannelStats stats = channel_stats(*open_dataset(a.data, Split::Train));
    o.augment.mean = stats.mean;
    o.augment.stddev = stats.stddev;
  }
  const Evaluation e = trainer->evaluate(test, o);
  if (a.json) {
    nlohmann::ordered_json j;
    j["loss"] = e.loss;
    j["accuracy"] = e.accuracy();
    j["top5_accuracy"] = e.top5;
    j["macro_f1"] = e.confusion.macro_f1();
    j["images"] = e.confusion.total();
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%lld images: loss %.4f, accuracy %.4f, top-5 %.4f, macro F1 %.4f\n\n%s",
                static_cast<long long>(e.confusion.total()), e.loss, e.accuracy(), e.top5,
                e.confusion.macro_f1(), e.confusion.to_string(test->class_names()).c_str());
  }
  return 0;
}

// Images of an .npy file, [N, C, H, W] or [N, H, W]; u8 scaled to [0, 1].
Tensor read_images(const CheckpointArguments& a) {
  const Tensor raw = read_npy(a.images);
  Tensor x = raw.to(DType::F32).contiguous().clone();
  if (x.shape().rank() == 3) x = x.reshaped({x.shape()[0], 1, x.shape()[1], x.shape()[2]});
  if (x.shape().rank() != 4)
    throw ShapeError(
        cat("'", a.images, "' must hold [N, C, H, W] or [N, H, W], it is ", to_string(raw.shape())));
  if (raw.dtype() == DType::U8)
    for (float& v : x.values<float>()) v *= 1.0f / 255.0f;
  return x;
}

void normalise(const Tensor& x, const Normalisation& n) {
  const std::int64_t channels = x.shape()[1], plane = x.shape()[2] * x.shape()[3];
  if (n.mean.size() != n.stddev.size() ||
      (n.mean.size() > 1 && static_cast<std::int64_t>(n.mean.size()) != channels))
    throw UsageError(cat("--mean and --stddev need one figure, or one per channel (", channels, ")"));
  for (const float s : n.stddev)
    if (!(s > 0.0f)) throw UsageError(cat("--stddev must be greater than 0, got ", s));
  if (n.mean.empty()) return;
  float* const p = x.data<float>();
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const std::size_t c = n.mean.size() == 1 ? 0 : static_cast<std::size_t>(i / plane % channels);
    p[i] = (p[i] - n.mean[c]) / n.stddev[c];
  }
}

int run_predict(const CheckpointArguments& a) {
  const Tensor x = read_images(a);
  Shape sample = x.shape();
  sample.erase(0);
  auto trainer = open_trainer(a, sample, 0, cat("'", a.images, "'"));
  const bool told = !a.mean.empty() || !a.stddev.empty();
  normalise(x, told ? Normalisation{a.mean, a.stddev} : trainer->normalisation().value_or(Normalisation{}));
  const Tensor logits = trainer->predict(x, a.batch_size);
  const std::int64_t classes = logits.shape()[1], k = std::min(a.top, classes);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::int64_t row = 0; row < logits.shape()[0]; ++row) {
    const float* p = logits.data<float>() + row * classes;
    std::vector<std::int64_t> order(static_cast<std::size_t>(classes));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return p[i] > p[j]; });
    double sum = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(p[c] - p[order[0]]));
    nlohmann::ordered_json entry = nlohmann::ordered_json::array();
    std::string line = cat("image ", row, ":");
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t c = order[static_cast<std::size_t>(i)];
      const double probability = std::exp(static_cast<double>(p[c] - p[order[0]])) / sum;
      entry.push_back({{"class", c}, {"probability", probability}});
      char text[48];
      std::snprintf(text, sizeof text, "  %lld (%.3f)", static_cast<long long>(c), probability);
      line += text;
    }
    all.push_back(entry);
    if (!a.json) std::printf("%s\n", line.c_str());
  }
  if (a.json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

}  // namespace

Action add_eval(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  app.add_option("--data", a->data, "fashion-mnist, or a folder with IDX or .npy files")
      ->default_val("fashion-mnist");
  app.footer("Example:\n  ingot eval runs/first/weights.safetensors --data fashion-mnist");
  return [a] { return run_eval(*a); };
}

Action add_predict(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  app.add_option("images", a->images, "An .npy file of images [N, C, H, W] or [N, H, W], u8 or f32")
      ->required();
  app.add_option("--top", a->top, "How many classes to print")->capture_default_str()->check(at_least(1));
  app.footer("Example:\n  ingot predict runs/first/weights.safetensors images.npy");
  return [a] { return run_predict(*a); };
}

}  // namespace ingot::tools
