// From times of steps to the efficiencies of a machine's description: one set of figures for each kind of
// work and family of kernels, whatever models the steps are of.
//
//   Machine m = ...;                                // peaks, bandwidths, the launch
//   m.efficiencies = fit_efficiencies(m, samples);
#pragma once

#include <string>
#include <vector>

#include "core/plan/cost_model.h"

namespace ingot::tools {

// A step that was timed, and what the cost model knows of it.
struct Sample {
  Work work = Work::Other;
  std::string kernel{};
  Amounts amounts{};
  double seconds = 0.0;
  double arithmetic = 1.0;  // of its kernel
};

// What starting a step costs: the median of those whose work is next to nothing; `otherwise` where there is
// none.
double fit_launch(const Machine& m, const std::vector<Sample>& samples, double otherwise);

// For each kind of work, kernel and floating type the figures that are least wrong on its samples, each
// weighed by its time; then for each kind of work those of all its kernels together; `m.efficiencies` at the
// end, for what was not seen.
std::vector<Efficiency> fit_efficiencies(const Machine& m, const std::vector<Sample>& samples);

}  // namespace ingot::tools
