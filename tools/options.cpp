#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <type_traits>

#include "io/target_file.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "train/step_graph.h"

namespace ingot::tools {

namespace {

// CLI11 reads a number beyond its type as the nearest one that fits, and a negative one as a huge one where
// the type is unsigned.
template <class T>
std::optional<T> whole_number(const std::string& text) {
  if (std::is_unsigned_v<T> && text.find('-') != std::string::npos) return std::nullopt;
  T n = 0;
  errno = 0;
  if (!CLI::detail::lexical_cast(text, n) || errno == ERANGE) return std::nullopt;
  return n;
}

template <class T>
CLI::Validator whole_number_from(T least, T most, const std::string& doc) {
  const auto check = [least, most](const std::string& text) {
    const std::optional<T> n = whole_number<T>(text);
    if (n && *n >= least && *n <= most) return std::string();
    return cat("expected a whole number from ", least, " to ", most, ", got ", text);
  };
  return {check, doc};
}

template <class Good>
CLI::Validator number(const Good& good, const char* expected, const char* doc) {
  const auto check = [good, expected](const std::string& text) {
    double v = 0.0;
    if (CLI::detail::lexical_cast(text, v) && good(v) && std::isfinite(v)) return std::string();
    return cat("expected a number ", expected, ", got ", text);
  };
  return {check, doc};
}

}  // namespace

CLI::Validator at_least(std::int64_t least) {
  return whole_number_from(least, std::numeric_limits<std::int64_t>::max(),
                           least > 0 ? "POSITIVE" : "NONNEGATIVE");
}

CLI::Validator between(std::int64_t least, std::int64_t most) {
  return whole_number_from(least, most, cat(least, " to ", most));
}

CLI::Validator any_unsigned() {
  return whole_number_from(std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max(), "");
}

CLI::Validator positive_number() {
  return number([](double v) { return v > 0.0; }, "greater than 0", "POSITIVE");
}

CLI::Validator nonnegative_number() {
  return number([](double v) { return v >= 0.0; }, "of at least 0", "NONNEGATIVE");
}

namespace {

// Of the GPU; -1 for the CPU.
int device_number(const std::string& device) {
  if (device == "cpu") return -1;
  if (device == "cuda") return 0;
  const std::string prefix = "cuda:";
  if (device.starts_with(prefix)) {
    const std::optional<int> number = whole_number<int>(device.substr(prefix.size()));
    if (number && *number >= 0) return *number;
  }
  throw UsageError(cat("there is no device '", device,
                       "'; expected cpu, cuda (the first GPU) or cuda:N with N from 0, and `ingot info` "
                       "shows what this machine has"));
}

// The name alone: whether the machine has such a device matters only to those who use it.
CLI::Validator device_name() {
  const auto check = [](const std::string& text) -> std::string {
    try {
      device_number(text);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "";
  };
  return {check, ""};
}

}  // namespace

void DeviceOptions::add_to(CLI::App& app) {
  app.add_option("--device", device, "Where to run: cpu, cuda (the first GPU) or cuda:N")
      ->capture_default_str()
      ->check(device_name());
  app.add_option("--threads", threads, "Threads; 0 uses every core this process may use")
      ->capture_default_str()
      ->check(between(0, std::numeric_limits<int>::max()));  // Target::cpu knows how many are sensible
  app.add_option(
         "--autotune", autotune,
         "On a GPU, how kernels are chosen: off (Ingot's own), heuristic, or measure (timed once, kept "
         "on the disk)")
      ->capture_default_str()
      ->check(CLI::IsMember({"off", "heuristic", "measure"}));
  app.add_option("--workspace-limit", workspace_limit,
                 "On a GPU, take no plan of a library that wants more workspace, e.g. 256MiB");
  app.add_option(
      "--memory-budget", memory_budget,
      "Bytes that training or inference may need in all, e.g. 6GB: where a plan needs more, results are "
      "computed again, the cheapest first");
  app.add_flag("--allow-tf32", allow_tf32,
               "On a GPU, f32 products and convolutions may round operands to TF32 (10 bits of mantissa)");
  app.add_flag(
      "--allow-nondeterministic", allow_nondeterministic,
      "On a GPU, libraries may use algorithms whose results differ in the last bits from run to run");
}

void DeviceOptions::add_described_to(CLI::App& app) {
  std::vector<std::string> names;
  for (const auto& [name, text] : described_targets()) names.push_back(name);
  app.add_option(
         "--target", described,
         cat("Plan for a GPU that need not be here: ", join(names), " or a JSON file that describes one"))
      ->excludes(app.get_option("--device"));
}

Target DeviceOptions::target() const {
  const int number = device_number(device);
  Target t = !described.empty() ? read_target(described)
             : number < 0       ? Target::cpu(threads)
                                : Target::cuda(number);
  t.allow_tf32 = allow_tf32;
  t.deterministic = !allow_nondeterministic;
  t.autotune = autotune == "off"       ? Autotune::Off
               : autotune == "measure" ? Autotune::Measure
                                       : Autotune::Heuristic;
  if (t.autotune == Autotune::Measure && !t.described.empty())
    throw UsageError("--autotune measure needs the device itself; with --target use heuristic or off");
  if (!workspace_limit.empty()) t.workspace_limit = parse_bytes(workspace_limit);
  return t;
}

std::size_t DeviceOptions::budget() const {
  return memory_budget.empty() ? 0 : parse_bytes(memory_budget);
}

void ModelArguments::add_to(CLI::App& app) {
  app.add_option("model", model, "Model: see `ingot info models`")->required();
  app.add_option("--channels", channels, "Input channels (default: the model's own)")->check(at_least(1));
  app.add_option("--image-size", image_size, "Height and width (default: the model's own)")
      ->check(between(1, 65535));  // JPEG's limit; far beyond it even planning takes for ever
  app.add_option("--classes", classes, "Classes (default: the model's own)")->check(at_least(1));
  app.add_option("--sequence-length", sequence_length,
                 "Of models of texts: tokens of a text, longer ones are cut (default: the model's own)")
      ->check(between(1, 1'000'000));
  app.add_option(
         "--vocabulary-size", vocabulary_size,
         "Of models of texts: tokens that the model knows; in training, at most so many (default: the "
         "model's own)")
      ->check(between(3, 100'000'000));
}

ModelOptions ModelArguments::options() const {
  ModelOptions o;
  if (channels > 0) o.in_channels = channels;
  if (image_size > 0) o.image_size = image_size;
  if (classes > 0) o.num_classes = classes;
  if (sequence_length > 0) o.sequence_length = sequence_length;
  if (vocabulary_size > 0) o.vocabulary = vocabulary_size;
  return o;
}

void require_fitting_images(Module& net, const std::string& model, const Shape& takes, const Shape& found,
                            const std::string& whose) {
  if (found == takes) return;
  Shape one = found;
  one.insert(0, 1);
  try {
    inference_graph(net, {DType::F32, one});
  } catch (const ShapeError&) {
    throw UsageError(cat("the model ", model, " takes images ", to_string(takes), " here, ", whose, " has ",
                         to_string(found), "; bring the images to that size"));
  }
}

void PrecisionArguments::add_to(CLI::App& app) {
  app.add_option(
         "--dtype", dtype,
         "f32, bf16 or f16: what products and convolutions compute in; weights, losses and statistics stay "
         "f32")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  app.add_option("--keep-f32", keep,
                 "Under another --dtype, compute this node, layer or block in f32 (may be repeated)");
}

PrecisionOptions PrecisionArguments::options() const {
  PrecisionOptions o;
  o.compute = dtype == "bf16" ? DType::BF16 : dtype == "f16" ? DType::F16 : DType::F32;
  if (!keep.empty() && o.compute == DType::F32)
    throw UsageError("--keep-f32 says what does not follow --dtype bf16 or f16; with f32 everything is f32");
  for (const std::string& name : keep) o.overrides[name] = Precision::Full;
  return o;
}

void LossScaleArguments::add_to(CLI::App& app) {
  const auto check = [](const std::string& text) -> std::string {
    try {
      loss_scale_by_name(text);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "";
  };
  app.add_option(
         "--loss-scale", scale,
         "In training, multiply gradients before the backward pass and divide again after it: dynamic (backs "
         "off where they overflow, and skips that step), a number, or none (default: dynamic in f16, else "
         "none)")
      ->check(CLI::Validator(check, "dynamic|none|N"));
}

std::optional<LossScale> LossScaleArguments::option() const {
  if (scale.empty()) return {};
  return loss_scale_by_name(scale);
}

std::string LossScaleArguments::name(const PrecisionArguments& precision) const {
  if (!scale.empty()) return scale;
  return default_loss_scale(precision.options().compute).enabled() ? "dynamic" : "none";
}

void ProgramArguments::add_to(CLI::App& app) {
  model.add_to(app);
  device.add_to(app);
  app.add_option("--batch-size", batch_size, "Images in a batch")->default_val(64)->check(at_least(1));
  app.add_option("--mode", mode, "train or infer")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "infer"}));
  precision.add_to(app);
  loss_scale.add_to(app);
  app.add_option("--optimizer", optimizer, "sgd, adam, adamw, rmsprop, adagrad, lion, lamb or lars")
      ->capture_default_str();
  app.add_option("--freeze", freeze.patterns,
                 "In training, leave the parameters of this pattern as they are, e.g. 'layer1.*' (may be "
                 "repeated)");
  app.add_flag("--freeze-batch-norm", freeze.batch_norm,
               "Batch norms of what is frozen normalise by their running statistics")
      ->needs("--freeze");
  app.add_option("--dump-passes", dump_passes, "Write the graph's text after each pass into this folder");
  app.add_option("--skip-pass", skip_passes, "Leave out a pass (may be repeated)");
}

