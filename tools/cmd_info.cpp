#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/op/registry.h"
#include "io/target_file.h"
#include "tools/commands.h"

namespace ingot::tools {

namespace {

void print_model(const ModelInfo& m, const std::string& input, const ModelSize& size) {
  std::printf("%-18s  %-15s  %7lld  %11lld  %9s  %9.4f 10^9  %s\n", std::string(m.name).c_str(),
              input.c_str(), static_cast<long long>(m.num_classes), static_cast<long long>(size.parameters),
              human_bytes(static_cast<double>(size.parameter_bytes)).c_str(),
              static_cast<double>(size.multiply_adds) * 1e-9, std::string(m.doc).c_str());
}

int print_models(bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (!json)
    std::printf("%-18s  %-15s  %7s  %11s  %9s  %14s\n", "model", "image", "classes", "parameters", "in f32",
                "multiply-adds");
  for (const ModelInfo& m : models()) {
    const ModelSize size = model_size(m.name);
    list.push_back({{"name", m.name},
                    {"channels", m.in_channels},
                    {"image_size", m.image_size},
                    {"least_image_size", m.least_image},
                    {"classes", m.num_classes},
                    {"parameters", size.parameters},
                    {"parameter_bytes", size.parameter_bytes},
                    {"multiply_adds", size.multiply_adds},
                    {"doc", m.doc}});
    if (!json) print_model(m, cat(m.in_channels, " x ", m.image_size, " x ", m.image_size), size);
  }
  if (!json)
    std::printf("\n%-18s  %-15s  %7s  %11s  %9s  %14s\n", "model of texts", "tokens x words", "classes",
                "parameters", "in f32", "multiply-adds");
  for (const ModelInfo& m : text_models()) {
    const ModelSize size = model_size(m.name);
    list.push_back({{"name", m.name},
                    {"sequence_length", m.sequence_length},
                    {"least_sequence_length", m.least_length},
                    {"vocabulary", m.vocabulary},
                    {"classes", m.num_classes},
                    {"parameters", size.parameters},
                    {"parameter_bytes", size.parameter_bytes},
                    {"multiply_adds", size.multiply_adds},
                    {"doc", m.doc}});
    if (!json) print_model(m, cat(m.sequence_length, " x ", m.vocabulary), size);
  }
  if (json)
    std::printf("%s\n", list.dump(2).c_str());
  else
    std::printf("\nmultiply-adds: of convolutions and matrix products, for one image or text\n");
  return 0;
}

int print_ops(bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const OpDef* d : Registry::instance().all()) {
    nlohmann::ordered_json attrs = nlohmann::ordered_json::array();
    for (const auto& f : d->attrs.fields()) attrs.push_back(f.name);
    list.push_back({{"name", d->name},
                    {"attributes", attrs},
                    {"differentiable", d->gradient != nullptr},
                    {"doc", d->doc}});
    if (!json) {
      std::vector<std::string> names = attrs;
      std::printf("%-28s %-2s %s%s\n", d->name.c_str(), d->gradient != nullptr ? "d" : "", d->doc.c_str(),
                  names.empty() ? "" : cat("  {", join(names), "}").c_str());
    }
  }
  if (json)
    std::printf("%s\n", list.dump(2).c_str());
  else
    std::printf("\nd: differentiable\n");
  return 0;
}

// A description is one a user may save, change and pass to --target.
int print_targets(bool json) {
  nlohmann::ordered_json all;
  for (const auto& [name, text] : described_targets()) {
    all[name] = nlohmann::ordered_json::parse(text);
    if (!json) {
      const Target t = read_target(name);
      std::printf("%-8s %s, sm_%d, %s multiprocessors, %s\n", name.c_str(),
                  all[name]["deviceName"].get<std::string>().c_str(), t.sm,
                  all[name]["multiProcessorCount"].dump().c_str(),
                  human_bytes(static_cast<double>(t.memory_bytes)).c_str());
    }
  }
  if (json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

int print_build(bool json) {
  const Target t = Target::cpu();
  nlohmann::ordered_json j;
  j["version"] = INGOT_VERSION;
  j["compiler"] = cat("g++ ", __VERSION__);
  j["cpu"] = t.name;
  j["threads"] = t.threads;
  j["memory_bytes"] = t.memory_bytes;
  std::vector<std::pair<std::string, std::string>> gpu;
  std::string cuda = "available";
  try {
    gpu = backend("cuda").facts();
    Target::cuda(0);
  } catch (const Error& e) {
    cuda = e.what();
    if (gpu.empty()) gpu = {{"cuda", cuda}};
  }
  j["backends"] = {{"cpu", "available"}, {"cuda", cuda}};
  for (const auto& [name, text] : gpu) j["gpu"][name] = text;
  if (json) {
    std::printf("%s\n", j.dump(2).c_str());
    return 0;
  }
  std::printf("ingot %s, %s\n", INGOT_VERSION, j["compiler"].get<std::string>().c_str());
  std::printf("cpu     %s, memory %s\n", t.name.c_str(),
              human_bytes(static_cast<double>(t.memory_bytes)).c_str());
  for (const auto& [name, text] : gpu) std::printf("%-7s %s\n", name.c_str(), text.c_str());
  std::printf("models  `ingot info models`\nops     `ingot info ops`\ntargets `ingot info targets`\n");
  return 0;
}

}  // namespace

Action add_info(CLI::App& app) {
  auto topic = std::make_shared<std::string>("build");
  auto json = std::make_shared<bool>(false);
  app.add_option("topic", *topic, "build, models, ops or targets")
      ->capture_default_str()
      ->check(CLI::IsMember({"build", "models", "ops", "targets"}));
  app.add_flag("--json", *json, "Print JSON");
  app.footer("Example:\n  ingot info models");
  return [topic, json] {
    if (*topic == "models") return print_models(*json);
    if (*topic == "ops") return print_ops(*json);
    if (*topic == "targets") return print_targets(*json);
    return print_build(*json);
  };
}

}  // namespace ingot::tools
