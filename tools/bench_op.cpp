#include "tools/bench_op.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/base/philox.h"
#include "core/op/text.h"
#include "cpu/candidates.h"
#include "tools/cost_view.h"
#include "tools/op_problem.h"

namespace ingot::tools {

namespace {

// "16x64x56x56", "16,64,56,56" or, with its own type, "u8[16, 64, 56, 56]".
TensorType operand(const std::string& text, const std::string& dtype) {
  try {
    if (text.find('[') != std::string::npos) return parse_type(text);
    std::string dims = text;
    std::replace(dims.begin(), dims.end(), 'x', ',');
    return parse_type(cat(dtype, "[", dims, "]"));
  } catch (const Error& e) {
    throw UsageError(cat("--shape expects e.g. 16x64x56x56 or u8[16, 64], got '", text, "': ", e.message()));
  }
}

struct Row {
  std::string name, kernel, why;
  std::size_t workspace_bytes = 0;
  bool taken = false, library = false;
  double ms = 0.0;  // 0: not timed
  std::optional<StepCost> predicted;
};

void fill_random(const Tensor& t, std::uint32_t stream) {
  const Philox rng(1, stream);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const std::uint32_t bits = rng.bits(static_cast<std::uint64_t>(i));
    // Positive, for variances and their like; indices are the first.
    t.set(i, is_floating(t.dtype()) ? 0.25 + 0.75 * static_cast<double>(uniform01(bits)) : 0.0);
  }
}

// Milliseconds of one run on the CPU: the median.
double time_step(const OwnLayouts& c, const Target& target, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto queue = backend("cpu").make_queue(target);
  queue->begin();  // as many threads as the target has
  const Node& node = c.alone.nodes()[0];
  std::vector<Tensor> tensors;
  std::vector<void*> inputs, outputs;
  for (const ValueId v : node.inputs) {
    tensors.emplace_back(c.alone.type(v));
    fill_random(tensors.back(), v.index);
    inputs.push_back(tensors.back().raw());
  }
  for (const ValueId v : node.outputs) {
    tensors.emplace_back(c.alone.type(v));
    outputs.push_back(tensors.back().raw());
  }
  const auto workspace = backend("cpu").allocate(c.step->workspace_bytes);
  const auto bound = c.step->bind({inputs, outputs, workspace.get()});
  bound->run();
  std::vector<double> ms;
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  for (const auto start = Clock::now(); since(start) < seconds || ms.size() < 3;) {
    const auto before = Clock::now();
    bound->run();
    ms.push_back(since(before) * 1e3);
  }
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2];
}

bool is_library(const std::string& name, const std::string& kernel) {
  return kernel.find("onednn:") != std::string::npos ||
         (name != "own" && name != "reference" && name != "widened");
}

std::vector<Row> rows_on_cpu(const Graph& g, const Target& target, bool all, double seconds,
                             const Machine* machine) {
  const Node& node = g.nodes()[0];
  std::vector<Row> rows;
  for (const OwnLayouts& c : cpu::all_candidates({g, node, target})) {
    Row r{c.name,       c.step->is_view ? "view" : c.step->kernel,
          "",           c.step->workspace_bytes,
          rows.empty(), false,
          0.0,          {}};
    r.library = is_library(r.name, r.kernel);
    if (!c.step->is_view) r.ms = time_step(c, target, seconds);
    if (machine != nullptr)
      r.predicted = c.step->is_view ? StepCost{}
                                    : predict(*machine, c.alone, c.alone.nodes()[0],
                                              {r.kernel, 1, false, c.step->arithmetic});
    rows.push_back(std::move(r));
    if (!all) break;
  }
  return rows;
}

// As the compiled program has the node, after layouts were chosen; what each candidate says of itself.
std::vector<Row> rows_on_gpu(const Program& p, const std::string& op, bool all, const Machine* machine) {
  std::vector<Row> rows;
  for (std::uint32_t i = 0; i < p.graph().nodes().size(); ++i) {
    const Node& node = p.graph().nodes()[i];
    if (node.op != op) continue;
    for (const Candidate& c : p.backend().explain(p.graph(), node, p.target())) {
      if (!c.taken && !all) continue;
      Row r{c.name, c.kernel, c.why, c.workspace_bytes, c.taken, is_library(c.name, c.kernel), 0.0, {}};
      if (c.taken) r.ms = p.step({i}).milliseconds;
      const Step& step = p.step({i});
      const int launches =
          c.taken ? step.launches(node.inputs.size(), node.outputs.size()) + step.library_calls : 1;
      if (machine != nullptr && !c.kernel.empty())
        r.predicted = predict(*machine, p.graph(), node, {c.kernel, launches, p.target().allow_tf32});
      rows.push_back(std::move(r));
    }
    return rows;
  }
  return rows;
}

// The time that counts: measured, else predicted.
double time_of(const Row& r) {
  return r.ms > 0.0 ? r.ms : r.predicted ? r.predicted->seconds * 1e3 : 0.0;
}

// Times of the fastest library kernel over this one's; 0 where there is none.
double against_library(const std::vector<Row>& rows, const Row& r) {
  double best = 0.0;
  for (const Row& l : rows)
    if (l.library && time_of(l) > 0.0 && (best == 0.0 || time_of(l) < best)) best = time_of(l);
  return best > 0.0 && time_of(r) > 0.0 ? best / time_of(r) : 0.0;
}

