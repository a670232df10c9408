// The callbacks that come with the library. Those that write a file are known to a checkpoint by the file's
// name without its folder: a run goes on wherever its folder lies, and however --out spells it.
//
//   trainer.fit(data, {.epochs = 5,
//                      .callbacks = {std::make_shared<ProgressLine>(),
//                      std::make_shared<CsvLogger>("run/log.csv"),
//                                    std::make_shared<ModelCheckpoint>("run/last.safetensors"),
//                                    std::make_shared<EarlyStopping>("val_loss", 3)}});
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace ingot {

// One line on standard error: epoch, bar, loss, accuracy, images a second, time left, and how much of the
// time the step waited for data when that is over 5 %. On a terminal the line is redrawn, four times a second
// at most; elsewhere there is one line per epoch.
class ProgressLine final : public Callback {
 public:
  ProgressLine();
  void on_train_begin(Trainer&) override;
  void on_batch_end(Trainer&, std::int64_t step, const Logs& logs) override;
  void on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) override;

 private:
  bool terminal_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
  std::int64_t first_step_ = 0;
};

// Writes a checkpoint after each epoch, and every `every_steps` steps when that is positive, when all other
// callbacks have seen the epoch or step. With `best` set only after epochs in which the monitored value
// improves on the best before.
class ModelCheckpoint final : public Callback {
 public:
  explicit ModelCheckpoint(std::string path, std::int64_t every_steps = 0, bool best = false,
                           std::string monitor = "val_loss");
  std::string name() const override;
  bool after_others() const override { return true; }
  void on_batch_end(Trainer&, std::int64_t step, const Logs& logs) override;
  void on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) override;
  std::string state() const override;
  void restore(const std::string& state) override;

 private:
  std::string path_;
  std::int64_t every_steps_;
  bool best_;
  std::string monitor_;
  double best_value_;
};

// Stops when the monitored value has not improved by min_delta for `patience` epochs. Values whose name holds
// "accuracy" or "f1" should rise, all others fall. The weights stay those of the last epoch. A run that it
// stopped stays stopped when resumed, unless `patience` has grown.
class EarlyStopping final : public Callback {
 public:
  explicit EarlyStopping(std::string monitor = "val_loss", std::int64_t patience = 3, double min_delta = 0.0);
  std::string name() const override { return "early-stopping:" + monitor_; }
  void on_train_begin(Trainer&) override;
  void on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) override;
  std::string state() const override;
  void restore(const std::string& state) override;

 private:
  std::string monitor_;
  std::int64_t patience_, bad_epochs_ = 0;
  double min_delta_, best_;
};

// One row per epoch; the file is replaced as a whole after each, so it never holds half a row. A resumed run
// keeps the rows before it, and their columns: a value that is missing leaves its cell empty.
class CsvLogger final : public Callback {
 public:
  explicit CsvLogger(std::string path) : path_(std::move(path)) {}
  std::string name() const override;
  void on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) override;
  std::string state() const override { return text_; }
  void restore(const std::string& state) override { text_ = state; }

 private:
  std::string path_, text_;
};

// One JSON object per line and epoch.
class JsonLinesLogger final : public Callback {
 public:
  explicit JsonLinesLogger(std::string path) : path_(std::move(path)) {}
  std::string name() const override;
  void on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) override;
  std::string state() const override { return text_; }
  void restore(const std::string& state) override { text_ = state; }

 private:
  std::string path_, text_;
};

}  // namespace ingot
