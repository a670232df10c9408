#include "core/runtime/lanes.h"

#include <algorithm>
#include <array>

namespace ingot {

namespace {

constexpr std::int32_t kStart = -1;

bool overlap(const std::vector<ByteRange>& a, const std::vector<ByteRange>& b) {
  return std::any_of(a.begin(), a.end(), [&](const ByteRange& x) {
    return std::any_of(b.begin(), b.end(), [&](const ByteRange& y) {
      return x.region == y.region && std::max(x.begin, y.begin) < std::min(x.end, y.end);
    });
  });
}

}  // namespace

std::vector<StepAccess> step_accesses(const Program& program) {
  const Graph& graph = program.graph();
  std::vector<StepAccess> steps;
  for (const NodeId n : program.schedule()) {
    StepAccess& access = steps.emplace_back();
    if (program.step(n).is_view) continue;
    access.lane = program.step(n).lane;
    const auto range = [&](ValueId v) {
      const Place p = program.place(v);
      return ByteRange{p.region, p.offset, p.offset + graph.type(v).bytes()};
    };
    for (const ValueId v : graph.node(n).inputs) access.reads.push_back(range(v));
    for (const ValueId v : graph.node(n).outputs) access.writes.push_back(range(v));
  }
  for (const Block& b : program.blocks())
    if (!b.value.valid())
      steps[static_cast<std::size_t>(b.first)].writes.push_back(
          {Region::Arena, b.offset, b.offset + b.bytes});
  return steps;
}

bool conflict(const StepAccess& a, const StepAccess& b) {
  return overlap(a.writes, b.reads) || overlap(a.reads, b.writes) || overlap(a.writes, b.writes);
}

std::vector<LaneWait> lane_waits(std::span<const StepAccess> steps) {
  const auto number = [](Lane lane) { return static_cast<std::size_t>(lane); };
  const auto compute = number(Lane::Compute), communication = number(Lane::Communication);
  std::vector<LaneWait> waits;
  std::array<std::vector<std::int32_t>, 2> issued;  // by lane, in order
  // By lane: the latest step of the other lane that it has waited for. The communication lane has not even
  // seen the start.
  std::array<std::int32_t, 2> seen{};
  seen[compute] = kStart;
  seen[communication] = kStart - 1;
  const auto end = static_cast<std::int32_t>(steps.size());
  for (std::int32_t at = 0; at < end; ++at) {
    const StepAccess& step = steps[static_cast<std::size_t>(at)];
    const std::size_t lane = number(step.lane);
    const std::vector<std::int32_t>& others = issued[1 - lane];
    std::int32_t latest = std::max(seen[lane], kStart);
    for (auto other = others.rbegin(); other != others.rend() && *other > latest; ++other)
      if (conflict(steps[static_cast<std::size_t>(*other)], step)) latest = *other;
    if (latest > seen[lane]) waits.push_back({latest, at});
    seen[lane] = latest;
    issued[lane].push_back(at);
  }
  if (!issued[communication].empty() && issued[communication].back() > seen[compute])
    waits.push_back({issued[communication].back(), end});
  return waits;
}

LaneOrder::LaneOrder(std::span<const StepAccess> steps) {
  for (const StepAccess& step : steps) marks_.emplace_back().lane = step.lane;
  for (const LaneWait& w : lane_waits(steps)) {
    const auto number = static_cast<std::int32_t>(signals_++);
    (w.done == kStart ? start_ : marks_[static_cast<std::size_t>(w.done)]).signal = number;
    const auto waiting = static_cast<std::size_t>(w.waiting);
    (waiting == steps.size() ? end_ : marks_[waiting]).wait_for = number;
  }
}

}  // namespace ingot
