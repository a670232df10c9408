#include "core/ops/update.h"

#include <cmath>

#include "core/ops/check.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

constexpr const char* kNoGradient = "it ends a training step; gradients through an optimiser are not built";

template <class A>
std::size_t count_of(const A& attrs) {
  if (attrs.count < 1) throw UsageError(cat("attribute 'count' must be at least 1, got ", attrs.count));
  return static_cast<std::size_t>(attrs.count);
}

// Kinds of tensors that are both read and written: the parameter and its states.
int kept_kinds(const SgdAttrs& s) {
  return s.momentum != 0.0 ? 2 : 1;
}
int kept_kinds(const AdamAttrs&) {
  return 3;
}
int kept_kinds(const RmspropAttrs& r) {
  return 2 + (r.momentum != 0.0) + r.centered;
}

// Operand number of kind k (0: parameter, 1: first state, ...) of tensor t; gradients stand after the
// parameters.
std::size_t kept_operand(std::size_t count, std::size_t kind, std::size_t t) {
  return kUpdateScalars + (kind == 0 ? 0 : kind + 1) * count + t;
}

void check_fraction(const InferArgs& a, std::string_view what, double v) {
  if (!(v >= 0.0 && v < 1.0)) throw UsageError(cat(a.op, ": ", what, " must lie in [0, 1), got ", v));
}

template <class A>
std::vector<TensorType> infer_update(const InferArgs& a) {
  const auto& attrs = a.attrs.as<A>();
  const std::size_t count = count_of(attrs);
  const auto kinds = static_cast<std::size_t>(kept_kinds(attrs));
  ops::check_count(a, kUpdateScalars + (kinds + 1) * count,
                   "(lr, step, grad_scale, then parameters, gradients and states)");
  constexpr std::string_view kScalarNames[] = {"lr", "step", "grad_scale"};
  for (int i = 0; i < kUpdateScalars; ++i) {
    ops::check_floating(a, i, kScalarNames[i]);
    ops::check_rank(a, i, kScalarNames[i], 0);
  }
  std::vector<TensorType> out;
  for (std::size_t kind = 0; kind < kinds; ++kind)
    for (std::size_t t = 0; t < count; ++t) {
      const int p = static_cast<int>(kept_operand(count, 0, t));
      const int i = static_cast<int>(kept_operand(count, kind, t));
      const int g = static_cast<int>(kUpdateScalars + count + t);
      const auto what = [&](std::string_view name) { return cat(name, " ", t); };
      if (kind == 0) {
        ops::check_floating(a, p, what("parameter"));
        ops::check_floating(a, g, what("gradient"));
        ops::check_shape(a, g, what("gradient"), a.shape(p));
      } else {
        ops::check_dtype(a, i, what("state of parameter"), a.dtype(p));
        ops::check_shape(a, i, what("state of parameter"), a.shape(p));
      }
      out.push_back(a.inputs[static_cast<std::size_t>(i)]);
    }
  return out;
}

std::vector<TensorType> infer_sgd(const InferArgs& a) {
  const auto& s = a.attrs.as<SgdAttrs>();
  if (s.nesterov && (s.momentum == 0.0 || s.dampening != 0.0))
    throw UsageError(cat(a.op, ": nesterov needs a momentum and no dampening"));
  return infer_update<SgdAttrs>(a);
}

std::vector<TensorType> infer_adam(const InferArgs& a) {
  check_fraction(a, "beta1", a.attrs.as<AdamAttrs>().beta1);
  check_fraction(a, "beta2", a.attrs.as<AdamAttrs>().beta2);
  return infer_update<AdamAttrs>(a);
}

std::vector<TensorType> infer_rmsprop(const InferArgs& a) {
  check_fraction(a, "alpha", a.attrs.as<RmspropAttrs>().alpha);
  return infer_update<RmspropAttrs>(a);
}

template <class A>
std::vector<std::array<int, 2>> update_in_place(const Attrs& attrs, int) {
  const auto& u = attrs.as<A>();
  const std::size_t count = count_of(u);
  std::vector<std::array<int, 2>> pairs;
  for (std::size_t kind = 0; kind < static_cast<std::size_t>(kept_kinds(u)); ++kind)
    for (std::size_t t = 0; t < count; ++t)
      pairs.push_back({static_cast<int>(kept_operand(count, kind, t)), static_cast<int>(kind * count + t)});
  return pairs;
}

std::vector<double> numbers(const Tensor& t) {
  std::vector<double> out(static_cast<std::size_t>(t.numel()));
  visit_dtype(t.dtype(), [&]<class T>() {
    const T* in = t.data<T>();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = to_double(in[i]);
  });
  return out;
}

void put(const std::vector<double>& v, const Tensor& t) {
  visit_dtype(t.dtype(), [&]<class T>() {
    T* out = t.data<T>();
    for (std::size_t i = 0; i < v.size(); ++i) out[i] = from_double<T>(v[i]);
  });
}

struct Scalars {
  double lr, step;
};

