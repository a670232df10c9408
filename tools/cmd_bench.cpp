#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/runtime/session.h"
#include "tools/bench_op.h"
#include "tools/commands.h"
#include "tools/cost_view.h"
#include "tools/step_timing.h"

namespace ingot::tools {

namespace {

using Clock = std::chrono::steady_clock;

struct BenchArguments : ProgramArguments {
  bool json = false, profile = false;
  std::string machine;
  OpArguments op;
  double seconds = 3.0, warmup_seconds = 1.0;
  int min_steps = 5;
};

// High-water mark of this process's resident memory, in bytes.
std::size_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.starts_with("VmHWM:")) return static_cast<std::size_t>(std::stoll(line.substr(6))) * 1024;
  return 0;
}

struct Profile {
  std::vector<NodeId> order;  // the slowest first
  std::vector<double> ms;     // by node
  double total_ms = 0.0;
  int runs = 0;
  // What the cost model says, by node, and of which machine; or why it says nothing.
  std::vector<double> predicted_ms;
  double predicted_total_ms = 0.0;
  std::string machine, no_prediction;
};

Profile profile(Session& s, int runs, const std::string& machine) {
  Profile p;
  p.runs = runs;
  p.ms = time_steps(s, [runs](int done) { return done < runs; }).median;
  p.order = s.program().schedule();
  std::stable_sort(p.order.begin(), p.order.end(),
                   [&](NodeId a, NodeId b) { return p.ms[a.index] > p.ms[b.index]; });
  for (const double t : p.ms) p.total_ms += t;
  try {
    const Machine m = machine_for(machine, s.program().target());
    const Prediction predicted = predict(m, s.program());
    p.machine = m.name;
    p.predicted_ms.assign(p.ms.size(), 0.0);
    for (const PredictedStep& step : predicted.steps)
      if (step.node.valid()) p.predicted_ms[step.node.index] = step.cost.seconds * 1e3;
    p.predicted_total_ms = predicted.total.seconds * 1e3;
  } catch (const Error& e) {
    if (!machine.empty()) throw;
    p.no_prediction = e.message();
  }
  return p;
}

struct Rates {
  double gflops, gigabytes;  // a second
};

Rates rates(const Graph& graph, const Node& node, double ms) {
  const Cost c = cost(graph, node);
  const double t = std::max(ms, 1e-9);
  return {c.flops / t / 1e6, c.bytes / t / 1e6};
}

nlohmann::ordered_json to_json(const Profile& p, const Program& program) {
  nlohmann::ordered_json j;
  j["total_ms"] = p.total_ms;
  j["runs"] = p.runs;
  if (p.no_prediction.empty()) {
    j["machine"] = p.machine;
    j["predicted_ms"] = p.predicted_total_ms;
  } else {
    j["no_prediction"] = p.no_prediction;
  }
  j["nodes"] = nlohmann::ordered_json::array();
  for (const NodeId n : p.order) {
    const Node& node = program.graph().node(n);
    const Rates r = rates(program.graph(), node, p.ms[n.index]);
    j["nodes"].push_back({{"node", node.name},
                          {"op", node.op},
                          {"kernel", program.step(n).kernel},
                          {"ms", p.ms[n.index]},
                          {"gflops", r.gflops},
                          {"gigabytes_per_second", r.gigabytes}});
    if (p.no_prediction.empty()) j["nodes"].back()["predicted_ms"] = p.predicted_ms[n.index];
  }
  return j;
}

