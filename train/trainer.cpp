#include "train/trainer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"

namespace ingot {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What a network is fed for samples of a type: numbers of tokens as they are, everything else as f32.
DType fed_as(DType stored) {
  return stored == DType::I32 || stored == DType::I64 ? stored : DType::F32;
}

TensorType batch_type(const Dataset& data, std::int64_t batch) {
  Shape shape = data.input_type().shape;
  shape.insert(0, batch);
  return {fed_as(data.input_type().dtype), shape};
}

// The first of `rows` rows that holds NaN or infinity; -1 when all are finite.
std::int64_t first_bad_row(const Tensor& x, std::int64_t rows) {
  if (x.dtype() != DType::F32) return -1;
  const std::int64_t per_row = x.numel() / x.shape()[0];
  const float* p = x.data<float>();
  for (std::int64_t i = 0; i < rows * per_row; ++i)
    if (!std::isfinite(p[i])) return i / per_row;
  return -1;
}

[[noreturn]] void rethrow_named(const NumericError& e, const std::string& more) {
  NumericError named(e.message() + more);
  named.add_context(e.node(), e.where());
  throw named;
}

void require_classes(const Dataset& data, const Session& s) {
  const std::int64_t classes = s.output("logits").shape()[-1];
  if (data.num_classes() > classes)
    throw UsageError(cat("the data set has ", data.num_classes(), " classes, the model ", classes));
  const Shape labels = s.input("labels").shape();
  Shape targets = data.target_type().shape;
  targets.insert(0, labels[0]);
  if (targets != labels)
    throw UsageError(cat("the model is to be given labels ", to_string(labels), " a batch, the data set has ",
                         to_string(targets)));
}

// Labels of a sample: one, or one for each place of a sequence.
double labels_of_row(const Batch& batch) {
  return static_cast<double>(batch.target.numel() / batch.target.shape()[0]);
}

constexpr int kMostSkipped = 50;  // in a row: a dynamic scale has fallen by 1e15

// Of the last step.
struct LossScaleLog {
  double scale = 0.0, skipped = 0.0;
};

// Sums over the part of an epoch that is done; they travel in the checkpoint so that a resumed epoch logs
// what the first would have.
struct EpochSums {
  double loss = 0.0, correct = 0.0;
  std::int64_t seen = 0;
};

}  // namespace

struct Trainer::Impl {
  std::shared_ptr<Module> model;
  TrainerOptions options;
  std::unique_ptr<Session> train, eval, infer;
  std::int64_t train_batch = 0;
  bool train_mixed = false;  // LossSettings::mixed_samples
  TensorType eval_type, infer_type;
  std::string loaded_from;
  TensorList loaded;  // states to start from, until a training session holds them
  bool loaded_in_part = false;
  std::optional<Normalisation> normalisation;
  SampleNotes notes;
  SkippedSamples left_out;
  std::atomic<bool> stop{false};
  Progress progress;

  // During fit().
  DataLoader* loader = nullptr;
  const FitOptions* fit_options = nullptr;
  EpochSums sums;
  double lr = 0.0;  // of the last step
  std::optional<LossScaleLog> scaling;
  int skipped_in_a_row = 0;
  // Where the last fit() ended, for checkpoints after it; empty when it ended with an error, in the middle of
  // a step.
  nlohmann::json left_at;

  Session make_session(const Graph& graph, const char* guard) const {
    SessionOptions o;
    o.seed = options.seed;
    o.check_numerics = options.check_numerics;
    o.debug = options.debug;
    o.guard = guard;
    CompileOptions how;
    how.target = options.target;
    how.memory_budget = options.memory_budget;
    how.node_seconds = options.node_seconds;
    Session s(compile(graph, how), o);
    if (s.program().graph().find_state("generator") != nullptr) {
      const std::int64_t start[2] = {static_cast<std::int64_t>(options.seed), 0};
      s.set_state("generator", Tensor::from<std::int64_t>({2}, start));
    }
    if (!loaded.empty()) {
      if (!loaded_in_part) require_match(s, loaded, loaded_from, true);
      for (const auto& [name, tensor] : loaded) s.set_state(name, tensor);
    }
    return s;
  }

