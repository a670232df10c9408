#include "tools/transfer_options.h"

#include <cmath>
#include <cstdio>

#include "tools/commands.h"

namespace ingot::tools {

namespace {

// 'PATTERN=FACTOR' or 'PATTERN=FACTOR,DECAY'.
ParameterGroup parse_group(const std::string& text) {
  ParameterGroup group;
  const auto equals = text.rfind('=');
  const auto comma = equals == std::string::npos ? equals : text.find(',', equals);
  const auto number = [&](const std::string& part, double& out) {
    return !part.empty() && CLI::detail::lexical_cast(part, out) && std::isfinite(out) && out >= 0.0;
  };
  double decay = 0.0;
  bool good = equals != std::string::npos && equals > 0;
  if (good) {
    group.pattern = text.substr(0, equals);
    good = number(text.substr(equals + 1, comma == std::string::npos ? comma : comma - equals - 1),
                  group.lr_scale);
  }
  if (good && comma != std::string::npos) {
    good = number(text.substr(comma + 1), decay);
    group.weight_decay = decay;
  }
  if (!good)
    throw UsageError(cat("--param-group expects PATTERN=FACTOR or PATTERN=FACTOR,DECAY with numbers of at ",
                         "least 0, e.g. 'layer4.*=0.1' or '*.bias=1,0', got '", text, "'"));
  return group;
}

}  // namespace

void TransferArguments::add_to(CLI::App& app) {
  app.add_option("--weights", weights,
                 "Fine-tune these weights (safetensors): all must fit but the head, which starts anew where "
                 "the classes are others")
      ->excludes(app.get_option("--init"));
  app.add_flag("--partial-weights", partial, "Load what fits of --weights, and name what does not")
      ->needs("--weights");
  app.add_option("--freeze", frozen,
                 "Leave the parameters of this pattern as they are, e.g. 'layer1.*' (may be repeated)");
  app.add_flag("--freeze-backbone", freeze_backbone, "Train the head alone")->excludes("--freeze");
  app.add_flag("--freeze-batch-norm", freeze_batch_norm,
               "Batch norms of what is frozen keep their running statistics, and normalise by them");
  app.add_option("--head-lr-scale", head_lr_scale,
                 "Learning rate of the head (the layers as wide as there are classes), over --lr")
      ->capture_default_str()
      ->check(positive_number());
  app.add_option("--param-group", groups,
                 "PATTERN=FACTOR[,DECAY]: these parameters learn at FACTOR times --lr, with a weight decay "
                 "of their own (may be repeated; the first that matches counts)");
  app.add_option("--mean", mean,
                 "Per-channel mean of the normalisation (default: what --weights says, else that of the "
                 "training images)");
  app.add_option("--stddev", stddev, "Per-channel standard deviation, with --mean");
}

FreezeOptions TransferArguments::freeze(const std::vector<std::string>& head) const {
  if (freeze_batch_norm && frozen.empty() && !freeze_backbone)
    throw UsageError("--freeze-batch-norm is about what --freeze or --freeze-backbone names; give one");
  if (freeze_backbone) return {{"*"}, head, freeze_batch_norm};
  return {frozen, {}, freeze_batch_norm};
}

std::vector<ParameterGroup> TransferArguments::parameter_groups(const std::vector<std::string>& head) const {
  std::vector<ParameterGroup> all;
  if (head_lr_scale != 1.0)
    for (const std::string& name : head) all.push_back({name, head_lr_scale, {}});
  for (const std::string& text : groups) all.push_back(parse_group(text));
  return all;
}

void TransferArguments::load(Trainer& trainer, const std::vector<std::string>& head,
                             const TensorType& sample) const {
  if (weights.empty()) return;
  LoadOptions options;
  options.strict = !partial;
  options.ignore_mismatched = partial;
  options.except = head;
  // Files older than PyTorch 0.4.1 have no counts; torchvision's GoogLeNet has auxiliary classifiers.
  for (const char* key : {"*.num_batches_tracked", "aux1.*", "aux2.*"}) options.except.push_back(key);
  KeyReport keys;
  try {
    keys = trainer.load(weights, options, sample);
  } catch (FormatError& e) {
    if (partial) throw;
    throw FormatError(cat(e.message(), "; --partial-weights loads what fits"));
  }
  if (!keys.match())
    std::fprintf(stderr, "ingot: %s; what is missing or of another shape starts anew\n",
                 keys.text(weights).c_str());
}

Normalisation TransferArguments::normalisation(const Trainer& trainer, const ChannelStats& found) const {
  if (mean.empty() != stddev.empty()) throw UsageError("--mean and --stddev go together");
  if (!mean.empty()) return {mean, stddev};
  const auto& loaded = trainer.normalisation();
  if (!weights.empty() && loaded && loaded->mean.size() == found.mean.size()) return *loaded;
  return {found.mean, found.stddev};
}

std::map<std::string, std::string> TransferArguments::describe() const {
  return {{"freeze", freeze_backbone ? "the backbone" : join(frozen)},
          {"freeze_batch_norm", freeze_batch_norm ? "yes" : "no"},
          {"head_lr_scale", cat(head_lr_scale)},
          {"param_groups", join(groups)}};
}

}  // namespace ingot::tools
