#include "tools/cost_view.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/machine_file.h"

namespace ingot::tools {

namespace {

std::string line(const char* label, const std::string& value, const std::string& note = "") {
  char text[240];
  std::snprintf(text, sizeof text, "  %-18s %16s  %s\n", label, value.c_str(), note.c_str());
  return text;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", 100.0 * share);
  return text;
}

double share(double part, double whole) {
  return whole > 0.0 ? part / whole : 0.0;
}

// "memory 61.0%, compute 38.2%, latency 0.8%" of the time.
std::string bounds(const Prediction& p) {
  std::array<double, 3> seconds{};
  for (const PredictedStep& s : p.steps) seconds[static_cast<std::size_t>(s.cost.bound)] += s.cost.seconds;
  std::vector<std::string> parts;
  for (const Bound b : {Bound::Memory, Bound::Compute, Bound::Latency})
    parts.push_back(cat(name(b), " ", percent(share(seconds[static_cast<std::size_t>(b)], p.total.seconds))));
  return join(parts);
}

nlohmann::ordered_json to_json(const StepCost& c) {
  return {{"seconds", c.seconds},
          {"roofline_seconds", c.roofline_seconds},
          {"roofline_share", share(c.roofline_seconds, c.seconds)},
          {"flops", c.flops},
          {"bytes", c.bytes},
          {"launches", c.launches},
          {"bound", name(c.bound)}};
}

}  // namespace

std::string human_number(double v) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.*f", v >= 1000.0 ? 0 : v >= 100.0 ? 1 : 3, v);
  std::string text = digits;
  const std::size_t point = std::min(text.find('.'), text.size());
  for (std::size_t at = point; at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

Machine machine_for(const std::string& name_or_path, const Target& target) {
  if (name_or_path.empty()) return machine_of(target);
  return with_threads(read_machine(name_or_path), target.backend == "cpu" ? target.threads : 0);
}

std::string cost_table(const CostView& v, int steps) {
  const StepCost& t = v.prediction.total;
  std::string out = cat("predicted on ", v.machine.name, "\n");
  out += line("step", cat(human_number(t.seconds * 1e3), " ms"),
              cat(human_number(share(v.images, t.seconds)), " images/s"));
  out += line("an image", human_bytes(share(t.bytes, v.images)),
              cat("moved, ", human_number(share(t.flops, v.images) / 1e9), " GFLOP"));
  if (v.machine.threads == 0) out += line("launches", cat(t.launches), "a step");
  out += line("roofline", percent(share(t.roofline_seconds, t.seconds)),
              cat(human_number(t.roofline_seconds * 1e3), " ms at all of the roofline"));
  out += line("bound by", std::string(name(t.bound)), cat("of the time: ", bounds(v.prediction)));
  out += cat("  figures: ", v.machine.source, "\n");
  const auto most = costliest(v.prediction, static_cast<std::size_t>(steps));
  if (most.empty()) return out;
  char row[400];
  std::snprintf(row, sizeof row, "\n%9s %6s %8s %10s %9s  %-8s %-22s %-34s %s\n", "ms", "share", "GFLOP",
                "moved", "roofline", "bound by", "op", "node", "lowering");
  out += row;
  double shown = 0.0;
  for (const PredictedStep* s : most) {
    const StepCost& c = s->cost;
    std::snprintf(row, sizeof row, "%9.3f %6s %8.3f %10s %9s  %-8s %-22s %-34s %s\n", c.seconds * 1e3,
                  percent(share(c.seconds, t.seconds)).c_str(), c.flops / 1e9, human_bytes(c.bytes).c_str(),
                  percent(share(c.roofline_seconds, c.seconds)).c_str(), std::string(name(c.bound)).c_str(),
                  s->op.c_str(), s->name.c_str(), s->kernel.c_str());
    out += row;
    shown += c.seconds;
  }
  if (const std::size_t rest = v.prediction.steps.size() - most.size(); rest > 0) {
    std::snprintf(row, sizeof row, "%9.3f %6s  the other %zu steps\n", (t.seconds - shown) * 1e3,
                  percent(share(t.seconds - shown, t.seconds)).c_str(), rest);
    out += row;
  }
  return out;
}

std::string cost_json(const CostView& v) {
  const StepCost& t = v.prediction.total;
  nlohmann::ordered_json j = {{"machine", v.machine.name}, {"source", v.machine.source}};
  j.update(to_json(t));
  j["images_per_second"] = share(v.images, t.seconds);
  j["bytes_per_image"] = share(t.bytes, v.images);
  j["steps"] = nlohmann::ordered_json::array();
  for (const PredictedStep& s : v.prediction.steps) {
    nlohmann::ordered_json step = {{"name", s.name}, {"op", s.op}, {"kernel", s.kernel}};
    step.update(to_json(s.cost));
    j["steps"].push_back(std::move(step));
  }
  return j.dump();
}

}  // namespace ingot::tools