  void prepare_training(const Dataset& data, std::int64_t batch, bool mixed) {
    if (batch <= 0) throw UsageError(cat("fit: the batch size must be positive, got ", batch));
    if (train && train_batch == batch && train_mixed == mixed) return;
    const Graph g = training_graph(*model, batch_type(data, batch), *options.optimizer,
                                   {options.label_smoothing, options.loss_scale, mixed}, options.precision,
                                   options.freeze);
    auto next = std::make_unique<Session>(make_session(g, "loss"));
    if (train) next->copy_states_from(*train);
    train = std::move(next);
    train_batch = batch;
    train_mixed = mixed;
  }

  // The session for `type`, with the current weights.
  Session& fresh(std::unique_ptr<Session>& session, TensorType& made_for, const TensorType& type,
                 Graph (*build)(Module&, const TensorType&, const PrecisionOptions&), const char* guard) {
    if (!session || made_for != type) {
      session = std::make_unique<Session>(make_session(build(*model, type, options.precision), guard));
      made_for = type;
    }
    if (train) session->copy_states_from(*train);
    return *session;
  }

  // Runs on the batch; names the sample when the data is at fault.
  static void run(Session& s, const Batch& batch, bool mixed = false) {
    s.input("x").copy_from(batch.input);
    s.input("labels").copy_from(batch.target);
    s.input("valid_rows").set(0, static_cast<double>(batch.valid));
    if (mixed) {
      s.input("other_labels").copy_from(batch.other_target);
      s.input("share").set(0, batch.share);
    }
    try {
      s.run();
      s.wait();  // on a GPU the guard is heard of here
    } catch (const NumericError& e) {
      const std::int64_t row = first_bad_row(batch.input, batch.valid);
      if (row < 0) throw;
      rethrow_named(e, cat("; sample ", batch.indices[static_cast<std::size_t>(row)],
                           " of the data set holds a value that is not finite"));
    }
  }

  // One optimiser step.
  void step(const Batch& batch) {
    run(*train, batch, train_mixed);
    sums.loss += train->output("loss").item() * static_cast<double>(batch.valid);
    sums.correct += train->output("correct").item() / labels_of_row(batch);
    sums.seen += batch.valid;
    lr = train->output("lr").item();
    ++progress.step;
    if (train->program().graph().find_output("loss_scale").valid()) follow_loss_scale();
  }

  void follow_loss_scale() {
    const LossScaleLog now{train->output("loss_scale").item(), train->output("skipped_steps").item()};
    const bool skipped = now.skipped > (scaling ? scaling->skipped : 0.0);
    skipped_in_a_row = skipped ? skipped_in_a_row + 1 : 0;
    scaling = now;
    if (skipped_in_a_row >= kMostSkipped)
      throw NumericError(cat("the last ", kMostSkipped,
                             " steps were skipped, because some gradient was not finite at any ",
                             "loss scale down to ", now.scale,
                             "; find it in f32 with check_numerics (--check-numerics), or train in bf16"));
  }

  // Valid during fit().
  nlohmann::json describe() const {
    const LoaderState s = loader->state();
    nlohmann::json j;
    j["seed"] = options.seed;
    j["epoch"] = progress.epoch;
    j["step"] = progress.step;
    j["lr"] = lr;
    if (scaling) j["loss_scale"] = {scaling->scale, scaling->skipped};
    j["sums"] = {sums.loss, sums.correct, sums.seen};
    j["loader"] = {{"seed", s.seed},
                   {"epoch", s.epoch},
                   {"next_batch", s.next_batch},
                   {"dataset_size", s.dataset_size},
                   {"batch_size", s.batch_size}};
    j["callbacks"] = nlohmann::json::object();
    for (const auto& c : fit_options->callbacks)
      if (!c->name().empty()) j["callbacks"][c->name()] = c->state();
    return j;
  }

