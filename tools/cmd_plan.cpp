#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/file.h"
#include "core/op/text.h"
#include "tools/commands.h"
#include "tools/cost_view.h"
#include "tools/plan_view.h"

namespace ingot::tools {

namespace {

struct PlanArguments : ProgramArguments {
  bool json = false, explain = false;
  int top = 10, steps = 10;
  std::string svg, fit, machine;
};

// The program's cost, or why there is none: a plan without it is still one.
std::optional<CostView> cost_of(const PlanArguments& a, const Program& p, std::int64_t batch,
                                std::string& why) {
  try {
    const Machine m = machine_for(a.machine, p.target());
    return CostView{m, predict(m, p), static_cast<double>(batch)};
  } catch (const Error& e) {
    if (!a.machine.empty()) throw;
    why = e.message();
    return std::nullopt;
  }
}

nlohmann::ordered_json to_json(const Candidate& c) {
  nlohmann::ordered_json j = {{"name", c.name}, {"taken", c.taken}};
  if (!c.kernel.empty()) j["kernel"] = c.kernel, j["workspace_bytes"] = c.workspace_bytes;
  if (!c.why.empty()) j["why"] = c.why;
  return j;
}

// What the workspace limit costs a program.
struct PassedOverTotal {
  int steps = 0, measured = 0;      // that would take another kernel; where both were timed
  std::size_t workspace_bytes = 0;  // the most that one of them wants
  double saved = 0;                 // milliseconds a run, over the measured ones
};
PassedOverTotal passed_over(const Program& p) {
  PassedOverTotal t;
  for (const NodeId n : p.schedule()) {
    const Step& step = p.step(n);
    if (step.passed_over.empty()) continue;
    const PassedOver& best = step.passed_over.front();
    ++t.steps;
    t.workspace_bytes = std::max(t.workspace_bytes, best.workspace_bytes);
    if (best.milliseconds == 0) continue;
    ++t.measured;
    t.saved += step.milliseconds - best.milliseconds;
  }
  return t;
}

// The same in words, or "".
std::string limit_text(const Program& p) {
  const PassedOverTotal t = passed_over(p);
  if (t.steps == 0) return "";
  std::string text = cat("\n", t.steps, t.steps == 1 ? " step takes" : " steps take",
                         " another kernel because of the workspace limit: the best want up to ",
                         human_bytes(static_cast<double>(t.workspace_bytes)));
  if (t.measured == 0)
    return text + ".\nWhat that costs is known where kernels are measured (--autotune measure on the GPU).\n";
  char saved[32];
  std::snprintf(saved, sizeof saved, "%.3f", t.saved);
  return text + cat(" and would save ", saved, " ms a run, by the times of ", t.measured, " of them.\n");
}

// A node of the schedule: what runs it, and with `explain` what else could.
nlohmann::ordered_json to_json(const Program& p, NodeId n, bool explain) {
  const Node& node = p.graph().node(n);
  const Step& step = p.step(n);
  nlohmann::ordered_json j = {{"name", node.name},
                              {"op", node.op},
                              {"kernel", step.is_view ? "view" : step.kernel},
                              {"workspace_bytes", step.workspace_bytes},
                              {"launches", step.launches(node.inputs.size(), node.outputs.size())},
                              {"library_calls", step.library_calls}};
  if (step.milliseconds != 0) j["measured_milliseconds"] = step.milliseconds;
  for (const PassedOver& o : step.passed_over) {
    nlohmann::ordered_json other = {{"kernel", o.kernel}, {"workspace_bytes", o.workspace_bytes}};
    if (o.milliseconds != 0) other["measured_milliseconds"] = o.milliseconds;
    j["above_workspace_limit"].push_back(std::move(other));
  }
  if (explain) {
    j["candidates"] = nlohmann::ordered_json::array();
    for (const Candidate& c : p.backend().explain(p.graph(), node, p.target()))
      j["candidates"].push_back(to_json(c));
  }
  return j;
}

nlohmann::ordered_json to_json(const Program& p, const PlanArguments& a, std::int64_t batch) {
  const MemoryReport& r = p.report();
  nlohmann::ordered_json j;
  j["model"] = a.model.model;
  j["mode"] = a.mode;
  j["batch_size"] = batch;
  j["target"] = p.target().name;
  j["planned_for_a_description"] = !p.target().described.empty();
  j["arena_bytes"] = r.arena_bytes;
  j["max_live_bytes"] = r.max_live_bytes;
  j["parameter_bytes"] = r.parameter_bytes;
  j["gradient_bytes"] = r.gradient_bytes;
  j["state_bytes"] = r.state_bytes;
  j["constant_bytes"] = r.constant_bytes;
  j["workspace_bytes"] = r.workspace_bytes;
  j["staging_bytes"] = r.staging_bytes;
  j["total_bytes"] = r.total_bytes;
  j["flops"] = p.flops();
  j["bytes_moved"] = p.bytes_moved();
  if (const Recomputed& again = p.recomputed(); again.nodes != 0)
    j["recomputed"] = {{"nodes", again.nodes},
                       {"live_bytes_before", again.bytes_before},
                       {"live_bytes", again.bytes_after},
                       {"seconds_before", again.seconds_before},
                       {"seconds_added", again.seconds}};
  j["steps"] = p.schedule().size();
  j["launches"] = p.launches();
  j["library_calls"] = p.library_calls();
  if (const PassedOverTotal t = passed_over(p); t.steps != 0)
    j["above_workspace_limit"] = {{"steps", t.steps},
                                  {"workspace_bytes", t.workspace_bytes},
                                  {"measured_steps", t.measured},
                                  {"saved_milliseconds", t.saved}};
  j["nodes"] = nlohmann::ordered_json::array();
  for (const NodeId n : p.schedule()) j["nodes"].push_back(to_json(p, n, a.explain));
  std::string why;
  if (const auto cost = cost_of(a, p, batch, why))
    j["prediction"] = nlohmann::ordered_json::parse(cost_json(*cost));
  else
    j["no_prediction"] = why;
  return j;
}

// For each node its candidates, the taken one marked.
std::string explanation(const Program& p) {
  std::string text;
  for (const NodeId n : p.schedule()) {
    const Node& node = p.graph().node(n);
    text += cat(node.name, "  (", node.op, ")\n");
    for (const Candidate& c : p.backend().explain(p.graph(), node, p.target())) {
      text +=
          cat(c.taken ? "  * " : "    ", c.name, ": ", c.kernel.empty() ? "declines: " + c.why : c.kernel);
      if (!c.kernel.empty() && c.workspace_bytes != 0)
        text += cat(", workspace ", human_bytes(static_cast<double>(c.workspace_bytes)));
      text += "\n";
    }
  }
  return text;
}

// A graph as data; values are numbered as in its text. With a program, each node has its kernel, and says
// whether it runs at every step or once per session.
nlohmann::ordered_json to_json(const Graph& g, const Program* program) {
  using Json = nlohmann::ordered_json;
  const auto place = [](const SourceLoc& loc) { return loc.known() ? Json(to_string(loc)) : Json(); };
  const auto ids = [](const std::vector<ValueId>& values) {
    Json list = Json::array();
    for (const ValueId v : values) list.push_back(v.index);
    return list;
  };
  Json j;
  j["inputs"] = j["states"] = j["nodes"] = j["outputs"] = j["updates"] = Json::array();
  for (const ValueId v : g.inputs())
    j["inputs"].push_back({{"value", v.index}, {"name", g.value(v).name}, {"type", to_string(g.type(v))}});
  for (const State& s : g.states())
    j["states"].push_back({{"value", s.value.index}, {"name", s.name}, {"type", to_string(g.type(s.value))}});
  for (std::uint32_t i = 0; i < g.nodes().size(); ++i) {
    const Node& n = g.nodes()[i];
    Json node = {{"op", n.op}, {"name", n.name}, {"line", place(n.loc)}};
    node["attributes"] = Json::object();
    for (const auto& f : n.attrs.fields())
      node["attributes"][std::string(f.name)] = print_attr(f.value, {.elide_tensors_above = 64});
    node["inputs"] = ids(n.inputs);
    node["outputs"] = ids(n.outputs);
    node["types"] = Json::array();
    for (const ValueId v : n.outputs) node["types"].push_back(to_string(g.type(v)));
    if (program != nullptr) {
      const auto& once = program->prepare();
      node["kernel"] = program->step({i}).is_view ? "view" : program->step({i}).kernel;
      node["runs"] = std::find(once.begin(), once.end(), NodeId{i}) != once.end() ? "once" : "every step";
    }
    j["nodes"].push_back(std::move(node));
  }
  for (const Output& o : g.outputs()) j["outputs"].push_back({{"name", o.name}, {"value", o.value.index}});
  for (const Update& u : g.updates())
    j["updates"].push_back({{"state", u.state.index}, {"value", u.value.index}});
  return j;
}

// The largest batch whose total is at most `limit`; 0 when not even one image fits.
std::int64_t largest_batch(const ProgramArguments& a, std::size_t limit) {
  const auto fits = [&](std::int64_t batch) {
    const std::size_t total = a.program(batch)->report().total_bytes;
    std::fprintf(stderr, "batch %6lld needs %s\n", static_cast<long long>(batch),
                 human_bytes(static_cast<double>(total)).c_str());
    return total <= limit;
  };
  if (!fits(1)) return 0;
  std::int64_t low = 1, high = 2;
  while (high <= (std::int64_t{1} << 24) && fits(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

int run_plan(const PlanArguments& a) {
  std::int64_t batch = a.batch_size;
  if (!a.fit.empty()) {
    batch = largest_batch(a, parse_bytes(a.fit));
    if (batch == 0) throw UsageError(cat("not even one image fits into ", a.fit));
  }
  const ProgramPtr p = a.program(batch);
  if (!a.svg.empty())
    write_file(a.svg,
               plan_svg(*p, cat(a.model.model, ", ", a.mode, ", batch ", batch, ", ", a.precision.dtype)));
  if (a.json) {
    std::printf("%s\n", to_json(*p, a, batch).dump(2).c_str());
    return 0;
  }
  std::printf("%s, %s, batch %lld, %s on %s\n", a.model.model.c_str(), a.mode.c_str(),
              static_cast<long long>(batch), a.precision.dtype.c_str(), p->target().name.c_str());
  if (!p->target().described.empty())
    std::printf("planned from a description; nothing of it has run on that device\n");
  std::printf("\n%s", plan_table(*p, a.top).c_str());
  if (p->target().backend != "cpu")
    std::printf("\nlaunches a step: %d of Ingot's kernels, copies and fills, %d calls of libraries\n",
                p->launches(), p->library_calls());
  std::printf("%s", limit_text(*p).c_str());
  std::string why;
  if (const auto cost = cost_of(a, *p, batch, why))
    std::printf("\n%s", cost_table(*cost, a.steps).c_str());
  else
    std::printf("\nno prediction: %s\n", why.c_str());
  if (a.explain)
    std::printf("\ncandidates of each node, best first; * is taken\n%s", explanation(*p).c_str());
  return 0;
}

}  // namespace

Action add_plan(CLI::App& app) {
  auto a = std::make_shared<PlanArguments>();
  a->add_to(app);
  app.add_flag("--json", a->json, "Print one JSON object");
  app.add_option("--top", a->top, "How many of the values alive at the peak to name")
      ->capture_default_str()
      ->check(between(0, std::numeric_limits<int>::max()));
  app.add_option("--steps", a->steps, "How many of the costliest steps to name")
      ->capture_default_str()
      ->check(between(0, std::numeric_limits<int>::max()));
  app.add_option(
      "--machine", a->machine,
      "Predict times for this machine: a name of `ingot machine list` or a JSON file (default: the target)");
  app.add_option("--svg", a->svg, "Draw the plan (offset against step) into this file");
  app.add_flag("--explain", a->explain, "For each node which kernels there were, which was taken, and why");
  a->device.add_described_to(app);
  app.add_option("--fit", a->fit, "Find the largest batch that needs at most this much, e.g. 2GiB");
  app.footer(
      "Example:\n  ingot plan resnet18 --batch-size 16 --svg plan.svg\n  ingot plan resnet50 --mode train "
      "--fit 8GiB\n  ingot plan resnet50 --batch-size 256 --target h200 --explain\n  ingot plan resnet50 "
      "--batch-size 256 "
      "--dtype bf16 --target h200 --steps 20");
  return [a] { return run_plan(*a); };
}

Action add_graph(CLI::App& app) {
  auto a = std::make_shared<ProgramArguments>();
  auto compiled = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  a->add_to(app);
  app.add_flag("--compiled", *compiled, "After all passes, with the kernel that runs each node");
  app.add_flag("--json", *json, "Print one JSON object: inputs, states, nodes, outputs and updates");
  app.footer("Example:\n  ingot graph lenet5 --mode infer --batch-size 1 --compiled");
  return [a, compiled, json] {
    if (!*compiled && !(a->dump_passes.empty() && a->skip_passes.empty()))
      throw UsageError(cat(a->dump_passes.empty() ? "--skip-pass" : "--dump-passes",
                           " needs --compiled: without it no pass runs"));
    if (*json) {
      const ProgramPtr p = *compiled ? a->program(a->batch_size) : nullptr;
      std::printf("%s\n", to_json(p ? p->graph() : a->graph(a->batch_size), p.get()).dump(2).c_str());
      return 0;
    }
    if (!*compiled) {
      std::printf("%s", print_graph(a->graph(a->batch_size)).c_str());
      return 0;
    }
    const ProgramPtr p = a->program(a->batch_size);
    std::printf("%s\n", print_graph(p->graph()).c_str());
    for (const auto& [label, list] :
         {std::pair("once per session", &p->prepare()), std::pair("every step", &p->schedule())}) {
      std::printf("# %s\n", label);
      for (const NodeId n : *list)
        std::printf("#   %-44s %-24s %s\n", p->graph().node(n).name.c_str(), p->graph().node(n).op.c_str(),
                    p->step(n).is_view ? "view" : p->step(n).kernel.c_str());
    }
    return 0;
  };
}

}  // namespace ingot::tools
