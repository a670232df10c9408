#include "optim/optimizer.h"

#include <algorithm>
#include <map>

#include "core/autodiff/differentiate.h"
#include "core/base/glob.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/update.h"
#include "optim/detail/options.h"

namespace ingot {

using detail::common;
using detail::require_fraction;
using detail::require_nonnegative;

namespace {

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const SgdOptions& o) : Optimizer("sgd", common(o)), o_(o) {
    require_nonnegative("sgd", "momentum", o.momentum);
    if (o.nesterov && (o.momentum == 0.0 || o.dampening != 0.0))
      throw UsageError("sgd: nesterov needs a momentum and no dampening");
  }

 private:
  void append(Graph&, const Update& u) const override {
    SgdAttrs a;
    a.count = static_cast<std::int64_t>(u.params.size());
    a.momentum = o_.momentum;
    a.dampening = o_.dampening;
    a.weight_decay = u.weight_decay;
    a.nesterov = o_.nesterov;
    if (o_.momentum == 0.0)
      apply_update("sgd", a, u, {});
    else
      apply_update("sgd", a, u, {states_for(u, "momentum")});
  }
  SgdOptions o_;
};

class Adam final : public Optimizer {
 public:
  Adam(std::string_view name, const AdamOptions& o, bool decoupled)
      : Optimizer(name, common(o)), o_(o), decoupled_(decoupled) {
    require_fraction(name, "beta1", o.beta1);
    require_fraction(name, "beta2", o.beta2);
    require_nonnegative(name, "eps", o.eps);
  }

 private:
  void append(Graph&, const Update& u) const override {
    AdamAttrs a;
    a.count = static_cast<std::int64_t>(u.params.size());
    a.beta1 = o_.beta1;
    a.beta2 = o_.beta2;
    a.eps = o_.eps;
    a.weight_decay = u.weight_decay;
    a.decoupled = decoupled_;
    const auto m = states_for(u, "exp_avg"), v = states_for(u, "exp_avg_sq");
    apply_update("adam", a, u, {m, v});
  }
  AdamOptions o_;
  bool decoupled_;
};

class Rmsprop final : public Optimizer {
 public:
  explicit Rmsprop(const RmspropOptions& o) : Optimizer("rmsprop", common(o)), o_(o) {
    require_fraction("rmsprop", "alpha", o.alpha);
    require_nonnegative("rmsprop", "eps", o.eps);
    require_nonnegative("rmsprop", "momentum", o.momentum);
  }

 private:
  void append(Graph&, const Update& u) const override {
    RmspropAttrs a;
    a.count = static_cast<std::int64_t>(u.params.size());
    a.alpha = o_.alpha;
    a.eps = o_.eps;
    a.weight_decay = u.weight_decay;
    a.momentum = o_.momentum;
    std::vector<std::vector<Value>> states{states_for(u, "square_avg")};
    if (o_.momentum != 0.0) states.push_back(states_for(u, "momentum_buffer"));
    apply_update("rmsprop", a, u, states);
  }
  RmspropOptions o_;
};

}  // namespace

Optimizer::Optimizer(std::string_view name, OptimizerOptions options) : options_(std::move(options)) {
  require_nonnegative(name, "lr", options_.lr);
  require_nonnegative(name, "weight_decay", options_.weight_decay);
  require_nonnegative(name, "clip_norm", options_.clip_norm);
  require_nonnegative(name, "clip_value", options_.clip_value);
  require_fraction(name, "ema_decay", options_.ema_decay);
  for (const ParameterGroup& g : options_.groups) {
    const std::string group = cat(name, ": group '", g.pattern, "'");
    require_nonnegative(group, "lr_scale", g.lr_scale);
    require_nonnegative(group, "weight_decay", g.weight_decay.value_or(0.0));
  }
}

void Optimizer::minimize(Value loss, SourceLoc loc) const {
  minimize(loss, LossScale(), std::move(loc));
}

