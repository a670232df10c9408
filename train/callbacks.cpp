#include "train/callbacks.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string printf_string(const char* format, auto... args) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

double value_of(const Logs& logs, const std::string& key, std::string_view who) {
  const auto it = logs.find(key);
  if (it != logs.end()) return it->second;
  std::vector<std::string> keys;
  for (const auto& [k, _] : logs) keys.push_back(k);
  throw UsageError(cat(who, ": there is no value '", key, "' to monitor; there are ", join(keys),
                       key.starts_with("val_") ? "; give fit() validation data" : ""));
}

bool should_rise(const std::string& monitor) {
  return monitor.find("accuracy") != std::string::npos || monitor.find("f1") != std::string::npos;
}

std::string file_name(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

// Infinity survives JSON as null.
std::string number_text(double v) {
  return printf_string("%.17g", v);
}

std::string clock(double seconds) {
  const long s = std::lround(seconds);
  return s >= 3600 ? printf_string("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60)
                   : printf_string("%ld:%02ld", s / 60, s % 60);
}

double get(const Logs& logs, const char* key) {
  const auto it = logs.find(key);
  return it == logs.end() ? 0.0 : it->second;
}

// Where the loss is scaled: steps that changed nothing are not to be overlooked.
std::string loss_scale_text(const Logs& logs) {
  if (!logs.contains("loss_scale")) return {};
  std::string text = printf_string("  scale %g", get(logs, "loss_scale"));
  if (get(logs, "skipped_steps") > 0) text += printf_string("  skipped %.0f", get(logs, "skipped_steps"));
  return text;
}

// A model of token numbers is fed texts.
const char* samples_of(Trainer& t) {
  return is_integer(t.session().input("x").dtype()) ? "texts" : "images";
}

}  // namespace

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressLine::on_train_begin(Trainer& t) {
  start_ = drawn_ = std::chrono::steady_clock::now();
  first_step_ = t.progress().step;
}

void ProgressLine::on_batch_end(Trainer& t, std::int64_t step, const Logs& logs) {
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < std::chrono::milliseconds(250)) return;
  drawn_ = now;
  const Progress& p = t.progress();
  const std::int64_t in_epoch = step - p.epoch * p.steps_per_epoch;
  const double per_step = std::chrono::duration<double>(now - start_).count() /
                          static_cast<double>(std::max<std::int64_t>(1, step - first_step_));
  const double left = per_step * static_cast<double>(p.epochs * p.steps_per_epoch - step);
  constexpr int kWidth = 20;
  const int done = static_cast<int>(kWidth * in_epoch / std::max<std::int64_t>(1, p.steps_per_epoch));
  const std::string bar = std::string(static_cast<std::size_t>(done), '#') +
                          std::string(static_cast<std::size_t>(kWidth - done), '.');
  std::string line = printf_string("epoch %ld/%ld [%s] loss %.4f  accuracy %.4f  %.0f %s/s  %s left",
                                   static_cast<long>(p.epoch + 1), static_cast<long>(p.epochs), bar.c_str(),
                                   get(logs, "loss"), get(logs, "accuracy"), get(logs, "images_per_second"),
                                   samples_of(t), clock(left).c_str());
  line += loss_scale_text(logs);
  if (get(logs, "input_bound") > 0.05)
    line += printf_string("  input-bound %.0f %%", 100.0 * get(logs, "input_bound"));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
}

void ProgressLine::on_epoch_end(Trainer& t, std::int64_t epoch, const Logs& logs) {
  std::string line =
      printf_string("epoch %ld/%ld  loss %.4f  accuracy %.4f", static_cast<long>(epoch + 1),
                    static_cast<long>(t.progress().epochs), get(logs, "loss"), get(logs, "accuracy"));
  if (logs.contains("val_loss"))
    line +=
        printf_string("  val_loss %.4f  val_accuracy %.4f", get(logs, "val_loss"), get(logs, "val_accuracy"));
  line += loss_scale_text(logs);
  line += printf_string("  %.0f %s/s  %s", get(logs, "images_per_second"), samples_of(t),
                        clock(get(logs, "seconds")).c_str());
  if (get(logs, "input_bound") > 0.05)
    line += printf_string("  input-bound %.0f %%", 100.0 * get(logs, "input_bound"));
  std::fprintf(stderr, "%s%s\n", terminal_ ? "\r\033[K" : "", line.c_str());
}