Graph ProgramArguments::graph(std::int64_t batch) const {
  const ModelOptions o = model.options();
  const auto net = make_model(model.model, o);
  const TensorType input = model_input_type(model.model, batch, o);
  const OptimizerPtr update = optimizer_by_name(  // a wrong name is one in every mode
      optimizer, {.lr = 0.001, .weight_decay = 5e-4, .schedule = {}, .clip_norm = 0.0, .groups = {}});
  if (mode == "infer" && !loss_scale.scale.empty())
    throw UsageError("--loss-scale is about gradients; --mode infer has none");
  if (mode == "infer" && !freeze.patterns.empty())
    throw UsageError("--freeze is about training; --mode infer changes no parameter");
  return mode == "infer" ? inference_graph(*net, input, precision.options())
                         : training_graph(*net, input, *update, {.scale = loss_scale.option()},
                                          precision.options(), freeze);
}

ProgramPtr ProgramArguments::program(std::int64_t batch) const {
  CompileOptions options;
  options.target = device.target();
  options.skip_passes = {skip_passes.begin(), skip_passes.end()};
  options.dump_passes = dump_passes;
  options.memory_budget = device.budget();
  options.node_seconds = seconds_on(options.target);
  return compile(graph(batch), options);
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t u = 0;
  while (bytes >= 1024.0 && u + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++u;
  }
  char text[32];
  std::snprintf(text, sizeof text, u == 0 ? "%.0f %s" : "%.2f %s", bytes, kUnits[u]);
  return text;
}

std::size_t parse_bytes(const std::string& text) {
  std::size_t used = 0;
  double v = 0.0;
  try {
    v = std::stod(text, &used);
  } catch (const std::logic_error&) {
    used = 0;
  }
  std::string unit = text.substr(used);
  while (!unit.empty() && unit.front() == ' ') unit.erase(unit.begin());
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  // "", "B"; then K, KB and KiB, where only KB counts in thousands.
  const std::string rest = unit.size() > 1 ? unit.substr(1) : "", units = "BKMGT";
  const bool decimal = rest == "B";
  const auto power = unit.empty() ? 0 : units.find(unit[0]);
  const bool known = power != std::string::npos && (rest.empty() || (power > 0 && (decimal || rest == "IB")));
  const double bytes = known ? v * std::pow(decimal ? 1000.0 : 1024.0, static_cast<double>(power)) : 0.0;
  if (used == 0 || !(bytes >= 1.0) || bytes >= 0x1p63)
    throw UsageError(cat("'", text, "' is not a number of bytes; write e.g. 2GiB, 500MB or 1073741824"));
  return static_cast<std::size_t>(bytes);
}

}  // namespace ingot::tools
