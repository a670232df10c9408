#include "tools/step_timing.h"

#include <algorithm>

#include "core/base/philox.h"

namespace ingot::tools {

void fill_random_inputs(const Session& s) {
  const std::int64_t classes = s.output("logits").shape()[-1];
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

StepTimes time_steps(Session& s, const std::function<bool(int runs)>& more) {
  StepTimes t;
  std::vector<std::vector<double>> samples(s.program().graph().nodes().size());
  for (; more(t.runs); ++t.runs)
    for (const StepTiming& step : s.run_timed()) samples[step.node.index].push_back(step.ms);
  for (auto& times : samples) {
    std::sort(times.begin(), times.end());
    t.median.push_back(times.empty() ? 0.0 : times[times.size() / 2]);
    t.quartile.push_back(times.empty() ? 0.0 : times[times.size() / 4]);
  }
  return t;
}

}  // namespace ingot::tools