ModelCheckpoint::ModelCheckpoint(std::string path, std::int64_t every_steps, bool best, std::string monitor)
    : path_(std::move(path)),
      every_steps_(every_steps),
      best_(best),
      monitor_(std::move(monitor)),
      best_value_(should_rise(monitor_) ? -kInfinity : kInfinity) {}

std::string ModelCheckpoint::name() const {
  return "checkpoint:" + file_name(path_);
}

void ModelCheckpoint::on_batch_end(Trainer& t, std::int64_t step, const Logs&) {
  if (every_steps_ > 0 && step % every_steps_ == 0) t.save_checkpoint(path_);
}

void ModelCheckpoint::on_epoch_end(Trainer& t, std::int64_t, const Logs& logs) {
  if (best_) {
    const double v = value_of(logs, monitor_, "ModelCheckpoint");
    const bool better = should_rise(monitor_) ? v > best_value_ : v < best_value_;
    if (!better) return;  // NaN is not
    best_value_ = v;
  }
  t.save_checkpoint(path_);
}

std::string ModelCheckpoint::state() const {
  return number_text(best_value_);
}
void ModelCheckpoint::restore(const std::string& state) {
  best_value_ = std::strtod(state.c_str(), nullptr);
}

EarlyStopping::EarlyStopping(std::string monitor, std::int64_t patience, double min_delta)
    : monitor_(std::move(monitor)),
      patience_(patience),
      min_delta_(min_delta),
      best_(should_rise(monitor_) ? -kInfinity : kInfinity) {
  if (patience < 1) throw UsageError(cat("EarlyStopping: patience must be at least 1, got ", patience));
}

// A run that was killed after its last epoch and before it could say so has nothing left to train.
void EarlyStopping::on_train_begin(Trainer& t) {
  if (t.progress().step == 0) {  // a new run
    best_ = should_rise(monitor_) ? -kInfinity : kInfinity;
    bad_epochs_ = 0;
  }
  if (bad_epochs_ >= patience_) t.stop();
}

void EarlyStopping::on_epoch_end(Trainer& t, std::int64_t, const Logs& logs) {
  const double v = value_of(logs, monitor_, "EarlyStopping");
  if (should_rise(monitor_) ? v > best_ + min_delta_ : v < best_ - min_delta_) {
    best_ = v;
    bad_epochs_ = 0;
  } else if (++bad_epochs_ >= patience_) {
    t.stop();
  }
}

std::string EarlyStopping::state() const {
  return cat(number_text(best_), " ", bad_epochs_);
}

void EarlyStopping::restore(const std::string& state) {
  char* end = nullptr;
  best_ = std::strtod(state.c_str(), &end);
  bad_epochs_ = std::strtoll(end, nullptr, 10);
}

std::string CsvLogger::name() const {
  return "csv:" + file_name(path_);
}

void CsvLogger::on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) {
  if (text_.empty()) {
    text_ = "epoch";
    for (const auto& [k, _] : logs) text_ += cat(",", k);
    text_ += "\n";
  }
  text_ += cat(epoch + 1);
  std::istringstream header(text_.substr(0, text_.find('\n')));
  std::string column;
  std::getline(header, column, ',');  // the epoch
  while (std::getline(header, column, ',')) {
    const auto it = logs.find(column);
    text_ += it == logs.end() ? "," : cat(",", printf_string("%.9g", it->second));
  }
  text_ += "\n";
  write_file(path_, text_);
}

std::string JsonLinesLogger::name() const {
  return "jsonl:" + file_name(path_);
}

void JsonLinesLogger::on_epoch_end(Trainer&, std::int64_t epoch, const Logs& logs) {
  nlohmann::json j(logs);
  j["epoch"] = epoch + 1;
  text_ += j.dump() + "\n";
  write_file(path_, text_);
}

}  // namespace ingot
