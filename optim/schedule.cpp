#include "optim/schedule.h"

#include <numbers>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"

namespace ingot {

namespace {

double d(std::int64_t v) {
  return static_cast<double>(v);
}

void require_steps(std::string_view schedule, std::int64_t steps) {
  if (steps <= 0) throw UsageError(cat(schedule, ": the number of steps must be positive, got ", steps));
}

void require_positive(std::string_view schedule, std::string_view what, double v) {
  if (!(v > 0.0)) throw UsageError(cat(schedule, ": ", what, " must be positive, got ", v));
}

// from + (to - from) (1 - cos(pi x)) / 2 for x in [0, 1].
Value anneal(Value x, double from, double to) {
  const Value rise = (1.0 - cos(minimum(maximum(x, 0.0), 1.0) * std::numbers::pi)) * 0.5;
  return rise * (to - from) + from;
}

}  // namespace

Schedule::Schedule() : f_([](Value t, double lr) { return full(t.graph(), lr, {DType::F32, {}}); }) {}

Schedule Schedule::warmup(std::int64_t steps, double start_factor) const {
  require_steps("warmup", steps);
  if (!(start_factor >= 0.0 && start_factor <= 1.0))
    throw UsageError(cat("warmup: start_factor must be in [0, 1], got ", start_factor));
  return Schedule([after = f_, steps, start_factor](Value t, double lr) {
    const Value ramp = (t / d(steps) * (1.0 - start_factor) + start_factor) * lr;
    return where(lt(t, d(steps)), ramp, after(maximum(t - d(steps), 0.0), lr));
  });
}

Schedule constant_lr() {
  return Schedule();
}

Schedule step_lr(std::int64_t step_size, double gamma) {
  require_steps("step_lr", step_size);
  return Schedule([=](Value t, double lr) { return pow(gamma, floor(t / d(step_size))) * lr; });
}

Schedule cosine(std::int64_t t_max, double eta_min) {
  require_steps("cosine", t_max);
  return Schedule([=](Value t, double lr) { return anneal(t / d(t_max), lr, eta_min); });
}

Schedule one_cycle(std::int64_t total_steps, double pct_start, double div_factor, double final_div_factor) {
  require_steps("one_cycle", total_steps);
  if (!(pct_start > 0.0 && pct_start < 1.0))
    throw UsageError(cat("one_cycle: pct_start must be in (0, 1), got ", pct_start));
  require_positive("one_cycle", "div_factor", div_factor);
  require_positive("one_cycle", "final_div_factor", final_div_factor);
  return Schedule([=](Value t, double lr) {
    const double up = pct_start * d(total_steps) - 1.0, down = d(total_steps) - 1.0 - up;
    const double low = lr / div_factor;
    return where(le(t, up), anneal(t / (up > 0.0 ? up : 1.0), low, lr),
                 anneal((t - up) / down, lr, low / final_div_factor));
  });
}

Schedule schedule_by_name(const std::string& name, std::int64_t total_steps) {
  if (name == "constant") return constant_lr();
  if (name == "step") return step_lr((total_steps + 2) / 3);
  if (name == "cosine") return cosine(total_steps);
  if (name == "one-cycle") return one_cycle(total_steps);
  throw UsageError(cat("unknown schedule '", name, "'; use one of constant, step, cosine, one-cycle"));
}

}  // namespace ingot
