// Learning-rate schedules: functions of the step number, computed inside the graph.
//
// t counts finished optimiser steps (0 in the first step). Formulas and defaults are those of
// torch.optim.lr_scheduler, in steps, but for the default start of a warm-up.
//
//   SGD sgd({.lr = 0.1, .momentum = 0.9, .schedule = cosine(10000).warmup(500)});
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/op/builder.h"

namespace ingot {

class Schedule {
 public:
  // lr of step t (an f32 scalar Value) for the base rate `lr`.
  using Function = std::function<Value(Value t, double lr)>;

  Schedule();  // constant
  explicit Schedule(Function f) : f_(std::move(f)) {}
  Value operator()(Value t, double lr) const { return f_(t, lr); }
  // Linear from start_factor * lr over the first `steps` steps; then this schedule, with t counted from
  // there: LinearLR (whose start_factor is 1/3) and SequentialLR.
  Schedule warmup(std::int64_t steps, double start_factor = 1e-3) const;

 private:
  Function f_;
};

Schedule constant_lr();
// lr * gamma^floor(t / step_size): StepLR.
Schedule step_lr(std::int64_t step_size, double gamma = 0.1);
// eta_min + (lr - eta_min) (1 + cos(pi t / t_max)) / 2, held at eta_min after t_max: CosineAnnealingLR
// (Loshchilov, Hutter, arXiv 1608.03983).
Schedule cosine(std::int64_t t_max, double eta_min = 0.0);
// Cosine up from lr / div_factor to lr during pct_start of total_steps, then down to lr / div_factor /
// final_div_factor: OneCycleLR (Smith, Topin, arXiv 1708.07120).
Schedule one_cycle(std::int64_t total_steps, double pct_start = 0.3, double div_factor = 25.0,
                   double final_div_factor = 1e4);

// By name for command lines: "constant", "step", "cosine", "one-cycle", each over total_steps ("step": three
// equal parts); throws UsageError that lists the names.
Schedule schedule_by_name(const std::string& name, std::int64_t total_steps);

}  // namespace ingot
