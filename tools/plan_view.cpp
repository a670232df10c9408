#include "tools/plan_view.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "tools/commands.h"

namespace ingot::tools {

namespace {

std::string row(const char* label, std::size_t bytes, const char* note = "") {
  char text[160];
  std::snprintf(text, sizeof text, "  %-18s %16zu  %12s  %s\n", label, bytes,
                human_bytes(static_cast<double>(bytes)).c_str(), note);
  return text;
}

std::string step_name(const Program& p, std::int32_t at) {
  if (at < 0 || at >= static_cast<std::int32_t>(p.schedule().size())) return "end of the step";
  const Node& n = p.graph().node(p.schedule()[static_cast<std::size_t>(at)]);
  return cat(n.name, " (", n.op, ")", n.loc.known() ? cat(", ", to_string(n.loc)) : "");
}

std::string block_name(const Program& p, const Block& b) {
  if (!b.value.valid()) return cat("workspace of ", step_name(p, b.first));
  const ValueInfo& v = p.graph().value(b.value);
  if (!v.name.empty()) return v.name;
  return v.producer.valid() ? p.graph().node(v.producer).name : cat("%", b.value.index);
}

std::string escape(const std::string& s) {
  std::string out;
  for (const char c : s) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

// Forward values, gradients and workspaces in different colours.
const char* colour(const Program& p, const Block& b) {
  if (!b.value.valid()) return "#b0b0b0";
  const ValueInfo& v = p.graph().value(b.value);
  const bool backward = v.producer.valid() && p.graph().node(v.producer).name.starts_with("grad/");
  return backward ? "#e08a3c" : "#4a7fb5";
}

}  // namespace

std::string plan_table(const Program& p, int top) {
  const MemoryReport& r = p.report();
  std::string out;
  out += row("arena", r.arena_bytes, "activations, gradients in flight and workspaces, shared over time");
  out += row("parameters", r.parameter_bytes);
  out += row("gradients", r.gradient_bytes);
  out += row("states", r.state_bytes, "optimiser, running statistics, counters");
  out += row("staging", r.staging_bytes, "inputs");
  out += row("constants", r.constant_bytes, "computed once when a session starts");
  out += row("total", r.total_bytes, "what a session allocates, exactly");
  char line[200];
  std::snprintf(line, sizeof line, "\n  arena / lower bound   %.4f   (at least %s are alive at once)\n",
                r.max_live_bytes == 0
                    ? 1.0
                    : static_cast<double>(r.arena_bytes) / static_cast<double>(r.max_live_bytes),
                human_bytes(static_cast<double>(r.max_live_bytes)).c_str());
  out += line;
  out += cat("  largest workspace     ", human_bytes(static_cast<double>(r.workspace_bytes)),
             " (inside the arena)\n");
  std::snprintf(line, sizeof line, "  steps %zu, once per session %zu, %.3f GFLOP and %s moved per run\n",
                p.schedule().size(), p.prepare().size(), p.flops() / 1e9,
                human_bytes(p.bytes_moved()).c_str());
  out += line;
  if (const Recomputed& again = p.recomputed(); again.nodes != 0) {
    std::snprintf(line, sizeof line,
                  "  computed again        %zu nodes, so that %s are alive at once instead of %s",
                  again.nodes, human_bytes(static_cast<double>(again.bytes_after)).c_str(),
                  human_bytes(static_cast<double>(again.bytes_before)).c_str());
    out += line;
    std::snprintf(line, sizeof line, " (workspaces not counted), for %.3f ms of %.3f, %.1f %%\n",
                  again.seconds * 1e3, again.seconds_before * 1e3,
                  100.0 * again.seconds / again.seconds_before);
    out += line;
  }

  std::vector<const Block*> alive;
  for (const Block& b : p.blocks())
    if (b.first <= p.peak_step() && p.peak_step() <= b.last) alive.push_back(&b);
  std::stable_sort(alive.begin(), alive.end(),
                   [](const Block* a, const Block* b) { return a->bytes > b->bytes; });
  out += cat("\n  peak at step ", p.peak_step(), ": ", step_name(p, p.peak_step()), "\n");
  int shown = 0;
  std::size_t rest = 0;
  for (const Block* b : alive) {
    if (shown++ >= top) {
      rest += b->bytes;
      continue;
    }
    const SourceLoc loc = b->value.valid() ? p.graph().value(b->value).loc : SourceLoc{};
    const std::string type = b->value.valid() ? to_string(p.graph().type(b->value)) : "";
    std::snprintf(line, sizeof line, "    %12s  %-40s %-28s %s\n",
                  human_bytes(static_cast<double>(b->bytes)).c_str(), block_name(p, *b).c_str(), type.c_str(),
                  to_string(loc).c_str());
    out += line;
  }
  if (rest > 0)
    out += cat("    and ", static_cast<int>(alive.size()) - top, " smaller, ",
               human_bytes(static_cast<double>(rest)), "\n");
  return out;
}

std::string plan_svg(const Program& p, const std::string& title) {
  constexpr double kWidth = 1000, kHeight = 420, kLeft = 76, kTop = 44, kBottom = 40, kRight = 16;
  const double steps = static_cast<double>(std::max<std::size_t>(1, p.schedule().size() + 1));
  const double bytes = static_cast<double>(std::max<std::size_t>(1, p.report().arena_bytes));
  const double sx = (kWidth - kLeft - kRight) / steps, sy = (kHeight - kTop - kBottom) / bytes;
  const double base = kHeight - kBottom;
  std::ostringstream s;
  s.precision(6);
  s << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << ' ' << kHeight
    << "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
       "fill=\"white\"/>\n"
    << "<text x=\"" << kLeft << "\" y=\"18\" font-size=\"14\">" << escape(title) << "</text>\n"
    << "<text x=\"" << kLeft << "\" y=\"35\" fill=\"#555\">arena " << human_bytes(bytes) << ", lower bound "
    << human_bytes(static_cast<double>(p.report().max_live_bytes)) << ", " << p.blocks().size() << " blocks, "
    << p.schedule().size() << " steps</text>\n";
  const auto key = [&](double x, const char* fill, const char* text) {
    s << "<rect x=\"" << x << "\" y=\"25\" width=\"12\" height=\"12\" fill=\"" << fill << "\"/><text x=\""
      << x + 16 << "\" y=\"35\">" << text << "</text>\n";
  };
  key(640, "#4a7fb5", "forward");
  key(730, "#e08a3c", "backward");
  key(830, "#b0b0b0", "workspace");
  s << "<g stroke=\"white\" stroke-width=\"0.3\">\n";
  for (const Block& b : p.blocks()) {
    const double x = kLeft + sx * b.first, w = sx * (b.last - b.first + 1);
    const double h = sy * static_cast<double>(b.bytes), y = base - sy * static_cast<double>(b.offset) - h;
    s << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << w << "\" height=\"" << h << "\" fill=\""
      << colour(p, b) << "\"><title>" << escape(block_name(p, b)) << " "
      << human_bytes(static_cast<double>(b.bytes)) << ", steps " << b.first << " to " << b.last
      << "</title></rect>\n";
  }
  s << "</g>\n";
  const double peak = kLeft + sx * (p.peak_step() + 0.5);
  s << "<line x1=\"" << peak << "\" x2=\"" << peak << "\" y1=\"" << kTop << "\" y2=\"" << base
    << "\" stroke=\"#c00\" stroke-dasharray=\"4 3\"><title>peak: " << escape(step_name(p, p.peak_step()))
    << "</title></line>\n"
    << "<path d=\"M" << kLeft << ' ' << kTop << " V" << base << " H" << kWidth - kRight
    << "\" fill=\"none\" stroke=\"black\"/>\n"
    << "<text x=\"" << kLeft - 8 << "\" y=\"" << kTop + 5 << "\" text-anchor=\"end\">" << human_bytes(bytes)
    << "</text>\n"
    << "<text x=\"" << kLeft - 8 << "\" y=\"" << base << "\" text-anchor=\"end\">0</text>\n"
    << "<text x=\"" << kLeft << "\" y=\"" << base + 18 << "\">step 0</text>\n"
    << "<text x=\"" << kWidth - kRight << "\" y=\"" << base + 18 << "\" text-anchor=\"end\">step "
    << p.schedule().size() << "</text>\n<text x=\"" << peak << "\" y=\"" << base + 32
    << "\" text-anchor=\"middle\" fill=\"#c00\">peak</text>\n</svg>\n";
  return std::move(s).str();
}

}  // namespace ingot::tools
