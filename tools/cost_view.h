// What the cost model says of a program (core/runtime/prediction.h), as text and as JSON.
#pragma once

#include <string>

#include "core/runtime/prediction.h"

namespace ingot::tools {

// --machine FILE, else what is known of the target; throws UsageError where there is nothing.
Machine machine_for(const std::string& name_or_path, const Target& target);

struct CostView {
  Machine machine;
  Prediction prediction;
  double images = 0.0;  // of a run
};

// Totals and the costliest steps.
std::string cost_table(const CostView& v, int steps);
// Everything; the steps' figures add up to the totals exactly, in their order.
std::string cost_json(const CostView& v);
// "1,234.5": at most three decimals, fewer where there are many digits.
std::string human_number(double v);

}  // namespace ingot::tools
