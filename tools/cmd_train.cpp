#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/file.h"
#include "io/checkpoint.h"
#include "tools/commands.h"
#include "tools/image_options.h"
#include "tools/machine_file.h"
#include "tools/text_options.h"
#include "tools/transfer_options.h"
#include "train/callbacks.h"
#include "train/trainer.h"

namespace ingot::tools {

namespace {

struct TrainArguments {
  ModelArguments model;
  DeviceOptions device;
  PrecisionArguments precision;
  LossScaleArguments loss_scale;
  ImageArguments images;
  TextArguments texts;
  TransferArguments transfer;
  std::string data = "fashion-mnist", optimizer = "sgd", schedule = "one-cycle", out, init;
  std::int64_t epochs = 5, batch_size = 64, warmup = 0, checkpoint_every = 0, patience = 0, crop_padding = 0;
  double lr = 0.0, weight_decay = 5e-4, clip_norm = 0.0, label_smoothing = 0.0;
  bool no_flip = false, resume = false, check_numerics = false, debug = false, json = false;
  int workers = 1;
  std::uint64_t seed = 0;
};

Trainer* running = nullptr;
volatile std::sig_atomic_t interrupted = 0;

// The first signal ends the run after the current step, with a checkpoint; a second one kills it as usual.
extern "C" void stop_on_signal(int signal) {
  interrupted = 1;
  if (running != nullptr) running->stop();
  std::signal(signal, SIG_DFL);
}

double default_lr(const std::string& optimizer) {
  if (optimizer == "sgd" || optimizer == "lars") return 0.05;
  return optimizer == "rmsprop" ? 1e-3 : optimizer == "lion" ? 2e-4 : 2e-3;
}

// What must be equal for a resumed run to continue the same computation.
nlohmann::ordered_json config_of(const TrainArguments& a) {
  nlohmann::ordered_json j;
  j["model"] = a.model.model;
  j["data"] = a.data;
  j["epochs"] = a.epochs;
  j["batch_size"] = a.batch_size;
  j["optimizer"] = a.optimizer;
  j["lr"] = a.lr;
  j["schedule"] = a.schedule;
  j["warmup"] = a.warmup;
  j["weight_decay"] = a.weight_decay;
  j["clip_norm"] = a.clip_norm;
  j["label_smoothing"] = a.label_smoothing;
  j["crop_padding"] = a.crop_padding;
  j["flip"] = !a.no_flip;
  j["dtype"] = a.precision.dtype;
  j["keep_f32"] = a.precision.keep;
  j["loss_scale"] = a.loss_scale.name(a.precision);
  j["seed"] = a.seed;
  j["threads"] = a.device.target().threads;  // sums are divided among them
  return j;
}

void require_same_config(const nlohmann::ordered_json& now, const nlohmann::ordered_json& before,
                         const std::string& path) {
  for (const auto& [key, value] : now.items())
    if (before.value(key, nlohmann::ordered_json()) != value)
      throw UsageError(cat("--resume: the run in '", path, "' was started with ", key, " = ",
                           before.value(key, nlohmann::ordered_json()).dump(), ", now it is ", value.dump(),
                           "; give the same options, or another --out"));
}

// Keeps the run's options in its checkpoints, where --resume compares them, and in config.json for people.
// The file is written after the first checkpoint: a run that fails before leaves another run's folder as it
// was.
class RunConfig final : public Callback {
 public:
  RunConfig(nlohmann::ordered_json config, std::string out, std::int64_t checkpoint_every)
      : config_(std::move(config)), out_(std::move(out)), every_(checkpoint_every) {}
  std::string name() const override { return "run"; }
  bool after_others() const override { return true; }
  void on_batch_end(Trainer&, std::int64_t step, const Logs&) override {
    if (every_ > 0 && step % every_ == 0) write();
  }
  void on_epoch_end(Trainer&, std::int64_t, const Logs&) override { write(); }
  void on_train_end(Trainer&, const Logs&) override { write(); }
  std::string state() const override { return text(-1); }
  void restore(const std::string& state) override {
    auto before = nlohmann::ordered_json::parse(state);
    if (!before.contains("dtype"))
      before["dtype"] = "f32", before["keep_f32"] = nlohmann::ordered_json::array();
    if (!before.contains("loss_scale")) before["loss_scale"] = "none";
    for (const auto& then : {ImageArguments::before(), TransferArguments::before()})
      for (const auto& [key, value] : then)
        if (!before.contains(key)) before[key] = value;
    require_same_config(nlohmann::ordered_json::parse(text(-1)), before, out_);
  }

