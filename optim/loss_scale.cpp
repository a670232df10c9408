#include "optim/loss_scale.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/ops/elementwise.h"

namespace ingot {

namespace {

constexpr double kLargest = std::numeric_limits<float>::max();

void require_scale(std::string_view what, double scale) {
  if (!(scale >= std::numeric_limits<float>::min() && scale <= kLargest))
    throw UsageError(cat("loss scale: ", what, " must be greater than 0 and fit f32, got ", scale));
}

Value scalar_state(Graph& g, const char* name, double start) {
  return state(g, StateRole::Counter, name, {DType::F32, {}}, Init::constant(start), false);
}

Value state_called(Graph& g, const char* name) {
  return {g, g.find_state(name)->value};
}

}  // namespace

LossScaleStep LossScale::begin(Value loss) const {
  if (!enabled_) return {loss, {}, {}};
  Graph& g = loss.graph();
  const Scope scope(g, "optim.loss_scale");
  const Value scale = scalar_state(g, "optim/loss_scale", options_.init_scale);
  scalar_state(g, "optim/skipped_steps", 0.0);  // f32 is exact up to 2^24 of them
  if (dynamic_) scalar_state(g, "optim/growth_tracker", 0.0);
  return {loss * scale, 1.0 / scale, {}};
}

void LossScale::look_at(LossScaleStep& step, Value norm) const {
  if (!enabled_) return;
  Graph& g = norm.graph();
  const Scope scope(g, "loss_scale");
  step.finite = is_finite(norm);
  const Value skipped = state_called(g, "optim/skipped_steps");
  const Value now_skipped = where(step.finite, skipped, skipped + 1.0);
  g.add_update(skipped.id(), now_skipped.id());
  output("skipped_steps", now_skipped);
  for (const State& s : g.states()) {
    const ValueId next = g.next_content(s.value);
    if (s.role == StateRole::Buffer && next != s.value)
      g.set_update(s.value, where(step.finite, {g, next}, {g, s.value}).id());
  }
  const Value scale = state_called(g, "optim/loss_scale");
  if (!dynamic_) {
    output("loss_scale", scale);
    return;
  }
  const Value tracker = state_called(g, "optim/growth_tracker");
  const Value good = where(step.finite, tracker + 1.0, 0.0);
  const Value grows = ge(good, static_cast<double>(options_.growth_interval));
  const Value larger = scale * options_.growth_factor;
  const Value after_good = where(logical_and(grows, is_finite(larger)), larger, scale);
  const Value next = where(step.finite, after_good, scale * options_.backoff_factor);
  g.add_update(scale.id(), next.id());
  output("loss_scale", next);
  g.add_update(tracker.id(), where(grows, 0.0, good).id());
}

LossScale dynamic_loss_scale(const DynamicLossScale& options) {
  require_scale("init_scale", options.init_scale);
  if (!(options.growth_factor > 1.0 && options.growth_factor <= kLargest))
    throw UsageError(cat("loss scale: growth_factor must be greater than 1, got ", options.growth_factor));
  if (!(options.backoff_factor > 0.0 && options.backoff_factor < 1.0))
    throw UsageError(cat("loss scale: backoff_factor must lie in (0, 1), got ", options.backoff_factor));
  if (options.growth_interval < 1)
    throw UsageError(cat("loss scale: growth_interval must be at least 1, got ", options.growth_interval));
  LossScale s;
  s.enabled_ = s.dynamic_ = true;
  s.options_ = options;
  return s;
}

LossScale fixed_loss_scale(double scale) {
  require_scale("a fixed scale", scale);
  LossScale s;
  s.enabled_ = true;
  s.options_.init_scale = scale;
  return s;
}

LossScale default_loss_scale(DType compute) {
  return compute == DType::F16 ? dynamic_loss_scale() : LossScale();
}

LossScale loss_scale_by_name(const std::string& name) {
  if (name == "dynamic") return dynamic_loss_scale();
  if (name == "none") return {};
  char* end = nullptr;
  const double scale = std::strtod(name.c_str(), &end);
  if (name.empty() || *end != '\0')
    throw UsageError(cat("unknown loss scale '", name, "'; use dynamic, none, or a number such as 1024"));
  return fixed_loss_scale(scale);
}

}  // namespace ingot
