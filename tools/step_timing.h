// What `bench` and `machine --measure` time: sessions on random inputs, and the median time of each step.
#pragma once

#include <functional>
#include <vector>

#include "core/runtime/session.h"

namespace ingot::tools {

// Uniform images, labels below the number of classes, every row real.
void fill_random_inputs(const Session& s);

// Milliseconds by node, 0 where a node is no step. A mean of microseconds is made of the few times when
// something else had the processor, so medians; and lower quartiles, for what a machine can do while others
// use it too.
struct StepTimes {
  std::vector<double> median, quartile;
  int runs = 0;
};
// Runs as long as `more`, given the runs so far, says so.
StepTimes time_steps(Session& s, const std::function<bool(int runs)>& more);

}  // namespace ingot::tools
