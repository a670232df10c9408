#include <array>
#include <cmath>
#include <cstdio>

#include "tools/commands.h"
#include "train/step_graph.h"

namespace ingot::tools {

CLI::Validator at_least(std::int64_t least) {
  const auto check = [least](const std::string& text) {
    std::int64_t n = 0;
    if (CLI::detail::lexical_cast(text, n) && n >= least) return std::string();
    return cat("expected a whole number of at least ", least, ", got ", text);
  };
  return {check, least > 0 ? "POSITIVE" : "NONNEGATIVE"};
}

CLI::Validator at_most(std::int64_t most) {
  const auto check = [most](const std::string& text) {
    std::int64_t n = 0;
    if (CLI::detail::lexical_cast(text, n) && n <= most) return std::string();
    return cat("expected a whole number of at most ", most, ", got ", text);
  };
  return {check, ""};
}

CLI::Validator positive_number() {
  const auto check = [](const std::string& text) {
    double v = 0.0;
    if (CLI::detail::lexical_cast(text, v) && v > 0.0 && std::isfinite(v)) return std::string();
    return cat("expected a number greater than 0, got ", text);
  };
  return {check, "POSITIVE"};
}

void DeviceOptions::add_to(CLI::App& app) {
  app.add_option("--device", device, "Where to run: cpu, cuda (the first GPU) or cuda:N")
      ->capture_default_str();
  app.add_option("--threads", threads, "Threads; 0 uses every core this process may use")
      ->capture_default_str()
      ->check(at_least(0));
}

Target DeviceOptions::target() const {
  if (device == "cpu") return Target::cpu(threads);
  if (device == "cuda") return Target::cuda(0);
  int number = 0;
  const std::string prefix = "cuda:";
  if (device.starts_with(prefix) && CLI::detail::lexical_cast(device.substr(prefix.size()), number))
    return Target::cuda(number);
  throw UsageError(cat("there is no device '", device,
                       "'; --device expects cpu, cuda (the first GPU) or cuda:N, and `ingot info` shows what "
                       "this machine has"));
}

void ModelArguments::add_to(CLI::App& app) {
  app.add_option("model", model, "Model: see `ingot info models`")->required();
  app.add_option("--channels", channels, "Input channels (default: the model's own)")->check(at_least(0));
  app.add_option("--image-size", image_size, "Height and width (default: the model's own)")
      ->check(at_least(0))
      ->check(at_most(65535));  // JPEG's limit; far beyond it even planning takes for ever
  app.add_option("--classes", classes, "Classes (default: the model's own)")->check(at_least(0));
}

ModelOptions ModelArguments::options() const {
  ModelOptions o;
  if (channels > 0) o.in_channels = channels;
  if (image_size > 0) o.image_size = image_size;
  if (classes > 0) o.num_classes = classes;
  return o;
}

void ProgramArguments::add_to(CLI::App& app) {
  model.add_to(app);
  device.add_to(app);
  app.add_option("--batch-size", batch_size, "Images in a batch")->default_val(64)->check(at_least(1));
  app.add_option("--mode", mode, "train or infer")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "infer"}));
  app.add_option("--dtype", dtype, "f32")->capture_default_str()->check(CLI::IsMember({"f32"}));
  app.add_option("--optimizer", optimizer, "sgd, adam, adamw or rmsprop")->capture_default_str();
  app.add_option("--dump-passes", dump_passes, "Write the graph's text after each pass into this folder");
  app.add_option("--skip-pass", skip_passes, "Leave out a pass (may be repeated)");
}

Graph ProgramArguments::graph(std::int64_t batch) const {
  const ModelOptions o = model.options();
  const auto net = make_model(model.model, o);
  const TensorType input{DType::F32, model_input(model.model, batch, o)};
  if (mode == "infer") return inference_graph(*net, input);
  return training_graph(
      *net, input,
      *optimizer_by_name(
          optimizer, {.lr = 0.001, .weight_decay = 5e-4, .schedule = {}, .clip_norm = 0.0, .groups = {}}));
}

ProgramPtr ProgramArguments::program(std::int64_t batch) const {
  CompileOptions options;
  options.target = device.target();
  options.skip_passes = {skip_passes.begin(), skip_passes.end()};
  options.dump_passes = dump_passes;
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