void print_rows(const std::vector<Row>& rows, const Cost& cost) {
  const auto number = [](double v, const char* format) {
    char text[32];
    std::snprintf(text, sizeof text, format, v);
    return v > 0.0 ? std::string(text) : std::string("-");
  };
  std::printf("\n  %9s %9s %9s %9s %9s %10s %10s  %-10s %s\n", "ms", "predicted", "GFLOP/s", "GB/s",
              "roofline", "x library", "workspace", "candidate", "kernel");
  for (const Row& r : rows) {
    const double ms = time_of(r);
    if (r.kernel.empty()) {
      std::printf("  %9s %9s %9s %9s %9s %10s %10s  %-10s declines: %s\n", "-", "-", "-", "-", "-", "-", "-",
                  r.name.c_str(), r.why.c_str());
      continue;
    }
    const double roofline = r.predicted && ms > 0.0 ? r.predicted->roofline_seconds * 1e3 / ms : 0.0;
    std::printf("%s %9s %9s %9s %9s %9s %10s %10s  %-10s %s%s\n", r.taken ? "*" : " ",
                number(r.ms, "%.3f").c_str(),
                number(r.predicted ? r.predicted->seconds * 1e3 : 0.0, "%.3f").c_str(),
                number(ms > 0.0 ? cost.flops / ms / 1e6 : 0.0, "%.1f").c_str(),
                number(ms > 0.0 ? cost.bytes / ms / 1e6 : 0.0, "%.1f").c_str(),
                number(100.0 * roofline, "%.1f%%").c_str(), number(against_library(rows, r), "%.2f").c_str(),
                r.workspace_bytes > 0 ? human_bytes(static_cast<double>(r.workspace_bytes)).c_str() : "-",
                r.name.c_str(), r.kernel.c_str(), r.why.empty() ? "" : cat(", ", r.why).c_str());
  }
}

nlohmann::ordered_json to_json(const std::vector<Row>& rows, const Row& r, const Cost& cost) {
  nlohmann::ordered_json j = {{"candidate", r.name}, {"kernel", r.kernel}, {"taken", r.taken}};
  if (!r.why.empty()) j["why"] = r.why;
  if (r.kernel.empty()) return j;
  j["library"] = r.library;
  j["workspace_bytes"] = r.workspace_bytes;
  if (r.ms > 0.0) j["ms"] = r.ms;
  if (r.predicted) j["predicted_ms"] = r.predicted->seconds * 1e3;
  const double ms = time_of(r);
  if (ms > 0.0) {
    j["gflops"] = cost.flops / ms / 1e6;
    j["gigabytes_per_second"] = cost.bytes / ms / 1e6;
    if (r.predicted) j["roofline_share"] = r.predicted->roofline_seconds * 1e3 / ms;
    if (const double times = against_library(rows, r); times > 0.0) j["times_library"] = times;
  }
  return j;
}

}  // namespace

void OpArguments::add_to(CLI::App& app) {
  app.add_option("--op", op, "Time one op instead of a model: see `ingot info ops`");
  app.add_option(
      "--shape", shapes,
      "With --op: an operand, 16x64x56x56, or with a type of its own u8[16, 64]; one for each operand");
  app.add_option("--attr", attributes, "With --op: an attribute, padding=[1, 1]; may be repeated");
  app.add_option("--candidates", candidates,
                 "With --op: taken (the kernel that a program would have) or all that accept the problem")
      ->capture_default_str()
      ->check(CLI::IsMember({"taken", "all"}));
}

int bench_op(const OpArguments& a, const Target& target, const std::string& dtype, double seconds,
             bool json) {
  if (a.shapes.empty())
    throw UsageError(cat("--op ", a.op, " needs its operands: --shape 16x64x56x56 for each"));
  std::vector<TensorType> operands;
  for (const std::string& shape : a.shapes) operands.push_back(operand(shape, dtype));
  const std::string attributes = a.attributes.empty() ? "" : cat("{", join(a.attributes), "}");
  const Graph g = op_graph(a.op, operands, attributes);
  std::optional<Machine> machine;
  try {
    machine = machine_for(a.machine, target);
  } catch (const Error&) {
    if (!a.machine.empty()) throw;
  }
  const Machine* known = machine ? &*machine : nullptr;
  const bool all = a.candidates == "all";
  const std::vector<Row> rows = target.backend == "cpu"
                                    ? rows_on_cpu(g, target, all, seconds, known)
                                    : rows_on_gpu(*compile(g, {.target = target}), a.op, all, known);
  const Cost c = cost(g, g.nodes()[0]);
  const std::string problem = print_node(g, {0}, {.names = false, .locations = false});
  if (json) {
    nlohmann::ordered_json j = {{"op", a.op}, {"problem", problem}, {"device", target.name}};
    if (known != nullptr) j["machine"] = known->name;
    j["flops"] = c.flops, j["bytes"] = c.bytes;
    j["candidates"] = nlohmann::ordered_json::array();
    for (const Row& r : rows) j["candidates"].push_back(to_json(rows, r, c));
    std::printf("%s\n", j.dump(2).c_str());
    return 0;
  }
  std::printf("%s\n%s, %.3f GFLOP, %s; predicted for %s\n", problem.c_str(), target.name.c_str(),
              c.flops / 1e9, human_bytes(c.bytes).c_str(),
              known != nullptr ? known->name.c_str() : "no machine that is described");
  print_rows(rows, c);
  std::printf(
      "\n* is what a program takes; rates and shares are of the measured time, where there is none of the "
      "predicted one\n");
  return 0;
}

}  // namespace ingot::tools