void print_profile(const Profile& p, const Program& program) {
  const bool predicted = p.no_prediction.empty();
  const auto number = [&](double ms) {
    char text[32];
    std::snprintf(text, sizeof text, "%9.3f", ms);
    return std::string(predicted ? text : "        -");
  };
  std::printf("\n%9s %9s %6s %9s %9s  %-22s %-34s %s\n", "ms", "predicted", "share", "GFLOP/s", "GB/s", "op",
              "node", "kernel");
  for (const NodeId n : p.order) {
    const Node& node = program.graph().node(n);
    const double ms = p.ms[n.index];
    if (ms < 0.002 * p.total_ms) break;
    const Rates r = rates(program.graph(), node, ms);
    std::printf("%9.3f %s %5.1f%% %9.1f %9.1f  %-22s %-34s %s\n", ms,
                number(predicted ? p.predicted_ms[n.index] : 0.0).c_str(), 100.0 * ms / p.total_ms, r.gflops,
                r.gigabytes, node.op.c_str(), node.name.c_str(), program.step(n).kernel.c_str());
  }
  std::printf("%9.3f %s 100.0%%  sum of %zu steps, each the median of %d\n", p.total_ms,
              number(p.predicted_total_ms).c_str(), p.order.size(), p.runs);
  if (predicted)
    std::printf(
        "predicted for %s; `ingot machine` shows what from, `ingot machine --measure` measures this CPU\n",
        p.machine.c_str());
  else
    std::printf("no prediction: %s\n", p.no_prediction.c_str());
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
  if (a.model.model.empty() == a.op.op.empty())
    throw UsageError("name a model (`ingot info models`), or an op by --op and its operands by --shape");
  if (!a.op.op.empty()) {
    OpArguments of = a.op;
    of.machine = a.machine;
    return bench_op(of, a.device.target(), a.precision.dtype, a.seconds / 10.0, a.json);
  }
  if (a.op.any_but_op()) throw UsageError("--shape and --attr are for --op");
  if (!a.device.described.empty())
    throw UsageError(
        "--target describes a GPU that is not here: nothing can be timed on it; use `ingot plan`, or --op");
  if (a.batch_size <= 0) throw UsageError(cat("the batch size must be positive, got ", a.batch_size));
  const ProgramPtr p = a.program(a.batch_size);
  Session s(p, {.seed = 1, .check_numerics = false, .guard = {}, .poison = false});
  fill_random_inputs(s);
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
  j["dtype"] = a.precision.dtype;
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
  std::optional<Profile> times;
  if (a.profile) times = profile(s, static_cast<int>(std::clamp(1000.0 / step, 3.0, 50.0)), a.machine);
  if (a.json) {
    if (times) j["profile"] = to_json(*times, *p);
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%s, %s, batch %lld, %s, %s\n", a.model.model.c_str(), a.mode.c_str(),
                static_cast<long long>(a.batch_size), a.precision.dtype.c_str(), p->target().name.c_str());
    std::printf("  %.3f ms a step (median of %zu, %.3f to %.3f), %.1f images/s, %.1f GFLOP/s\n", step,
                ms.size(), sorted.front(), sorted.back(), j["images_per_second"].get<double>(),
                j["gflops"].get<double>());
    std::printf("  planned %s, peak resident %s\n",
                human_bytes(static_cast<double>(p->report().total_bytes)).c_str(),
                human_bytes(j["peak_bytes"].get<double>()).c_str());
    if (times) print_profile(*times, *p);
  }
  return 0;
}

}  // namespace

Action add_bench(CLI::App& app) {
  auto a = std::make_shared<BenchArguments>();
  a->add_to(app);
  app.get_option("model")->required(false);
  a->op.add_to(app);
  a->device.add_described_to(app);
  app.add_flag("--json", a->json, "Print one JSON object");
  app.add_flag(
      "--profile", a->profile,
      "Also time every step, beside what the cost model predicts; with --json the member \"profile\"");
  app.add_option("--machine", a->machine,
                 "With --profile or --op: predict for this machine, a name of `ingot machine list` or a JSON "
                 "file (default: "
                 "this one)");
  app.add_option("--seconds", a->seconds,
                 "Measure for at least this long, with --op a tenth of it for each candidate")
      ->capture_default_str()
      ->check(positive_number());
  app.add_option("--warmup", a->warmup_seconds, "Seconds of steps before measuring")
      ->capture_default_str()
      ->check(nonnegative_number());
  app.footer(
      "Example:\n  ingot bench resnet20 --batch-size 128 --mode train --threads 2 --json\n  ingot bench "
      "resnet20 --batch-size 128 "
      "--profile\n  ingot bench --op conv2d --shape 16x64x56x56 --shape 64x64x3x3 --attr 'padding=[1, 1]' "
      "--candidates "
      "all");
  return [a] { return run_bench(*a); };
}

}  // namespace ingot::tools