  void resume(const std::string& path, DataLoader& data) {
    const Checkpoint c = load_checkpoint(path);
    nlohmann::json j;
    try {
      j = nlohmann::json::parse(c.metadata.contains("state") ? c.metadata.at("state") : "");
      const std::string saved_model = c.metadata.contains("model") ? c.metadata.at("model") : "";
      if (saved_model != options.model_name)
        throw UsageError(cat("'", path, "' is a checkpoint of the model '", saved_model, "', not of '",
                             options.model_name, "'"));
      require_match(*train, c.tensors, path, false);
      LoaderState s;
      const auto& l = j.at("loader");
      s.seed = l.at("seed");
      s.epoch = l.at("epoch");
      s.next_batch = l.at("next_batch");
      s.dataset_size = l.at("dataset_size");
      s.batch_size = l.at("batch_size");
      data.restore(s);
      progress.epoch = j.at("epoch");
      progress.step = j.at("step");
      lr = j.value("lr", 0.0);
      if (j.contains("loss_scale")) scaling = {j.at("loss_scale").at(0), j.at("loss_scale").at(1)};
      sums = {j.at("sums").at(0), j.at("sums").at(1), j.at("sums").at(2)};
      for (const auto& callback : fit_options->callbacks)
        if (!callback->name().empty() && j.at("callbacks").contains(callback->name()))
          callback->restore(j.at("callbacks").at(callback->name()).get<std::string>());
    } catch (const nlohmann::json::exception& e) {
      throw FormatError(cat("'", path, "' is not a training checkpoint: ", e.what()));
    }
    for (const auto& [name, tensor] : c.tensors) train->set_state(name, tensor);
  }

  // Throws FormatError listing every key in which the file and the session's states of these roles differ.
  static void require_match(const Session& s, const TensorList& found, const std::string& path,
                            bool weights_only) {
    const Graph& g = s.program().graph();
    NamedTypes expected = state_dict_types(g);
    for (const State& state : g.states())
      if (!weights_only && state.role != StateRole::Parameter && state.role != StateRole::Buffer)
        expected.emplace_back(state.name, TensorType(g.type(state.value).dtype, g.type(state.value).shape));
    const KeyReport keys = compare_keys(expected, found);
    if (!keys.match()) throw FormatError(keys.text(path));
  }

  // A diverged run must not replace what an earlier step saved.
  void require_finite(const std::string& path) const {
    if (!train) return;
    try {
      train->require_finite_states();
    } catch (const NumericError& e) {
      rethrow_named(e, cat("; '", path, "' is left as it was"));
    }
  }

