#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/philox.h"
#include "core/runtime/session.h"
#include "tools/commands.h"

namespace ingot::tools {

namespace {

using Clock = std::chrono::steady_clock;

struct BenchArguments : ProgramArguments {
  bool json = false, profile = false;
  double seconds = 3.0, warmup_seconds = 1.0;
  int min_steps = 5;
};

// Random inputs: uniform images, labels below the number of classes, every row real.
void fill_inputs(const Session& s, std::int64_t classes) {
  for (const ValueId v : s.program().graph().inputs()) {
    const ValueInfo& info = s.program().graph().value(v);
    const Tensor t = s.input(info.name);
    const Philox rng(1, v.index);
    if (info.name == "valid_rows") {
      t.set(0, static_cast<double>(s.input("x").shape()[0]));
      continue;
    }
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const std::uint32_t bits = rng.bits(static_cast<std::uint64_t>(i));
      t.set(i, is_floating(t.dtype()) ? 2.0 * static_cast<double>(uniform01(bits)) - 1.0
                                      : static_cast<double>(bits % static_cast<std::uint32_t>(classes)));
    }
  }
}

// High-water mark of this process's resident memory, in bytes.
std::size_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.starts_with("VmHWM:")) return static_cast<std::size_t>(std::stoll(line.substr(6))) * 1024;
  return 0;
}

void print_profile(Session& s, int runs) {
  // Medians: a mean of microseconds is made of the few times when something else had the processor.
  std::vector<std::vector<double>> samples(s.program().graph().nodes().size());
  for (int i = 0; i < runs; ++i)
    for (const StepTiming& t : s.run_timed()) samples[t.node.index].push_back(t.ms);
  std::vector<double> ms;
  for (auto& times : samples) {
    std::sort(times.begin(), times.end());
    ms.push_back(times.empty() ? 0.0 : times[times.size() / 2]);
  }
  std::vector<NodeId> order = s.program().schedule();
  std::stable_sort(order.begin(), order.end(), [&](NodeId a, NodeId b) { return ms[a.index] > ms[b.index]; });
  double total = 0.0;
  for (const double t : ms) total += t;
  std::printf("\n%9s %6s %9s %9s  %-22s %-34s %s\n", "ms", "share", "GFLOP/s", "GB/s", "op", "node",
              "kernel");
  for (const NodeId n : order) {
    const Node& node = s.program().graph().node(n);
    const Cost c = cost(s.program().graph(), node);
    const double t = std::max(ms[n.index], 1e-9);
    if (ms[n.index] < 0.002 * total) break;
    std::printf("%9.3f %5.1f%% %9.1f %9.1f  %-22s %-34s %s\n", ms[n.index], 100.0 * ms[n.index] / total,
                c.flops / t / 1e6, c.bytes / t / 1e6, node.op.c_str(), node.name.c_str(),
                s.program().step(n).kernel.c_str());
  }
  std::printf("%9.3f 100.0%%  sum of %zu steps, each the median of %d\n", total, order.size(), runs);
}

// Operations of the model as it is written; the compiled step may do fewer.
double model_flops(const Graph& graph) {
  PassContext context;
  const Graph needed = eliminate_dead_code(graph, context);
  double sum = 0.0;
  for (const Node& n : needed.nodes()) sum += cost(needed, n).flops;
  return sum;
}

int run_bench(const BenchArguments& a) {
  if (a.batch_size <= 0) throw UsageError(cat("the batch size must be positive, got ", a.batch_size));
  const ProgramPtr p = a.program(a.batch_size);
  Session s(p, {.seed = 1, .check_numerics = false, .guard = {}, .poison = false});
  const Shape logits = s.output("logits").shape();
  fill_inputs(s, logits[-1]);
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  for (const auto start = Clock::now(); since(start) < a.warmup_seconds;) s.run();
  std::vector<double> ms;
  for (const auto start = Clock::now();
       since(start) < a.seconds || static_cast<int>(ms.size()) < a.min_steps;) {
    const auto before = Clock::now();
    s.run();
    s.wait();
    ms.push_back(since(before) * 1e3);
  }
  std::vector<double> sorted = ms;
  std::sort(sorted.begin(), sorted.end());
  const double step = sorted[sorted.size() / 2];
  const double flops = p->flops();
  nlohmann::ordered_json j;
  j["model"] = a.model.model;
  j["mode"] = a.mode;
  j["batch_size"] = a.batch_size;
  j["dtype"] = a.dtype;
  j["device"] = p->target().name;
  j["threads"] = p->target().threads;
  j["images_per_second"] = static_cast<double>(a.batch_size) / step * 1e3;
  j["step_ms"] = step;
  j["step_ms_min"] = sorted.front();
  j["step_ms_max"] = sorted.back();
  j["steps"] = ms.size();
  j["flops"] = flops;
  j["model_flops"] = model_flops(a.graph(a.batch_size));
  j["gflops"] = flops / step / 1e6;
  j["peak_bytes"] = peak_resident_bytes();
  j["planned_bytes"] = p->report().total_bytes;
  if (a.json) {
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%s, %s, batch %lld, %s, %s\n", a.model.model.c_str(), a.mode.c_str(),
                static_cast<long long>(a.batch_size), a.dtype.c_str(), p->target().name.c_str());
    std::printf("  %.3f ms a step (median of %zu, %.3f to %.3f), %.1f images/s, %.1f GFLOP/s\n", step,
                ms.size(), sorted.front(), sorted.back(), j["images_per_second"].get<double>(),
                j["gflops"].get<double>());
    std::printf("  planned %s, peak resident %s\n",
                human_bytes(static_cast<double>(p->report().total_bytes)).c_str(),
                human_bytes(j["peak_bytes"].get<double>()).c_str());
  }
  if (a.profile) print_profile(s, std::max(3, std::min(50, static_cast<int>(1000.0 / step))));
  return 0;
}

}  // namespace

Action add_bench(CLI::App& app) {
  auto a = std::make_shared<BenchArguments>();
  a->add_to(app);
  app.add_flag("--json", a->json, "Print one JSON object");
  app.add_flag("--profile", a->profile, "Also time every node");
  app.add_option("--seconds", a->seconds, "Measure for at least this long")
      ->capture_default_str()
      ->check(positive_number());
  app.add_option("--warmup", a->warmup_seconds, "Seconds of steps before measuring")->capture_default_str();
  app.footer("Example:\n  ingot bench resnet20 --batch-size 128 --mode train --threads 2 --json");
  return [a] { return run_bench(*a); };
}

}  // namespace ingot::tools
