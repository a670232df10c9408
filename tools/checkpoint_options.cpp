#include "tools/checkpoint_options.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/npy.h"
#include "data/text_dataset.h"
#include "io/checkpoint.h"
#include "tools/machine_file.h"

namespace ingot::tools {

void CheckpointArguments::add_file_to(CLI::App& app) {
  device.add_to(app);
  app.add_option("checkpoint", checkpoint, "A file that `ingot train` wrote (last or weights .safetensors)")
      ->required();
  app.add_option("--model", model, "The model, where the file does not name it");
  app.add_option("--mean", mean, "Per-channel mean of the normalisation (default: what the file says)");
  app.add_option("--stddev", stddev, "Per-channel standard deviation, with --mean");
  app.add_flag("--json", json, "Print one JSON object");
}

void CheckpointArguments::add_to(CLI::App& app) {
  add_file_to(app);
  precision.add_to(app);
  app.add_option("--batch-size", batch_size, "Images computed at once")
      ->capture_default_str()
      ->check(at_least(1));
}

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

namespace {

// All that a trainer needs but the sizes of its model.
TrainerOptions trainer_options(const CheckpointArguments& a, const ModelIdentity& id) {
  TrainerOptions to;
  to.target = a.device.target();
  to.memory_budget = a.device.budget();
  to.node_seconds = seconds_on(to.target);
  to.precision = a.precision.options();
  to.model_name = a.model.empty() ? id.model : a.model;
  if (to.model_name.empty())
    throw UsageError(cat("'", a.checkpoint, "' does not name its model; give --model"));
  if (!a.model.empty() && !id.model.empty() && id.model != a.model)
    throw UsageError(cat("'", a.checkpoint, "' holds the model '", id.model, "', not '", a.model, "'"));
  return to;
}

std::int64_t pick(const ModelIdentity& id, const char* key, std::int64_t otherwise) {
  const auto it = id.config.find(key);
  return it == id.config.end() ? otherwise : it->second;
}

}  // namespace

std::unique_ptr<Trainer> open_trainer(const CheckpointArguments& a, const Shape& images, std::int64_t classes,
                                      const std::string& whose) {
  const ModelIdentity id = read_model_identity(a.checkpoint);
  const TrainerOptions to = trainer_options(a, id);
  const ModelInfo& info = model_info(to.model_name);
  if (info.takes_text())
    throw UsageError(
        cat("'", a.checkpoint, "' holds the model '", info.name, "', which takes texts and no images"));
  ModelOptions mo;
  mo.in_channels = pick(id, "in_channels", images[0]);
  mo.image_size = pick(id, "image_size", images[1]);
  mo.num_classes = pick(id, "num_classes", classes > 0 ? classes : info.num_classes);
  const auto net = make_model(to.model_name, mo);
  require_fitting_images(*net, to.model_name, {*mo.in_channels, *mo.image_size, *mo.image_size}, images,
                         whose);
  auto t = std::make_unique<Trainer>(net, to);
  t->load(a.checkpoint);
  return t;
}

std::unique_ptr<Trainer> open_text_trainer(const CheckpointArguments& a) {
  const ModelIdentity id = read_model_identity(a.checkpoint);
  const TrainerOptions to = trainer_options(a, id);
  const ModelInfo& info = model_info(to.model_name);
  ModelOptions mo;
  mo.vocabulary = pick(id, "vocabulary", info.vocabulary);
  mo.sequence_length = pick(id, "sequence_length", info.sequence_length);
  mo.num_classes = pick(id, "num_classes", info.num_classes);
  auto t = std::make_unique<Trainer>(make_model(to.model_name, mo), to);
  t->load(a.checkpoint);
  return t;
}

namespace {

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

// Image files, prepared as the training images were; or, where the weights were trained on samples of one
// size, as their model takes them.
Images read_image_files(const CheckpointArguments& a) {
  const ModelIdentity id = read_model_identity(a.checkpoint);
  ImagePreparation prepare;
  if (TextPreparation::is(id.preparation))
    throw UsageError(cat("'", a.checkpoint, "' holds a network of texts; it takes no images"));
  if (!id.preparation.empty()) {
    prepare = ImagePreparation::parse(id.preparation);
  } else {
    const std::string model = a.model.empty() ? id.model : a.model;
    if (model.empty()) throw UsageError(cat("'", a.checkpoint, "' does not name its model; give --model"));
    const ModelInfo& info = model_info(model);
    prepare.size = prepare.resize = pick(id, "image_size", info.image_size);
    prepare.channels = pick(id, "in_channels", info.in_channels);
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

}  // namespace

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

}  // namespace ingot::tools
