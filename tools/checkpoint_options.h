// What `eval`, `predict` and `explain` share: a file of weights, the trainer for it, and the images it is
// asked about.
//
//   CheckpointArguments a;
//   a.add_to(app);
//   const auto [x, names] = read_images(a);
//   auto trainer = open_trainer(a, {3, 224, 224}, 0, "'cat.jpg'");
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/commands.h"
#include "tools/image_options.h"
#include "train/trainer.h"

namespace ingot::tools {

struct CheckpointArguments {
  std::string checkpoint, model, data;
  std::vector<std::string> images;
  BadImageArguments bad;
  DeviceOptions device;
  PrecisionArguments precision;
  std::int64_t batch_size = 256, top = 5, channels = 0, image_size = 0, classes = 0;
  std::vector<float> mean, stddev;
  bool json = false;

  void add_file_to(CLI::App& app);  // the file, what it may not say, the device
  void add_to(CLI::App& app);       // these and how to compute
};

// What a file says about the network it belongs to; empty where it says nothing.
struct ModelIdentity {
  std::string model, preparation;
  std::map<std::string, std::int64_t> config;
};

ModelIdentity read_model_identity(const std::string& path);

// The trainer for a file: its model from the file, else from the options and the images [channels, height,
// width], which must fit it; `whose` names those in an error.
std::unique_ptr<Trainer> open_trainer(const CheckpointArguments& a, const Shape& images, std::int64_t classes,
                                      const std::string& whose);

// Of a file whose preparation is one of texts (TextPreparation::is).
std::unique_ptr<Trainer> open_text_trainer(const CheckpointArguments& a);

// What is to be predicted: f32 [N, C, H, W] in [0, 1], and a name for each row.
struct Images {
  Tensor x;
  std::vector<std::string> names;
};

Images read_images(const CheckpointArguments& a);

void normalise(const Tensor& x, const Normalisation& n);

}  // namespace ingot::tools
