// The verbs of the ingot program. Each adds its options to a CLI11 sub-command and returns what to run when
// it is chosen; the result is the exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "core/passes/precision.h"
#include "core/runtime/program.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/freeze.h"

namespace ingot::tools {

using Action = std::function<int()>;

Action add_train(CLI::App& app);
Action add_eval(CLI::App& app);
Action add_predict(CLI::App& app);
Action add_explain(CLI::App& app);
Action add_plan(CLI::App& app);
Action add_graph(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_info(CLI::App& app);
Action add_cache(CLI::App& app);
Action add_machine(CLI::App& app);

// Options that several verbs share.
struct DeviceOptions {
  std::string device = "cpu";
  std::string described;  // a GPU that is not here; empty: `device`
  int threads = 0;
  bool allow_tf32 = false, allow_nondeterministic = false;
  std::string autotune = "heuristic", workspace_limit, memory_budget;
  void add_to(CLI::App& app);
  void add_described_to(CLI::App& app);  // --target, for verbs that run nothing
  Target target() const;
  std::size_t budget() const;  // bytes; 0: none
};

struct ModelArguments {
  std::string model;
  std::int64_t channels = 0, image_size = 0, classes = 0;  // 0: the model's own
  std::int64_t sequence_length = 0, vocabulary_size = 0;   // likewise, of models of texts
  void add_to(CLI::App& app);
  ModelOptions options() const;
};

// Refuses images of a shape that the network cannot compute, where an op within it would: `takes` and `found`
// are [channels, height, width], `whose` says where the images are. Networks that pool globally take any
// size.
void require_fitting_images(Module& net, const std::string& model, const Shape& takes, const Shape& found,
                            const std::string& whose);

struct PrecisionArguments {
  std::string dtype = "f32";
  std::vector<std::string> keep;
  void add_to(CLI::App& app);
  PrecisionOptions options() const;
};

struct LossScaleArguments {
  std::string scale;  // empty: the default of the type
  void add_to(CLI::App& app);
  std::optional<LossScale> option() const;
  std::string name(const PrecisionArguments& precision) const;  // "dynamic", "none" or a number
};

enum class Mode { Train, Infer };

// The program that `plan`, `graph` and `bench` look at: SGD with momentum in training, logits only in
// inference.
struct ProgramArguments {
  ModelArguments model;
  DeviceOptions device;
  std::int64_t batch_size = 0;
  PrecisionArguments precision;
  LossScaleArguments loss_scale;
  std::string mode = "train", dump_passes, optimizer = "sgd";
  std::vector<std::string> skip_passes;
  FreezeOptions freeze;
  void add_to(CLI::App& app);
  Graph graph(std::int64_t batch) const;
  ProgramPtr program(std::int64_t batch) const;
};

// What a number must be; the message says what was found. CLI11's own checks print a range up to 1.8e308, and
// without one of these it takes a number too large for its type as the largest.
CLI::Validator at_least(std::int64_t least);
CLI::Validator between(std::int64_t least, std::int64_t most);
CLI::Validator any_unsigned();
CLI::Validator positive_number();
CLI::Validator nonnegative_number();

// "1.5 GiB".
std::string human_bytes(double bytes);
// "512", "1.5G", "200MiB" -> bytes; throws UsageError.
std::size_t parse_bytes(const std::string& text);

}  // namespace ingot::tools
