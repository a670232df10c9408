// What a program should take on a machine (core/plan/cost_model.h): each step as it was lowered, and the sum.
//
//   const Prediction p = predict(read_machine("h200"), *program);
//   p.total.seconds;                                  // the sum of p.steps, in their order, to the last bit
//   for (const PredictedStep& s : p.steps) ...        // the schedule's nodes, then copies of states
#pragma once

#include <string>
#include <vector>

#include "core/plan/cost_model.h"
#include "core/runtime/program.h"

namespace ingot {

struct PredictedStep {
  NodeId node{};         // invalid: a copy of a state's new content (Program::copies)
  std::string name{};    // the node's, or the state's
  std::string op{};      // "copy" where there is no node
  std::string kernel{};  // "view": nothing runs
  StepCost cost{};
};

struct Prediction {
  std::vector<PredictedStep> steps;
  StepCost total{};
};

// Any machine may be asked, also one that the program was not compiled for: it is then the time of these
// steps there.
Prediction predict(const Machine& m, const Program& program);

// What each step of the schedule is to the cost model, within a program that runs again and again: its
// operands are as far away as the steps between leave them. Views have nothing.
std::vector<Amounts> amounts_of(const Program& program);

// The largest first; steps of equal cost in the order of the schedule.
std::vector<const PredictedStep*> costliest(const Prediction& p, std::size_t most);

}  // namespace ingot
