// Adagrad, Lion, LAMB and LARS: updates that are made of elementwise nodes and norms.
#include <cmath>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/update.h"
#include "optim/detail/options.h"
#include "optim/optimizer.h"

namespace ingot {

using detail::common;
using detail::require_fraction;
using detail::require_nonnegative;

namespace {

// |a| / |b| where both are greater than 0, else 1.
Value quotient_or_one(Value a, Value b) {
  const Value some = logical_and(gt(a, 0.0), gt(b, 0.0));
  return where(some, a / where(some, b, 1.0), 1.0);
}

Value norm_of(Value v) {
  const Value one[] = {v};
  return cast(global_norm(one), v.dtype());
}

class Composed : public Optimizer {
 protected:
  using Optimizer::Optimizer;

  // A parameter, its gradient as the update wants it, and what is read beside them.
  struct One {
    Value p, g, lr, step;
    double weight_decay;
  };
  // Next parameter and states of one parameter, states in the order of state_names().
  virtual std::vector<Value> next(const One& one, const std::vector<Value>& states) const = 0;
  virtual std::vector<std::string_view> state_names() const = 0;
  virtual double first_state() const { return 0.0; }

 private:
  // Step 0 changes nothing, as in core/ops/update.h.
  void append(Graph& graph, const Update& u) const override {
    const Value taken = ne(u.step, 0.0);
    std::vector<std::vector<Value>> states;
    for (const std::string_view name : state_names()) states.push_back(states_for(u, name, first_state()));
    for (std::size_t i = 0; i < u.params.size(); ++i) {
      const Value p = u.params[i];
      const Scope scope(graph, graph.value(p.id()).name);
      const auto as_p = [&](Value v) { return cast(v, p.dtype()); };
      std::vector<Value> before{p}, mine;
      for (const auto& list : states) mine.push_back(list[i]);
      before.insert(before.end(), mine.begin(), mine.end());
      const One one{p, as_p(u.grads[i]) * as_p(u.grad_scale), as_p(u.lr), as_p(u.step), u.weight_decay};
      const std::vector<Value> after = next(one, mine);
      for (std::size_t k = 0; k < before.size(); ++k)
        graph.add_update(before[k].id(), where(taken, after.at(k), before[k]).id());
    }
  }
};

class Adagrad final : public Composed {
 public:
  explicit Adagrad(const AdagradOptions& o) : Composed("adagrad", common(o)), o_(o) {
    require_nonnegative("adagrad", "lr_decay", o.lr_decay);
    require_nonnegative("adagrad", "eps", o.eps);
    require_nonnegative("adagrad", "initial_accumulator_value", o.initial_accumulator_value);
  }

 private:
  std::vector<std::string_view> state_names() const override { return {"sum"}; }
  double first_state() const override { return o_.initial_accumulator_value; }
  std::vector<Value> next(const One& u, const std::vector<Value>& s) const override {
    const Value g = u.weight_decay == 0.0 ? u.g : u.g + u.p * u.weight_decay;
    const Value sum = s[0] + square(g);
    const Value lr = o_.lr_decay == 0.0 ? u.lr : u.lr / ((u.step - 1.0) * o_.lr_decay + 1.0);
    return {u.p - lr * g / (sqrt(sum) + o_.eps), sum};
  }
  AdagradOptions o_;
};

class Lion final : public Composed {
 public:
  explicit Lion(const LionOptions& o) : Composed("lion", common(o)), o_(o) {
    require_fraction("lion", "beta1", o.beta1);
    require_fraction("lion", "beta2", o.beta2);
  }

 private:
  std::vector<std::string_view> state_names() const override { return {"exp_avg"}; }
  std::vector<Value> next(const One& u, const std::vector<Value>& s) const override {
    const Value step = sign(s[0] * o_.beta1 + u.g * (1.0 - o_.beta1));
    const Value kept = u.weight_decay == 0.0 ? u.p : u.p * (1.0 - u.lr * u.weight_decay);
    return {kept - u.lr * step, s[0] * o_.beta2 + u.g * (1.0 - o_.beta2)};
  }
  LionOptions o_;
};

class Lamb final : public Composed {
 public:
  explicit Lamb(const LambOptions& o) : Composed("lamb", common(o)), o_(o) {
    require_fraction("lamb", "beta1", o.beta1);
    require_fraction("lamb", "beta2", o.beta2);
    require_nonnegative("lamb", "eps", o.eps);
  }

 private:
  std::vector<std::string_view> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  // 1 - beta^step, without the difference that f32 would lose half of its digits in.
  static Value correction(Value step, double beta) {
    return beta == 0.0 ? ones_like(step) : neg(expm1(step * std::log(beta)));
  }
  std::vector<Value> next(const One& u, const std::vector<Value>& s) const override {
    const Value m = s[0] * o_.beta1 + u.g * (1.0 - o_.beta1);
    const Value v = s[1] * o_.beta2 + square(u.g) * (1.0 - o_.beta2);
    // Step 0 is not taken; of it the corrections would be 0.
    const Value step = maximum(u.step, 1.0);
    Value r = m / correction(step, o_.beta1) / (sqrt(v / correction(step, o_.beta2)) + o_.eps);
    if (u.weight_decay != 0.0) r = r + u.p * u.weight_decay;
    return {u.p - u.lr * quotient_or_one(norm_of(u.p), norm_of(r)) * r, m, v};
  }
  LambOptions o_;
};

class Lars final : public Composed {
 public:
  explicit Lars(const LarsOptions& o) : Composed("lars", common(o)), o_(o) {
    require_nonnegative("lars", "momentum", o.momentum);
    require_nonnegative("lars", "trust_coefficient", o.trust_coefficient);
    require_nonnegative("lars", "eps", o.eps);
  }

 private:
  std::vector<std::string_view> state_names() const override { return {"momentum"}; }
  std::vector<Value> next(const One& u, const std::vector<Value>& s) const override {
    Value step = u.weight_decay == 0.0 ? u.g : u.g + u.p * u.weight_decay;
    if (u.p.rank() > 1) {
      const Value p = norm_of(u.p), g = norm_of(u.g);
      const Value some = logical_and(gt(p, 0.0), gt(g, 0.0));
      const Value size = g + p * u.weight_decay + o_.eps;
      step = step * where(some, p * o_.trust_coefficient / where(some, size, 1.0), 1.0);
    }
    const Value m = s[0] * o_.momentum + step;
    return {u.p - u.lr * m, m};
  }
  LarsOptions o_;
};

}  // namespace

OptimizerPtr adagrad(const AdagradOptions& options) {
  return std::make_shared<Adagrad>(options);
}
OptimizerPtr lion(const LionOptions& options) {
  return std::make_shared<Lion>(options);
}
OptimizerPtr lamb(const LambOptions& options) {
  return std::make_shared<Lamb>(options);
}
OptimizerPtr lars(const LarsOptions& options) {
  return std::make_shared<Lars>(options);
}

}  // namespace ingot