 private:
  // A folder's name need not be UTF-8; the text must.
  std::string text(int indent) const {
    return config_.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  void write() {
    if (!written_) write_file(out_ + "/config.json", text(2) + "\n");
    written_ = true;
  }

  nlohmann::ordered_json config_;
  std::string out_;
  std::int64_t every_;
  bool written_ = false;
};

// Saves where the run stands when it is stopped by a signal.
class SaveOnStop final : public Callback {
 public:
  explicit SaveOnStop(std::string path) : path_(std::move(path)) {}
  bool after_others() const override { return true; }
  void on_train_end(Trainer& t, const Logs&) override {
    if (t.stopping() && t.progress().epoch < t.progress().epochs) t.save_checkpoint(path_);
  }

 private:
  std::string path_;
};

struct TrainingData {
  std::shared_ptr<const Dataset> train, validation, test;
  ModelOptions model;
  std::shared_ptr<const TextDataset> texts;  // `train`, where it is one
};

// Sizes of the data are the model's; an option that says otherwise is refused.
TrainingData open_images(const TrainArguments& a) {
  const auto [train, test] =
      a.images.open(a.data, model_info(a.model.model), a.model.image_size, a.model.channels);
  const Shape sample = train->input_type().shape;
  if (sample.rank() != 3)
    throw UsageError(
        cat("train needs images [channels, height, width], the data set has ", to_string(sample)));
  if (train->size() == 0 || test->size() == 0)
    throw UsageError(cat("'", a.data, "' holds ", train->size(), " training and ", test->size(),
                         " test images; expected at least one of each"));
  const auto require_of_data = [&](const char* option, std::int64_t given, std::int64_t found) {
    if (given > 0 && given != found)
      throw UsageError(cat(option, " ", given, ": the images of '", a.data, "' are ", to_string(sample),
                           "; training takes their size, leave the option out"));
  };
  require_of_data("--channels", a.model.channels, sample[0]);
  require_of_data("--image-size", a.model.image_size, sample[1]);
  if (const std::int64_t side = std::min(sample[1], sample[2]); a.crop_padding > side)
    throw UsageError(cat("--crop-padding expects at most ", side, ", the shorter side of the images ",
                         to_string(sample), " of '", a.data, "', got ", a.crop_padding,
                         "; 4 is usual for images of 32 pixels"));
  TrainingData data{train, test, test, a.model.options(), {}};
  data.model.in_channels = sample[0];
  data.model.image_size = sample[1];
  data.model.num_classes = data.model.num_classes.value_or(train->num_classes());
  return data;
}

TrainingData open_texts_of(const TrainArguments& a) {
  const ModelInfo& model = model_info(a.model.model);
  if (!is_text_data(a.data))
    throw UsageError(
        cat(a.model.model, " takes texts, and '", a.data,
            "' holds none; expected --data with a .tsv or .csv file of texts and labels, or a folder "
            "with train.tsv"));
  ModelOptions mo = a.model.options();
  mo.sequence_length = mo.sequence_length.value_or(model.sequence_length);
  mo.num_classes = mo.num_classes.value_or(model.num_classes);
  make_model(a.model.model, mo);  // what it cannot be is said before anything is read
  const TextSplits splits = a.texts.open(a.data, *mo.sequence_length,
                                         mo.vocabulary.value_or(model.vocabulary), a.images.test_share);
  if (a.model.classes == 0) mo.num_classes = splits.train->num_classes();
  mo.vocabulary = splits.train->text_preparation().vocabulary.size();
  return {splits.train, splits.validation, splits.test, mo, splits.train};
}

// What a checkpoint says of its model.
std::map<std::string, std::int64_t> config_of(const ModelOptions& mo) {
  std::map<std::string, std::int64_t> config{{"num_classes", *mo.num_classes}};
  if (mo.in_channels) config["in_channels"] = *mo.in_channels;
  if (mo.image_size) config["image_size"] = *mo.image_size;
  if (mo.vocabulary) config["vocabulary"] = *mo.vocabulary;
  if (mo.sequence_length) config["sequence_length"] = *mo.sequence_length;
  return config;
}

int run_train(TrainArguments& a) {
  if (a.lr == 0.0) a.lr = default_lr(a.optimizer);
  if (a.batch_size <= 0) throw UsageError(cat("the batch size must be positive, got ", a.batch_size));
  if (a.checkpoint_every > 0 && a.out.empty())
    throw UsageError("--checkpoint-every needs --out, the folder for the checkpoints");
  const bool of_texts = model_info(a.model.model).takes_text();
  if (!of_texts && is_text_data(a.data))
    throw UsageError(cat(a.model.model, " takes images, and '", a.data,
                         "' holds texts; use a model of texts, such as ", text_models()[0].name));
  const TrainingData data = of_texts ? open_texts_of(a) : open_images(a);
  const auto& [train, validation, test, mo, texts] = data;
  const TensorType sample = train->input_type();

  const std::int64_t steps = a.epochs * ((train->size() - 1) / a.batch_size + 1);
  Schedule schedule = schedule_by_name(a.schedule, std::max<std::int64_t>(1, steps - a.warmup));
  if (a.warmup > 0) schedule = schedule.warmup(a.warmup);
  TrainerOptions to;
  const std::vector<std::string> head = head_parameters(a.model.model, mo);
  to.optimizer = optimizer_by_name(
      a.optimizer, {a.lr, a.weight_decay, schedule, a.clip_norm, a.transfer.parameter_groups(head)});
  to.freeze = a.transfer.freeze(head);
  to.label_smoothing = a.label_smoothing;
  to.target = a.device.target();
  to.memory_budget = a.device.budget();
  to.node_seconds = seconds_on(to.target);
  to.precision = a.precision.options();
  to.loss_scale = a.loss_scale.option();
  to.seed = a.seed;
  to.check_numerics = a.check_numerics;
  to.debug = a.debug;
  to.model_name = a.model.model;
  to.model_config = config_of(mo);
  const auto net = make_model(a.model.model, mo);
  if (!of_texts) {
    const Shape takes{*mo.in_channels, *mo.image_size, *mo.image_size};
    require_fitting_images(*net, a.model.model, takes, sample.shape,
                           cat("the training part of '", a.data, "'"));
    require_fitting_images(*net, a.model.model, takes, test->input_type().shape,
                           cat("the test part of '", a.data, "'"));
  }
  Trainer trainer(net, to);
  if (!a.init.empty()) trainer.load(a.init);
  a.transfer.load(trainer, head, sample);

  FitOptions fit;
  fit.epochs = a.epochs;
  fit.batch_size = a.batch_size;
  fit.validation = validation;
  fit.workers = a.workers;
  fit.augment.crop_padding = a.crop_padding;
  fit.augment.horizontal_flip = !a.no_flip && !of_texts;
  fit.bad_samples = a.images.bad.option();
  fit.balance_classes = a.images.balance;
  a.images.augment(*train, fit.augment);
  const Normalisation stats =
      of_texts ? Normalisation{} : a.transfer.normalisation(trainer, channel_stats(*train));
  fit.augment.mean = stats.mean;
  fit.augment.stddev = stats.stddev;
  if (!a.json) fit.callbacks.push_back(std::make_shared<ProgressLine>());
  const std::string last = a.out + "/last.safetensors";
  std::optional<FolderLock> ours;
  if (a.resume && a.out.empty())
    throw UsageError("--resume needs --out, the folder of the run to go on with");
  if (!a.out.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(a.out, failed);
    if (failed) throw UsageError(cat("cannot create the folder '", a.out, "': ", failed.message()));
    ours.emplace(a.out);
    if (a.resume && std::filesystem::exists(last))
      fit.resume = last;
    else if (a.resume)
      std::fprintf(stderr, "ingot: nothing to resume in '%s', starting anew\n", a.out.c_str());
    { const AtomicFile probe(last); }  // a folder that cannot be written fails now, not after an epoch
    auto config = config_of(a);
    for (const auto& more : {a.images.describe(*train), a.transfer.describe()})
      for (const auto& [key, value] : more) config[key] = value;
    config["mean"] = stats.mean;
    config["stddev"] = stats.stddev;
    if (texts)
      for (const auto& [key, value] : describe_texts(texts->text_preparation())) config[key] = value;
    fit.callbacks.push_back(std::make_shared<CsvLogger>(a.out + "/log.csv"));
    fit.callbacks.push_back(std::make_shared<JsonLinesLogger>(a.out + "/log.jsonl"));
    if (a.patience > 0) fit.callbacks.push_back(std::make_shared<EarlyStopping>("val_loss", a.patience));
    // In this order: the configuration is written when the checkpoint is.
    fit.callbacks.push_back(std::make_shared<ModelCheckpoint>(last, a.checkpoint_every));
    fit.callbacks.push_back(std::make_shared<SaveOnStop>(last));
    fit.callbacks.push_back(std::make_shared<RunConfig>(config, a.out, a.checkpoint_every));
  } else if (a.patience > 0) {
    fit.callbacks.push_back(std::make_shared<EarlyStopping>("val_loss", a.patience));
  }

  running = &trainer;
  std::signal(SIGINT, stop_on_signal);
  std::signal(SIGTERM, stop_on_signal);
  const History history = trainer.fit(train, fit);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  running = nullptr;
  if (interrupted != 0 && trainer.progress().epoch < a.epochs) {  // and not by early stopping
    std::fprintf(stderr, "ingot: stopped after step %lld%s\n",
                 static_cast<long long>(trainer.progress().step),
                 a.out.empty() ? "" : cat("; go on with --resume --out ", a.out).c_str());
    return 130;
  }
  EvaluateOptions eo;
  eo.augment.mean = stats.mean;
  eo.augment.stddev = stats.stddev;
  eo.workers = a.workers;
  eo.bad_samples = fit.bad_samples;
  const Evaluation e = trainer.evaluate(test, eo);
  report_skipped(trainer.skipped(), "the training part");
  report_skipped(e.skipped, "the test part");
  if (!a.out.empty()) trainer.save(a.out + "/weights.safetensors");
  if (!a.out.empty() && texts) texts->text_preparation().vocabulary.save(a.out + "/vocabulary.json");
  if (a.json) {
    nlohmann::ordered_json j;
    j["test_loss"] = e.loss;
    j["test_accuracy"] = e.accuracy();
    j["test_macro_f1"] = e.confusion.macro_f1();
    j["steps"] = trainer.progress().step;
    if (texts) {
      j["vocabulary"] = *mo.vocabulary;
      j["several_labels"] = texts->report().several_labels;
      j["truncated"] = texts->report().truncated;
    }
    if (train->has_crops()) j["skipped_images"] = trainer.skipped().count + e.skipped.count;
    for (const char* key : {"loss_scale", "skipped_steps"})
      if (!history.empty() && history.back().contains(key)) j[key] = history.back().at(key);
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("test loss %.4f, accuracy %.4f, macro F1 %.4f\n", e.loss, e.accuracy(),
                e.confusion.macro_f1());
    if (!a.out.empty()) std::printf("weights in %s/weights.safetensors\n", a.out.c_str());
  }
  return 0;
}

}  // namespace

Action add_train(CLI::App& app) {
  auto a = std::make_shared<TrainArguments>();
  a->model.add_to(app);
  a->device.add_to(app);
  a->precision.add_to(app);
  a->loss_scale.add_to(app);
  a->images.add_to(app);
  a->texts.add_to(app);
  app.add_option("--data", a->data,
                 "fashion-mnist, a folder with IDX or .npy files, or one with a folder of images per class; "
                 "for models "
                 "of texts a .tsv or .csv file, or a folder with train.tsv and test.tsv")
      ->capture_default_str();
  app.add_option("--epochs", a->epochs, "Passes over the training data")
      ->capture_default_str()
      ->check(between(0, 1'000'000));  // times any number of batches, far from overflow
  app.add_option("--batch-size", a->batch_size, "Images or texts in a step")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_option("--optimizer", a->optimizer,
                 "sgd (momentum 0.9), adam, adamw, rmsprop, adagrad, lion, lamb or lars")
      ->capture_default_str();
  app.add_option("--lr", a->lr,
                 "Learning rate at its highest (default: 0.05 for sgd and lars, 0.001 rmsprop, 0.0002 lion, "
                 "0.002 others)")
      ->check(positive_number());
  app.add_option("--schedule", a->schedule, "constant, step, cosine or one-cycle, over the whole run")
      ->capture_default_str();
  app.add_option("--warmup", a->warmup, "Steps of linear warm-up before the schedule")
      ->capture_default_str()
      ->check(at_least(0));
  app.add_option("--weight-decay", a->weight_decay, "L2 penalty, or decoupled decay for adamw")
      ->capture_default_str();
  app.add_option("--clip-norm", a->clip_norm, "Scale gradients to at most this 2-norm; 0 leaves them")
      ->capture_default_str();
  app.add_option("--label-smoothing", a->label_smoothing, "Share of the label spread over all classes")
      ->capture_default_str();
  app.add_option("--crop-padding", a->crop_padding, "Random crops after padding by this many pixels")
      ->capture_default_str()
      ->check(at_least(0));
  app.add_flag("--no-flip", a->no_flip, "No random horizontal flips");
  app.add_option("--workers", a->workers, "Threads that load and augment; 0 loads between steps")
      ->capture_default_str()
      ->check(between(0, kMostLoaderWorkers));
  app.add_option("--seed", a->seed, "Of weights, shuffling, augmentation and dropout")
      ->capture_default_str()
      ->check(any_unsigned());
  app.add_option("--init", a->init, "Start from these weights (safetensors)");
  a->transfer.add_to(app);
  app.add_option("--out", a->out, "Folder for checkpoints, weights and logs");
  app.add_flag("--resume", a->resume,
               "Go on from the last checkpoint in --out; ends with the same bits as an unbroken run");
  app.add_option("--checkpoint-every", a->checkpoint_every,
                 "Steps between checkpoints, besides one after each epoch")
      ->capture_default_str()
      ->check(at_least(0));
  app.add_option("--early-stopping", a->patience,
                 "Stop after this many epochs without a better validation loss; 0: never")
      ->capture_default_str()
      ->check(at_least(0));
  app.add_flag("--check-numerics", a->check_numerics, "Look for NaN and infinity in every result (slow)");
  app.add_flag("--debug", a->debug, "Wait for every node, so that an error of a GPU names it (slow)");
  app.add_flag("--json", a->json, "No progress line; print one JSON object at the end");
  app.footer(
      "Example:\n  ingot train simple_cnn --data fashion-mnist --epochs 5 --out runs/first\n"
      "  ingot train simple_cnn --data fashion-mnist --epochs 5 --out runs/first --resume\n"
      "  ingot train resnet18 --data pets --epochs 30 --workers 4 --out runs/pets   # pets/train/cat/1.jpg, "
      "...\n"
      "  ingot train resnet18 --data pets --weights imagenet.safetensors --freeze 'layer1.*' --freeze "
      "'conv1.*' "
      "--freeze 'bn1.*' --freeze-batch-norm --head-lr-scale 10 --out runs/pets\n"
      "  ingot train text_cnn --data goemotions/train.tsv --optimizer adamw --lr 0.001 --out runs/feelings");
  return [a] { return run_train(*a); };
}

}  // namespace ingot::tools
