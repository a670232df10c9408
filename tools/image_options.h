// The options by which `train`, `eval` and `predict` read folders of images, and the data sets they make.
//
//   ImageArguments images;
//   images.add_to(app);
//   const Splits data = images.open("pets", model_info("resnet18"), 0, 0);
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/loader.h"
#include "models/models.h"

namespace ingot::tools {

// What was left out of `what`, one line each on the standard error.
void report_skipped(const SkippedSamples& skipped, const std::string& what);

struct BadImageArguments {
  std::string bad_images = "refuse";
  void add_to(CLI::App& app);
  BadSamples option() const { return bad_images == "skip" ? BadSamples::Skip : BadSamples::Refuse; }
};

struct ImageArguments {
  BadImageArguments bad;
  std::int64_t resize = 0;
  double test_share = 0.2;
  std::vector<double> crop_scale;  // empty: from 128 pixels on
  std::vector<double> color_jitter;
  std::vector<int> rand_augment;
  double mixup = 0.0, cutmix = 0.0;
  bool balance = false;

  void add_to(CLI::App& app);
  // Both parts of a folder of images, or of any other data set. `size` and `channels` of the samples are what
  // the command line says, 0 where it says nothing.
  struct Splits {
    std::shared_ptr<const Dataset> train, test;
  };
  Splits open(const std::string& data, const ModelInfo& model, std::int64_t size,
              std::int64_t channels) const;
  // Sets the random parts for `train`.
  void augment(const Dataset& train, Augment& out) const;
  // What a resumed run must share, by name.
  std::map<std::string, std::string> describe(const Dataset& train) const;
  // What describe() says of runs that were started before there were such options.
  static const std::map<std::string, std::string>& before();
};

// One part of the data set that a file of weights was trained for: folders of images are prepared as those
// were
// (`preparation`, ImagePreparation::text()).
std::shared_ptr<const Dataset> open_part(const std::string& data, Split split, const std::string& preparation,
                                         const BadImageArguments& bad);

}  // namespace ingot::tools