void Optimizer::minimize(Value loss, const LossScale& scaling, SourceLoc loc) const {
  Graph& g = loss.graph();
  struct Group {
    double lr_scale, weight_decay;
    std::vector<Value> params;
  };
  std::vector<Group> groups;  // one per entry of options_.groups, then the rest
  for (const auto& pg : options_.groups)
    groups.push_back({pg.lr_scale, pg.weight_decay.value_or(options_.weight_decay), {}});
  groups.push_back({1.0, options_.weight_decay, {}});
  for (const auto& pg : options_.groups) {  // a group for nobody is a misspelt one
    std::vector<std::string> names;
    bool used = false;
    for (const State& s : g.states())
      if (s.role == StateRole::Parameter) {
        used = used || glob_match(pg.pattern, s.name);
        names.push_back(s.name);
      }
    if (!used)
      throw UsageError(
          cat("minimize: no parameter matches the group '", pg.pattern, "'; there are: ", join(names)));
  }
  std::vector<Value> params;
  for (const State& s : g.states()) {
    if (s.role != StateRole::Parameter || !s.trainable) continue;
    std::size_t k = 0;
    while (k < options_.groups.size() && !glob_match(options_.groups[k].pattern, s.name)) ++k;
    if (groups[k].lr_scale == 0.0) continue;
    groups[k].params.emplace_back(g, s.value);
    params.emplace_back(g, s.value);
  }
  if (params.empty()) throw UsageError("minimize: the graph has no trainable parameter");

  LossScaleStep scaled = scaling.begin(loss);
  std::vector<Value> grads = differentiate(g, scaled.loss, params);
  const Scope scope(g, "optim", loc);
  std::map<ValueId, Value> grad_of;
  for (std::size_t i = 0; i < params.size(); ++i) {
    grad_of[params[i].id()] = grads[i];
    g.add_gradient(params[i].id(), grads[i].id());
  }
  // The counter counts finished steps; f32 is exact up to 2^24 of them.
  const Value t = state(g, StateRole::Counter, "optim/step", {DType::F32, {}}, Init::constant(0.0), false);
  Value step = t + 1.0;
  const Value lr = options_.schedule(t, options_.lr);
  output("lr", lr);
  Value scale = scaling.enabled() ? scaled.inverse : full(g, 1.0, {DType::F32, {}});
  const bool by_norm = options_.clip_norm > 0.0, by_value = options_.clip_value > 0.0;
  Value norm;
  if (scaling.enabled() || (by_norm && !by_value)) norm = global_norm(grads);
  scaling.look_at(scaled, norm);
  if (by_value) {  // behind the look, which would miss infinities that are cut off
    for (std::size_t i = 0; i < grads.size(); ++i) {
      Value most = full(g, options_.clip_value, {DType::F32, {}});
      if (scaling.enabled()) most = most / scaled.inverse;
      most = cast(most, grads[i].dtype());
      grads[i] = maximum(minimum(grads[i], most), neg(most));
      grad_of[params[i].id()] = grads[i];
    }
    if (by_norm) norm = global_norm(grads);
  }
  if (by_norm) {
    if (scaling.enabled()) norm = norm * scaled.inverse;
    output("grad_norm", norm);
    const Value clip = minimum(options_.clip_norm / (norm + 1e-6), 1.0);
    scale = scaling.enabled() ? scale * clip : clip;
  }
  g.add_update(t.id(), scaling.enabled() ? where(scaled.finite, step, t).id() : step.id());
  if (scaling.enabled()) step = where(scaled.finite, step, 0.0);  // 0: the update changes nothing
  for (const Group& group : groups) {
    if (group.params.empty()) continue;
    Update u{
        group.lr_scale == 1.0 ? lr : lr * group.lr_scale, step, scale, group.weight_decay, group.params, {}};
    for (const Value& p : group.params) u.grads.push_back(grad_of.at(p.id()));
    append(g, u);
    if (options_.ema_decay > 0.0) follow(u, options_.ema_decay);
  }
}

// Averages of the parameters that `u` leaves.
void Optimizer::follow(const Update& u, double decay) {
  Graph& g = u.lr.graph();
  const std::vector<Value> averages = states_for(u, "ema");
  const Value first = eq(u.step, 1.0), taken = ne(u.step, 0.0);
  for (std::size_t i = 0; i < averages.size(); ++i) {
    const Value p(g, g.next_content(u.params[i].id())), before = averages[i];
    const Value after = where(first, p, before * decay + p * (1.0 - decay));
    g.add_update(before.id(), where(taken, after, before).id());
  }
}

std::vector<Value> Optimizer::states_for(const Update& u, std::string_view what, double start) {
  std::vector<Value> out;
  for (const Value& p : u.params) {
    Graph& g = p.graph();
    const std::string name = cat("optim/", g.value(p.id()).name, "/", what);
    out.push_back(state(g, StateRole::Optimizer, name, p.type(), Init::constant(start), false));
  }
  return out;
}

void Optimizer::apply_update(std::string_view op, const Attrs& attrs, const Update& u,
                             const std::vector<std::vector<Value>>& states) {
  std::vector<Value> operands{u.lr, u.step, u.grad_scale};
  operands.insert(operands.end(), u.params.begin(), u.params.end());
  operands.insert(operands.end(), u.grads.begin(), u.grads.end());
  std::vector<Value> targets = u.params;
  for (const auto& list : states) {
    operands.insert(operands.end(), list.begin(), list.end());
    targets.insert(targets.end(), list.begin(), list.end());
  }
  const auto results = apply(op, operands, attrs);
  for (std::size_t i = 0; i < targets.size(); ++i)
    u.lr.graph().add_update(targets[i].id(), results.at(i).id());
}

OptimizerPtr sgd(const SgdOptions& options) {
  return std::make_shared<Sgd>(options);
}
OptimizerPtr adam(const AdamOptions& options) {
  return std::make_shared<Adam>("adam", options, false);
}
OptimizerPtr adamw(AdamOptions options) {
  return std::make_shared<Adam>("adamw", options, true);
}
OptimizerPtr rmsprop(const RmspropOptions& options) {
  return std::make_shared<Rmsprop>(options);
}

OptimizerPtr optimizer_by_name(const std::string& name, const OptimizerOptions& o) {
  const auto fill = [&](auto options) {
    options.lr = o.lr;
    options.weight_decay = o.weight_decay;
    options.schedule = o.schedule;
    options.clip_norm = o.clip_norm;
    options.groups = o.groups;
    options.clip_value = o.clip_value;
    options.ema_decay = o.ema_decay;
    return options;
  };
  if (name == "sgd") return sgd(fill(SgdOptions{.momentum = 0.9}));
  if (name == "adam") return adam(fill(AdamOptions{}));
  if (name == "adamw") return adamw(fill(AdamOptions{}));
  if (name == "rmsprop") return rmsprop(fill(RmspropOptions{}));
  if (name == "adagrad") return adagrad(fill(AdagradOptions{}));
  if (name == "lion") return lion(fill(LionOptions{}));
  if (name == "lamb") return lamb(fill(LambOptions{}));
  if (name == "lars") return lars(fill(LarsOptions{}));
  throw UsageError(
      cat("unknown optimizer '", name, "'; use one of sgd, adam, adamw, rmsprop, adagrad, lion, lamb, lars"));
}

}  // namespace ingot
