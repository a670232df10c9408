// This CPU as the cost model sees it, by measurement: peaks of multiply-adds, bandwidths of a copy in each
// level of memory, what a step costs to start, and the efficiencies of our kernels, fitted over the steps of
// the models that come with Ingot at small batches. Takes about `seconds`.
//
//   const Machine m = measure_cpu(Target::cpu(2), {.seconds = 30});
#pragma once

#include <functional>
#include <string>

#include "core/plan/cost_model.h"
#include "core/runtime/target.h"

namespace ingot::tools {

struct MeasureOptions {
  double seconds = 30.0;
  std::function<void(const std::string& line)> progress{};  // what is being done
};
Machine measure_cpu(const Target& cpu, const MeasureOptions& options = {});

}  // namespace ingot::tools
