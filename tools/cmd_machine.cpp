#include <cstdio>
#include <filesystem>
#include <memory>

#include "core/base/file.h"
#include "tools/commands.h"
#include "tools/cost_view.h"
#include "tools/machine_file.h"
#include "tools/measure_machine.h"

namespace ingot::tools {

namespace {

std::string rate(double per_second, const char* unit) {
  return cat(human_number(per_second / 1e9), " G", unit, "/s");
}

int list_machines() {
  for (const auto& [name, text] : described_machines()) {
    const Machine m = read_machine(name);
    std::printf("%-8s %-32s f32 %s, bf16 products %s, memory %s\n", name.c_str(), m.name.c_str(),
                rate(m.matrix[static_cast<std::size_t>(DType::F32)], "FLOP").c_str(),
                rate(m.matrix[static_cast<std::size_t>(DType::BF16)], "FLOP").c_str(),
                rate(m.levels.back().bytes_per_second, "B").c_str());
  }
  return 0;
}

int print_machine(const Machine& m, bool json) {
  if (json) {
    std::printf("%s\n", to_json(m).c_str());
    return 0;
  }
  std::printf("%s\n%s\n\n", m.name.c_str(), m.source.c_str());
  const auto rates = [](const char* label, const std::array<double, kDTypes>& of) {
    std::printf("%-10s", label);
    for (const DType t : {DType::F32, DType::F64, DType::F16, DType::BF16})
      if (const double r = of[static_cast<std::size_t>(t)]; r > 0.0)
        std::printf("  %s %s", std::string(name(t)).c_str(), rate(r, "FLOP").c_str());
    std::printf("\n");
  };
  rates("vector", m.vector);
  rates("matrix", m.matrix);
  for (const MemoryLevel& l : m.levels)
    std::printf("%-10s  %s%s\n", l.name.c_str(), rate(l.bytes_per_second, "B").c_str(),
                l.bytes > 0.0 ? cat(" up to ", human_bytes(l.bytes)).c_str() : "");
  std::printf("%-10s  %.2f us\n\n%-24s %-30s %-5s %8s %7s %s\n", m.threads > 0 ? "a step" : "a launch",
              m.launch_seconds * 1e6, "work", "kernel", "type", "compute", "memory", "result costs");
  for (const Efficiency& e : m.efficiencies)
    std::printf("%-24s %-30s %-5s %8.3f %7.3f %.1f\n", std::string(name(e.work)).c_str(),
                e.kernel.empty() ? "any" : cat(e.kernel, "...").c_str(),
                e.dtype ? std::string(name(*e.dtype)).c_str() : "any", e.compute, e.memory, e.result_cost);
  return 0;
}

struct MachineArguments {
  std::string which, out;
  bool json = false, measure = false;
  double seconds = 30.0;
  int threads = 0;
};

int measure(const MachineArguments& a) {
  const Target cpu = Target::cpu(a.threads);
  const std::string path = a.out.empty() ? measured_machine_path(cpu) : a.out;
  if (path.empty())
    throw UsageError(
        "there is no cache folder to keep the measurement in; set INGOT_CACHE_DIR or pass --out FILE");
  const Machine m = measure_cpu(
      cpu, {a.seconds, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }});
  if (a.out.empty()) std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_file(path, to_json(m) + "\n");
  std::fprintf(stderr, "written to %s\n", path.c_str());
  return print_machine(m, a.json);
}

}  // namespace

Action add_machine(CLI::App& app) {
  auto a = std::make_shared<MachineArguments>();
  auto* which =
      app.add_option("machine", a->which,
                     "list, a name of the list, or a JSON file (default: this CPU, as it was measured)");
  app.add_flag(
         "--measure", a->measure,
         "Measure this CPU and keep what was found in the cache folder, where plan and bench look for it")
      ->excludes(which);
  app.add_option("--seconds", a->seconds, "With --measure: about how long it may take")
      ->capture_default_str()
      ->check(positive_number());
  app.add_option("--out", a->out, "With --measure: write to this file instead");
  app.add_flag("--json", a->json, "Print the description as JSON, to start a file of your own from");
  app.add_option("--threads", a->threads, "Threads of this CPU; 0: every core this process may use")
      ->capture_default_str()
      ->check(between(0, 1024));
  app.footer(
      "Example:\n  ingot machine --measure\n  ingot machine list\n  ingot machine h200 --json > mine.json");
  return [a] {
    if (a->measure) return measure(*a);
    if (!a->out.empty()) throw UsageError("--out says where --measure writes; without it use --json > FILE");
    if (a->which == "list") return list_machines();
    return print_machine(a->which.empty() ? machine_of(Target::cpu(a->threads)) : read_machine(a->which),
                         a->json);
  };
}

}  // namespace ingot::tools
