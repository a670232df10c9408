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
#include "tools/image_options.h"
#include "tools/machine_file.h"
#include "train/trainer.h"

namespace ingot::tools {

namespace {

struct CheckpointArguments {
  std::string checkpoint, model, data;
  std::vector<std::string> images;
  BadImageArguments bad;
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
  std::string model, preparation;
  std::map<std::string, std::int64_t> config;
};

ModelIdentity read_model_identity(const std::string& path) {
  const Metadata m = load_weights(path).metadata;
  ModelIdentity id;
  if (const auto it = m.find("model"); it != m.end()) id.model = it->second;
  if (const auto it = m.find("preparation"); it != m.end()) id.preparation = it->second;
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
  const std::string preparation = read_model_identity(a.checkpoint).preparation;
  const std::shared_ptr<const Dataset> test = open_part(a.data, Split::Test, preparation, a.bad);
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
    const ChannelStats stats = channel_stats(*open_part(a.data, Split::Train, preparation, a.bad));
    o.augment.mean = stats.mean;
    o.augment.stddev = stats.stddev;
  }
  o.bad_samples = a.bad.option();
  const Evaluation e = trainer->evaluate(test, o);
  report_skipped(e.skipped, "the test part");
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
Tensor read_npy_images(const std::string& path) {
  const Tensor raw = read_npy(path);
  Tensor x = raw.to(DType::F32).contiguous().clone();
  if (x.shape().rank() == 3) x = x.reshaped({x.shape()[0], 1, x.shape()[1], x.shape()[2]});
  if (x.shape().rank() != 4)
    throw ShapeError(cat("'", path, "' must hold [N, C, H, W] or [N, H, W], it is ", to_string(raw.shape())));
  if (raw.dtype() == DType::U8)
    for (float& v : x.values<float>()) v *= 1.0f / 255.0f;
  return x;
}

// What is to be predicted: f32 [N, C, H, W] in [0, 1], and a name for each row.
struct Images {
  Tensor x;
  std::vector<std::string> names;
};

// Image files, prepared as the training images were; or, where the weights were trained on samples of one
// size, as their model takes them.
Images read_image_files(const CheckpointArguments& a) {
  const ModelIdentity id = read_model_identity(a.checkpoint);
  ImagePreparation prepare;
  if (!id.preparation.empty()) {
    prepare = ImagePreparation::parse(id.preparation);
  } else {
    const std::string model = a.model.empty() ? id.model : a.model;
    if (model.empty()) throw UsageError(cat("'", a.checkpoint, "' does not name its model; give --model"));
    const ModelInfo& info = model_info(model);
    const auto pick = [&](const char* key, std::int64_t otherwise) {
      const auto it = id.config.find(key);
      return it == id.config.end() ? otherwise : it->second;
    };
    prepare.size = prepare.resize = pick("image_size", info.image_size);
    prepare.channels = pick("in_channels", info.in_channels);
  }
  std::vector<Tensor> rows;
  Images out;
  SkippedSamples skipped;
  for (const std::string& path : a.images) {
    try {
      rows.push_back(read_prepared_image(path, prepare).contiguous());
      out.names.push_back(path);
    } catch (const FormatError& error) {
      if (a.bad.option() == BadSamples::Refuse) throw;
      ++skipped.count;
      if (skipped.messages.size() < SkippedSamples::kMostMessages)
        skipped.messages.push_back(error.message());
    }
  }
  report_skipped(skipped, "the command line");
  if (rows.empty()) throw UsageError("predict: none of the images could be read");
  out.x = Tensor({DType::F32, {std::ssize(rows), prepare.channels, prepare.size, prepare.size}});
  float* to = out.x.data<float>();
  for (const Tensor& row : rows)
    for (const std::uint8_t v : row.values<std::uint8_t>()) *to++ = static_cast<float>(v) / 255.0f;
  return out;
}

Images read_images(const CheckpointArguments& a) {
  const auto is_npy = [](const std::string& path) { return path.ends_with(".npy"); };
  if (std::none_of(a.images.begin(), a.images.end(), is_npy)) return read_image_files(a);
  if (a.images.size() > 1)
    throw UsageError(cat("predict takes one .npy file or any number of image files, got ", a.images.size(),
                         " files of which some end in .npy"));
  Images out{read_npy_images(a.images[0]), {}};
  for (std::int64_t row = 0; row < out.x.shape()[0]; ++row) out.names.push_back(cat("image ", row));
  return out;
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
  const auto [x, names] = read_images(a);
  Shape sample = x.shape();
  sample.erase(0);
  auto trainer = open_trainer(a, sample, 0, cat("'", a.images[0], "'"));
  const bool told = !a.mean.empty() || !a.stddev.empty();
  normalise(x, told ? Normalisation{a.mean, a.stddev} : trainer->normalisation().value_or(Normalisation{}));
  const Tensor logits = trainer->predict(x, a.batch_size);
  const std::int64_t classes = logits.shape()[1], k = std::min(a.top, classes);
  const std::vector<std::string>& called = trainer->sample_notes().class_names;
  const bool named = std::ssize(called) == classes, files = !a.images[0].ends_with(".npy");
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::int64_t row = 0; row < logits.shape()[0]; ++row) {
    const float* p = logits.data<float>() + row * classes;
    std::vector<std::int64_t> order(static_cast<std::size_t>(classes));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return p[i] > p[j]; });
    double sum = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(p[c] - p[order[0]]));
    nlohmann::ordered_json entry = nlohmann::ordered_json::array();
    std::string line = cat(names[static_cast<std::size_t>(row)], ":");
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t c = order[static_cast<std::size_t>(i)];
      const double probability = std::exp(static_cast<double>(p[c] - p[order[0]])) / sum;
      nlohmann::ordered_json one{{"class", c}, {"probability", probability}};
      if (named) one["name"] = called[static_cast<std::size_t>(c)];
      entry.push_back(one);
      char text[16];
      std::snprintf(text, sizeof text, " (%.3f)", probability);
      line += cat("  ", named ? called[static_cast<std::size_t>(c)] : std::to_string(c), text);
    }
    if (files)
      all.push_back({{"file", names[static_cast<std::size_t>(row)]}, {"classes", entry}});
    else
      all.push_back(entry);
    if (!a.json) std::printf("%s\n", line.c_str());
  }
  // A file's name need not be UTF-8; the text must.
  if (a.json) std::printf("%s\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

Action add_eval(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option("--data", a->data,
                 "fashion-mnist, a folder with IDX or .npy files, or one with a folder of images per class")
      ->default_val("fashion-mnist");
  app.footer("Example:\n  ingot eval runs/first/weights.safetensors --data fashion-mnist");
  return [a] { return run_eval(*a); };
}

Action add_predict(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option("images", a->images,
                 "JPEG or PNG files, or one .npy file of images [N, C, H, W] or [N, H, W], u8 or f32")
      ->required();
  app.add_option("--top", a->top, "How many classes to print")->capture_default_str()->check(at_least(1));
  app.footer(
      "Example:\n  ingot predict runs/first/weights.safetensors images.npy\n"
      "  ingot predict runs/pets/weights.safetensors cat.jpg dog.png");
  return [a] { return run_predict(*a); };
}

}  // namespace ingot::tools
