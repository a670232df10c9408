// Trainer: Keras' verbs over one compiled program per mode.
//
//   Trainer trainer(make_model("simple_cnn"), {.optimizer = sgd({.lr = 0.1, .momentum = 0.9}), .seed = 1});
//   trainer.fit(fashion_mnist(Split::Train), {.epochs = 5, .batch_size = 64, .validation =
//   fashion_mnist(Split::Test)}); Evaluation e = trainer.evaluate(fashion_mnist(Split::Test), {}); Tensor
//   logits = trainer.predict(images); trainer.save("weights.safetensors");
//
// Samples are images or other numbers, or i32 tokens; targets are one class a sample, or one for each place
// of a sequence (train/step_graph.h).
//
// The batch is static: a short last batch is padded and masked, so losses are exact and nothing is compiled
// twice. With the same seed and thread count every run gives the same bits; a run resumed from a checkpoint
// ends with the bits of one that was never stopped.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/runtime/session.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "io/state_dict.h"
#include "optim/optimizer.h"
#include "train/freeze.h"
#include "train/metrics.h"
#include "train/step_graph.h"

namespace ingot {

class Trainer;

// What callbacks and histories see: "loss", "accuracy", "lr", "images_per_second", "val_loss",
// "val_accuracy", ..., and "loss_scale" and "skipped_steps" where the loss is scaled.
using Logs = std::map<std::string, double>;

// Keras' callback: its functions stand in the order in which the trainer calls them. `state` and `restore` go
// through the checkpoint, so that a resumed run decides as the first one would have.
class Callback {
 public:
  virtual ~Callback() = default;
  virtual std::string name() const { return {}; }  // key of its state; empty: it has none
  // Called after those that answer false, wherever it stands in the list: a checkpoint must hold what the
  // others made of the epoch.
  virtual bool after_others() const { return false; }
  virtual void on_train_begin(Trainer&) {}
  virtual void on_epoch_begin(Trainer&, std::int64_t /*epoch*/) {}
  virtual void on_batch_end(Trainer&, std::int64_t /*step*/, const Logs&) {}
  virtual void on_epoch_end(Trainer&, std::int64_t /*epoch*/, const Logs&) {}
  virtual void on_train_end(Trainer&, const Logs&) {}
  virtual std::string state() const { return {}; }
  virtual void restore(const std::string& /*state*/) {}
};

struct TrainerOptions {
  OptimizerPtr optimizer{};  // default: sgd({.lr = 0.01, .momentum = 0.9})
  FreezeOptions freeze{};    // what training leaves as it is
  double label_smoothing = 0.0;
  Target target = Target::cpu();
  std::size_t memory_budget = 0;  // bytes of the training session; 0: none (CompileOptions::memory_budget)
  SecondsOracle node_seconds{};   // what it is decided by (CompileOptions::node_seconds)
  PrecisionOptions precision{};   // weights, losses and statistics stay f32 (core/passes/precision.h)
  // Default: dynamic in f16, none in other types (optim/loss_scale.h).
  std::optional<LossScale> loss_scale{};
  std::uint64_t seed = 0;
  bool check_numerics = false;  // look at every result of every step, and name the first that is not finite
  bool debug =
      false;  // wait for every step, so that an error of a GPU names its node (SessionOptions::debug)
  std::string model_name{};  // kept in checkpoints, so that another model's is refused by name
  std::map<std::string, std::int64_t>
      model_config{};  // likewise: a checkpoint alone says how to build its model
};

struct FitOptions {
  std::int64_t epochs = 1;
  std::int64_t batch_size = 64;
  std::shared_ptr<const Dataset> validation{};  // evaluated after each epoch
  Augment augment{};  // of the training samples; validation gets its mean and stddev
  int workers = 1;
  bool balance_classes = false;                 // of the training samples (LoaderOptions)
  BadSamples bad_samples = BadSamples::Refuse;  // of training and validation
  std::vector<std::shared_ptr<Callback>> callbacks{};
  std::string resume{};  // a checkpoint to go on from
};

struct EvaluateOptions {
  std::int64_t batch_size = 256;
  Augment augment{};  // mean and stddev are used, the random parts are not
  int workers = 1;
  BadSamples bad_samples = BadSamples::Refuse;
};

struct Evaluation {
  double loss = 0.0;
  ConfusionMatrix confusion;
  double top5 = 0.0;  // 1 when there are at most five classes
  SkippedSamples skipped{};
  double accuracy() const { return confusion.accuracy(); }
};

using History = std::vector<Logs>;  // one entry per finished epoch

// A place in a run: what a checkpoint says beside the states.
struct Progress {
  std::int64_t epoch = 0;  // being trained
  std::int64_t step = 0;   // optimiser steps done since the start of the run
  std::int64_t epochs = 0, steps_per_epoch = 0;
};

// What was done to the samples before the network saw them, per channel; empty: nothing. Part of what the
// weights mean, so it is saved with them.
struct Normalisation {
  std::vector<float> mean{}, stddev{};
};

// What the samples of the training data are, kept beside the weights so that a file alone says what its
// outputs mean.
struct SampleNotes {
  std::vector<std::string> class_names{};  // one per output, or none
  std::string preparation{};               // Dataset::preparation()
};

class Trainer {
 public:
  explicit Trainer(std::shared_ptr<Module> model, TrainerOptions options = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Trains; returns one entry per epoch that this call finished. Throws NumericError when the loss stops
  // being finite, and when a loss scale had 50 steps in a row skipped: no scale will do.
  History fit(std::shared_ptr<const Dataset> train, const FitOptions& options);
  // Finishes the current step, then ends fit(). Callbacks and signal handlers may call it.
  void stop();
  bool stopping() const;

  // Throws NumericError when the loss or the data is not finite.
  Evaluation evaluate(std::shared_ptr<const Dataset> data, const EvaluateOptions& options = {});
  // Logits for inputs [N, ...]; any N, computed in batches of `batch_size`. Inputs of type i32 and i64 are
  // numbers of tokens and stay what they are; others become f32. Throws NumericError when the inputs or the
  // logits are not finite.
  Tensor predict(const Tensor& inputs, std::int64_t batch_size = 256);

  // Weights and buffers by state-dict key, as safetensors with a checksum. Throws NumericError, and leaves
  // the file as it was, when one of them is not finite; so does save_checkpoint().
  void save(const std::string& path);
  // Throws FormatError whose message lists every missing, unexpected and reshaped key; before any of fit(),
  // evaluate() and predict() the keys are not known, and the first of them throws it. Optimiser states are
  // left out.
  void load(const std::string& path);
  // Weights that fit only in part, as for fine-tuning (io/state_dict.h): says what differs, or throws
  // FormatError where `options` do not allow it. What the file does not give starts as in a new training.
  // `sample` is the shape of one input, e.g. {3, 224, 224}: by it the model's keys are known at once.
  KeyReport load(const std::string& path, const LoadOptions& options, const Shape& sample);
  // As a data set has it (Dataset::input_type), for models that take no f32.
  KeyReport load(const std::string& path, const LoadOptions& options, const TensorType& sample);
  // Everything a run needs to go on: states, generator, loader position, callbacks. During fit() or after it;
  // throws UsageError when fit() ended with an error.
  void save_checkpoint(const std::string& path);

  // Of the last fit(), or of the file that was loaded; nothing when neither said.
  const std::optional<Normalisation>& normalisation() const;
  const SampleNotes& sample_notes() const;
  // Training samples that the last fit() left out.
  const SkippedSamples& skipped() const;

  const std::shared_ptr<Module>& model() const;
  const Progress& progress() const;
  const TrainerOptions& options() const;
  // The states by name: parameters and buffers, and the optimiser's after fit() has begun.
  std::map<std::string, Tensor> states();
  // The training session; throws UsageError before fit().
  Session& session();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ingot