// Calls rule(scalars, g, kept) for every element: g is the scaled gradient, kept[0] the parameter and
// kept[1...] its states, to be replaced by their next values.
template <class A, class Rule>
void update_elements(const RefArgs& a, Rule rule) {
  const auto& attrs = a.attrs.as<A>();
  const std::size_t count = count_of(attrs);
  const auto kinds = static_cast<std::size_t>(kept_kinds(attrs));
  const Scalars s{a.inputs[0].item(), a.inputs[1].item()};
  const double grad_scale = a.inputs[2].item();
  for (std::size_t t = 0; t < count; ++t) {
    const std::vector<double> g = numbers(a.inputs[kUpdateScalars + count + t]);
    std::vector<std::vector<double>> kept;
    for (std::size_t k = 0; k < kinds; ++k) kept.push_back(numbers(a.inputs[kept_operand(count, k, t)]));
    std::array<double, 4> x{};
    for (std::size_t i = 0; i < g.size(); ++i) {
      for (std::size_t k = 0; k < kinds; ++k) x[k] = kept[k][i];
      if (s.step != 0.0) rule(s, g[i] * grad_scale, x);
      for (std::size_t k = 0; k < kinds; ++k) kept[k][i] = x[k];
    }
    for (std::size_t k = 0; k < kinds; ++k) put(kept[k], a.outputs[k * count + t]);
  }
}

void reference_sgd(const RefArgs& a) {
  const auto& c = a.attrs.as<SgdAttrs>();
  update_elements<SgdAttrs>(a, [&](const Scalars& s, double g, std::array<double, 4>& x) {
    double &p = x[0], &m = x[1];
    g += c.weight_decay * p;
    if (c.momentum != 0.0) {
      m = s.step == 1.0 ? g : c.momentum * m + (1.0 - c.dampening) * g;
      g = c.nesterov ? g + c.momentum * m : m;
    }
    p -= s.lr * g;
  });
}

void reference_adam(const RefArgs& a) {
  const auto& c = a.attrs.as<AdamAttrs>();
  update_elements<AdamAttrs>(a, [&](const Scalars& s, double g, std::array<double, 4>& x) {
    double &p = x[0], &m = x[1], &v = x[2];
    if (c.decoupled)
      p *= 1.0 - s.lr * c.weight_decay;
    else
      g += c.weight_decay * p;
    m = c.beta1 * m + (1.0 - c.beta1) * g;
    v = c.beta2 * v + (1.0 - c.beta2) * g * g;
    const double m_hat = m / (1.0 - std::pow(c.beta1, s.step));
    const double v_hat = v / (1.0 - std::pow(c.beta2, s.step));
    p -= s.lr * m_hat / (std::sqrt(v_hat) + c.eps);
  });
}

void reference_rmsprop(const RefArgs& a) {
  const auto& c = a.attrs.as<RmspropAttrs>();
  update_elements<RmspropAttrs>(a, [&](const Scalars& s, double g, std::array<double, 4>& x) {
    double &p = x[0], &sq = x[1];
    g += c.weight_decay * p;
    sq = c.alpha * sq + (1.0 - c.alpha) * g * g;
    double variance = sq;
    if (c.centered) {
      double& avg = x[c.momentum != 0.0 ? 3 : 2];
      avg = c.alpha * avg + (1.0 - c.alpha) * g;
      variance -= avg * avg;
    }
    double d = g / (std::sqrt(variance) + c.eps);
    if (c.momentum != 0.0) d = x[2] = c.momentum * x[2] + d;
    p -= s.lr * d;
  });
}

std::vector<TensorType> infer_global_norm(const InferArgs& a) {
  for (int i = 0; i < static_cast<int>(a.inputs.size()); ++i) ops::check_floating(a, i, cat("operand ", i));
  return {{a.dtype(0) == DType::F64 ? DType::F64 : DType::F32, {}}};
}

void reference_global_norm(const RefArgs& a) {
  double sum = 0.0;
  for (const Tensor& t : a.inputs)
    for (const double v : numbers(t)) sum += v * v;
  a.outputs[0].set(0, std::sqrt(sum));
}

// About as many operations an element as the rule has symbols.
template <int per_element>
Cost cost_update(const Attrs&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  Cost c{0.0, ops::operand_bytes(inputs, outputs)};
  for (const auto& t : inputs) c.flops += per_element * static_cast<double>(t.numel());
  return c;
}

OpDef update(std::string name, std::string doc, Attrs attrs, InferFn infer, RefFn reference, CostFn cost) {
  OpDef d;
  d.precision = Precision::Full;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.min_inputs = kUpdateScalars + 2;
  d.max_inputs = -1;
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.not_differentiable = kNoGradient;
  d.reference = reference;
  d.cost = cost;
  return d;
}

}  // namespace

namespace ops {

OpDef def_sgd() {
  OpDef d = update("sgd", "Stochastic gradient descent with momentum on many tensors.", SgdAttrs{}, infer_sgd,
                   reference_sgd, cost_update<2>);
  d.in_place = update_in_place<SgdAttrs>;
  return d;
}

OpDef def_adam() {
  OpDef d = update("adam", "Adam or AdamW on many tensors.", AdamAttrs{}, infer_adam, reference_adam,
                   cost_update<4>);
  d.in_place = update_in_place<AdamAttrs>;
  return d;
}

OpDef def_rmsprop() {
  OpDef d = update("rmsprop", "RMSprop on many tensors.", RmspropAttrs{}, infer_rmsprop, reference_rmsprop,
                   cost_update<4>);
  d.in_place = update_in_place<RmspropAttrs>;
  return d;
}

OpDef def_global_norm() {
  OpDef d = update("global_norm", "Euclidean norm of all elements of all operands.", Attrs{},
                   infer_global_norm, reference_global_norm, cost_update<2>);
  d.min_inputs = 1;
  return d;
}

}  // namespace ops

Value global_norm(std::span<const Value> tensors, SourceLoc loc) {
  return apply1("global_norm", tensors, {}, std::move(loc));
}

}  // namespace ingot
