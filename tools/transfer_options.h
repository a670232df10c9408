// The options by which `train` starts from another network's weights and trains only part of what it loads.
//
//   TransferArguments transfer;
//   transfer.add_to(app);
//   to.freeze = transfer.freeze(head);                    // head: head_parameters(model)
//   transfer.load(trainer, head, sample);
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "data/loader.h"
#include "optim/optimizer.h"
#include "train/trainer.h"

namespace ingot::tools {

struct TransferArguments {
  std::string weights;
  bool partial = false, freeze_backbone = false, freeze_batch_norm = false;
  std::vector<std::string> frozen, groups;
  double head_lr_scale = 1.0;
  std::vector<float> mean, stddev;

  void add_to(CLI::App& app);
  FreezeOptions freeze(const std::vector<std::string>& head) const;
  // The head's first, then those of the command line. Throws UsageError for one that cannot be read.
  std::vector<ParameterGroup> parameter_groups(const std::vector<std::string>& head) const;
  // Does nothing without --weights; says on the standard error what the file did not give.
  void load(Trainer& trainer, const std::vector<std::string>& head, const TensorType& sample) const;
  // Of the images: what the command line says, else what the loaded weights were trained with, else `found`.
  Normalisation normalisation(const Trainer& trainer, const ChannelStats& found) const;
  // What a resumed run must share, by name, and what that was before there were such options.
  std::map<std::string, std::string> describe() const;
  static std::map<std::string, std::string> before() { return TransferArguments().describe(); }
};

}  // namespace ingot::tools