  Metadata identity() const {
    Metadata m{{"model", options.model_name}, {"model_config", nlohmann::json(options.model_config).dump()}};
    if (normalisation)
      m["normalisation"] =
          nlohmann::json{{"mean", normalisation->mean}, {"stddev", normalisation->stddev}}.dump();
    if (!notes.class_names.empty())  // names of folders, which need not be UTF-8
      m["class_names"] =
          nlohmann::json(notes.class_names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (!notes.preparation.empty()) m["preparation"] = notes.preparation;
    return m;
  }

  static std::optional<Normalisation> read_normalisation(const Metadata& metadata, const std::string& path) {
    const auto it = metadata.find("normalisation");
    if (it == metadata.end()) return {};
    try {
      const auto j = nlohmann::json::parse(it->second);
      return Normalisation{j.at("mean").get<std::vector<float>>(), j.at("stddev").get<std::vector<float>>()};
    } catch (const nlohmann::json::exception& e) {
      throw FormatError(cat("'", path, "': the normalisation is damaged: ", e.what()));
    }
  }

  static SampleNotes read_notes(const Metadata& metadata, const std::string& path) {
    SampleNotes notes;
    if (const auto it = metadata.find("preparation"); it != metadata.end()) notes.preparation = it->second;
    const auto it = metadata.find("class_names");
    if (it == metadata.end()) return notes;
    try {
      notes.class_names = nlohmann::json::parse(it->second).get<std::vector<std::string>>();
    } catch (const nlohmann::json::exception& e) {
      throw FormatError(cat("'", path, "': the class names are damaged: ", e.what()));
    }
    return notes;
  }

  // Every session is made anew, with these weights of `file`.
  void start_from(const TensorFile& file, TensorList weights, const std::string& path, bool in_part) {
    normalisation = read_normalisation(file.metadata, path);
    notes = read_notes(file.metadata, path);
    if (in_part) notes.class_names.clear();  // of another head
    loaded = std::move(weights);
    loaded_in_part = in_part;
    loaded_from = path;
    train.reset();
    eval.reset();
    infer.reset();
  }

  Logs logs(Clock::time_point epoch_start, std::int64_t seen_before, double waited) const {
    Logs l;
    const double seen = static_cast<double>(std::max<std::int64_t>(1, sums.seen)),
                 seconds = seconds_since(epoch_start);
    l["loss"] = sums.loss / seen;
    l["accuracy"] = sums.correct / seen;
    l["lr"] = lr;
    if (scaling) {
      l["loss_scale"] = scaling->scale;
      l["skipped_steps"] = scaling->skipped;
    }
    l["images_per_second"] = static_cast<double>(sums.seen - seen_before) / std::max(seconds, 1e-9);
    l["input_bound"] = waited / std::max(seconds, 1e-9);
    l["seconds"] = seconds;
    return l;
  }
};

Trainer::Trainer(std::shared_ptr<Module> model, TrainerOptions options) : impl_(std::make_unique<Impl>()) {
  if (model == nullptr) throw UsageError("Trainer: the model is null");
  impl_->model = std::move(model);
  impl_->options = std::move(options);
  if (impl_->options.optimizer == nullptr) impl_->options.optimizer = sgd({.lr = 0.01, .momentum = 0.9});
  const LossScale scale =
      impl_->options.loss_scale.value_or(default_loss_scale(impl_->options.precision.compute));
  if (impl_->options.check_numerics && scale.is_dynamic())
    throw UsageError(
        "check_numerics stops at the first value that is not finite, and a dynamic loss scale finds its "
        "limit "
        "by letting gradients overflow; give a fixed one (--loss-scale 1024)");
}

Trainer::~Trainer() = default;

History Trainer::fit(std::shared_ptr<const Dataset> data, const FitOptions& options) {
  Impl& t = *impl_;
  if (data == nullptr) throw UsageError("fit: the data set is null");
  if (t.fit_options != nullptr)
    throw UsageError(
        "fit: this trainer is in the middle of fit(); a callback may evaluate and predict, not train");
  for (std::size_t i = 0; i < options.callbacks.size(); ++i)
    if (options.callbacks[i] == nullptr) throw UsageError(cat("fit: callback ", i, " is null"));
  if (options.epochs < 0) throw UsageError(cat("fit: epochs must not be negative, got ", options.epochs));
  t.prepare_training(*data, options.batch_size, options.augment.mixup > 0.0 || options.augment.cutmix > 0.0);
  require_classes(*data, *t.train);
  if (options.validation) require_classes(*options.validation, *t.train);
  LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.shuffle = true;
  loading.seed = t.options.seed;
  loading.workers = options.workers;
  loading.augment = options.augment;
  loading.bad_samples = options.bad_samples;
  loading.balance_classes = options.balance_classes;
  DataLoader loader(data, loading);

  t.normalisation = Normalisation{options.augment.mean, options.augment.stddev};
  t.notes = {data->class_names(), data->preparation()};
  t.left_out = {};
  t.stop = false;
  t.left_at = nullptr;
  t.lr = 0.0;
  t.skipped_in_a_row = 0;
  t.sums = {};
  t.progress.epoch = 0;
  t.progress.step = 0;
  t.progress.epochs = options.epochs;
  t.progress.steps_per_epoch = loader.batches_per_epoch();
  t.loader = &loader;
  t.fit_options = &options;
  struct Reset {
    Impl& t;
    ~Reset() {
      t.loader = nullptr;
      t.fit_options = nullptr;
    }
  } reset{t};
  if (!options.resume.empty()) t.resume(options.resume, loader);

  std::vector<std::shared_ptr<Callback>> callbacks = options.callbacks;
  std::stable_partition(callbacks.begin(), callbacks.end(), [](const auto& c) { return !c->after_others(); });

  History history;
  Logs last;
  for (const auto& c : callbacks) c->on_train_begin(*this);
  while (t.progress.epoch < options.epochs && !t.stop) {
    const auto start = Clock::now();
    const double waited_before = loader.wait_seconds();
    const std::int64_t seen_before = t.sums.seen;
    const auto now = [&] { return t.logs(start, seen_before, loader.wait_seconds() - waited_before); };
    for (const auto& c : callbacks) c->on_epoch_begin(*this, t.progress.epoch);
    bool finished = true;
    while (const Batch* batch = loader.next()) {
      if (batch->valid > 0) t.step(*batch);
      if (!callbacks.empty()) {
        const Logs l = now();
        for (const auto& c : callbacks) c->on_batch_end(*this, t.progress.step, l);
      }
      if (t.stop) {
        finished = false;
        break;
      }
    }
    t.left_out = loader.skipped();
    if (!finished) break;
    if (t.sums.seen == 0)
      throw BadSample(cat("fit: no sample of the data set could be read; the first: ",
                          t.left_out.messages.empty() ? "" : t.left_out.messages.front()));
    last = now();
    if (options.validation) {
      EvaluateOptions e;
      e.augment.mean = options.augment.mean;
      e.augment.stddev = options.augment.stddev;
      e.workers = options.workers;
      e.bad_samples = options.bad_samples;
      const Evaluation v = evaluate(options.validation, e);
      last["val_loss"] = v.loss;
      last["val_accuracy"] = v.accuracy();
      last["val_f1"] = v.confusion.macro_f1();
    }
    // The epoch is over before the callbacks see it: a checkpoint that one of them writes starts with the
    // next epoch.
    const std::int64_t epoch = t.progress.epoch++;
    t.sums = {};
    history.push_back(last);
    for (const auto& c : callbacks) c->on_epoch_end(*this, epoch, last);
  }
  for (const auto& c : callbacks) c->on_train_end(*this, last);
  t.left_at = t.describe();
  return history;
}

void Trainer::stop() {
  impl_->stop = true;
}
bool Trainer::stopping() const {
  return impl_->stop;
}

Evaluation Trainer::evaluate(std::shared_ptr<const Dataset> data, const EvaluateOptions& options) {
  Impl& t = *impl_;
  if (data == nullptr) throw UsageError("evaluate: the data set is null");
  LoaderOptions loading;
  loading.batch_size = options.batch_size;
  loading.workers = options.workers;
  loading.augment.mean = options.augment.mean;
  loading.augment.stddev = options.augment.stddev;
  loading.bad_samples = options.bad_samples;
  DataLoader loader(data, loading);
  Session& s = t.fresh(t.eval, t.eval_type, batch_type(*data, options.batch_size), evaluation_graph, "loss");
  const std::int64_t classes = s.output("logits").shape()[-1];
  require_classes(*data, s);
  Evaluation e;
  e.confusion = ConfusionMatrix(classes);
  double loss_sum = 0.0, top5 = 0.0;
  while (const Batch* batch = loader.next()) {
    if (batch->valid == 0) continue;
    Impl::run(s, *batch);
    const Tensor logits = s.output("logits");
    const std::int64_t labels = batch->valid * (batch->target.numel() / batch->target.shape()[0]);
    loss_sum += s.output("loss").item() * static_cast<double>(labels);
    for (std::int64_t row = 0; row < labels; ++row) {
      const float* p = logits.data<float>() + row * classes;
      const std::int64_t label = batch->target.data<std::int64_t>()[row];
      e.confusion.add(label, std::max_element(p, p + classes) - p);
      top5 += in_top_k(p, classes, label, 5) ? 1.0 : 0.0;
    }
  }
  const double n = static_cast<double>(std::max<std::int64_t>(1, e.confusion.total()));
  e.loss = loss_sum / n;
  e.top5 = top5 / n;
  e.skipped = loader.skipped();
  return e;
}

Tensor Trainer::predict(const Tensor& inputs, std::int64_t batch_size) {
  Impl& t = *impl_;
  if (inputs.shape().rank() < 1) throw ShapeError("predict: the inputs need a batch axis");
  if (batch_size <= 0) throw UsageError(cat("predict: the batch size must be positive, got ", batch_size));
  const std::int64_t n = inputs.shape()[0];
  Shape shape = inputs.shape();
  shape[0] = std::min(batch_size, std::max<std::int64_t>(n, 1));
  const DType fed = fed_as(inputs.dtype());
  Session& s = t.fresh(t.infer, t.infer_type, {fed, shape}, inference_graph, "logits");
  const Tensor x = s.input("x");
  Tensor y = s.output("logits");
  Shape out_shape = y.shape();
  out_shape[0] = n;
  const Tensor out({y.dtype(), out_shape});
  const Tensor all = inputs.to(fed).contiguous();
  const std::int64_t rows = shape[0], out_row = y.numel() / rows;
  const std::size_t in_row = x.bytes() / static_cast<std::size_t>(rows);
  for (std::int64_t at = 0; at < n; at += rows) {
    const std::int64_t count = std::min(rows, n - at);
    std::memcpy(x.raw(), static_cast<const std::byte*>(all.raw()) + static_cast<std::size_t>(at) * in_row,
                static_cast<std::size_t>(count) * in_row);
    try {
      s.run();
      y = s.output("logits");
    } catch (const NumericError& e) {
      const std::int64_t row = first_bad_row(x, count);
      if (row < 0) throw;
      rethrow_named(e, cat("; row ", at + row, " of the inputs holds a value that is not finite"));
    }
    std::memcpy(out.data<float>() + at * out_row, y.raw(),
                static_cast<std::size_t>(count * out_row) * sizeof(float));
  }
  return out;
}

std::map<std::string, Tensor> Trainer::states() {
  if (impl_->train) return impl_->train->states();
  if (impl_->eval) return impl_->eval->states();
  if (impl_->infer) return impl_->infer->states();
  return {impl_->loaded.begin(), impl_->loaded.end()};
}

void Trainer::save(const std::string& path) {
  TensorList weights;
  for (auto& [name, tensor] : states())
    if (!name.starts_with("optim/") && name != "generator") weights.emplace_back(name, tensor);
  if (weights.empty())
    throw UsageError("save: there are no weights yet; call fit(), load() or predict() first");
  impl_->require_finite(path);
  Metadata metadata = impl_->identity();
  metadata["format"] = "pt";
  ingot::save_checkpoint(path, {weights, metadata});
}

void Trainer::load(const std::string& path) {
  const TensorFile c = load_weights(path);
  Impl& t = *impl_;
  TensorList weights;
  for (const auto& [name, tensor] : c.tensors)
    if (!name.starts_with("optim/") && name != "generator") weights.emplace_back(name, tensor);
  for (const auto* session : {&t.train, &t.eval, &t.infer})
    if (*session) Impl::require_match(**session, weights, path, true);
  t.start_from(c, std::move(weights), path, false);
}

KeyReport Trainer::load(const std::string& path, const LoadOptions& options, const Shape& sample) {
  return load(path, options, TensorType(DType::F32, sample));
}

KeyReport Trainer::load(const std::string& path, const LoadOptions& options, const TensorType& sample) {
  const TensorFile c = load_weights(path);
  Impl& t = *impl_;
  Shape one = sample.shape;
  one.insert(0, 1);
  const Graph g = inference_graph(*t.model, {fed_as(sample.dtype), one}, t.options.precision);
  FittingTensors fitting = fitting_tensors(state_dict_types(g), c.tensors, options, path);
  t.start_from(c, std::move(fitting.tensors), path, !fitting.report.match());
  return std::move(fitting.report);
}

void Trainer::save_checkpoint(const std::string& path) {
  Impl& t = *impl_;
  if (!t.train) throw UsageError("save_checkpoint: nothing was trained yet");
  if (t.loader == nullptr && t.left_at.is_null())
    throw UsageError(
        "save_checkpoint: the last fit() ended with an error, nothing can go on from there; resume from an "
        "earlier checkpoint, or save() the weights");
  t.require_finite(path);
  Metadata metadata = t.identity();
  // Callbacks may hold file names, which need not be UTF-8.
  metadata["state"] = (t.loader != nullptr ? t.describe() : t.left_at)
                          .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto states = t.train->states();
  ingot::save_checkpoint(path, {{states.begin(), states.end()}, metadata});
}

const std::optional<Normalisation>& Trainer::normalisation() const {
  return impl_->normalisation;
}

const SampleNotes& Trainer::sample_notes() const {
  return impl_->notes;
}
const SkippedSamples& Trainer::skipped() const {
  return impl_->left_out;
}

const std::shared_ptr<Module>& Trainer::model() const {
  return impl_->model;
}
const Progress& Trainer::progress() const {
  return impl_->progress;
}
const TrainerOptions& Trainer::options() const {
  return impl_->options;
}

Session& Trainer::session() {
  if (!impl_->train) throw UsageError("session: call fit() first");
  return *impl_->train;
}

}  // namespace ingot
