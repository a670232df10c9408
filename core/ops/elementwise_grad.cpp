#include "core/ops/elementwise_grad.h"

#include <algorithm>
#include <array>
#include <numbers>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"

namespace ingot::ops {

namespace {

// What a row sees: operands a, b, c (x is another name for the first), result y and the result's gradient g.
struct Operands {
  Value x, b, c, y, g;
};

using Rule = Value (*)(const Operands&);

// One rule per operand; null where nothing flows (conditions, and functions that are flat almost everywhere).
struct Row {
  ScalarOp op;
  std::array<Rule, 3> rules{};
};

// g where the condition holds, else 0.
Value keep_if(Value condition, Value g) {
  return where(condition, g, 0.0);
}

constexpr double kInvSqrt2 = 1.0 / std::numbers::sqrt2;
constexpr double kInvSqrt2Pi = kInvSqrt2 * std::numbers::inv_sqrtpi;
constexpr double kSqrt2OverPi = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
constexpr double kSeluScale = 1.0507009873554804934193349852946;
constexpr double kSeluScaleAlpha = kSeluScale * 1.6732632423543772848170429916717;

Value gelu_slope(Value x) {
  return 0.5 * (1.0 + erf(x * kInvSqrt2)) + x * (kInvSqrt2Pi * exp(-0.5 * square(x)));
}

Value gelu_tanh_slope(Value x) {
  const Value x2 = square(x);
  const Value t = tanh(kSqrt2OverPi * (x + 0.044715 * (x2 * x)));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - square(t)) * (kSqrt2OverPi * (1.0 + 3.0 * 0.044715 * x2));
}

Value mish_slope(Value x) {
  const Value t = tanh(softplus(x));
  return t + x * sigmoid(x) * (1.0 - square(t));
}

// Ties share the gradient equally; `lost` holds where this operand is not the chosen one.
Value choice_gradient(const Operands& o, Value lost) {
  return where(lost, 0.0, where(eq(o.x, o.b), 0.5 * o.g, o.g));
}

// d/da a^b = b a^(b-1), and 0 where b = 0 even at a = 0.
Value pow_base(const Operands& o) {
  return where(eq(o.b, 0.0), 0.0, o.g * (o.b * pow(o.x, o.b - 1.0)));
}

// d/db a^b = a^b log a, and 0 where a = 0 and b >= 0.
Value pow_exponent(const Operands& o) {
  return where(logical_and(eq(o.x, 0.0), ge(o.b, 0.0)), 0.0, o.g * (o.y * log(o.x)));
}

using S = ScalarOp;
using O = const Operands&;

// clang-format off
constexpr Row kRows[] = {
    {S::Neg, {[](O o) { return -o.g; }}},
    {S::Abs, {[](O o) { return o.g * sign(o.x); }}},
    {S::Sign, {}},
    {S::Square, {[](O o) { return o.g * (2.0 * o.x); }}},
    {S::Relu, {[](O o) { return where(le(o.y, 0.0), 0.0, o.g); }}},
    {S::Exp, {[](O o) { return o.g * o.y; }}},
    {S::Expm1, {[](O o) { return o.g * (o.y + 1.0); }}},
    {S::Log, {[](O o) { return o.g / o.x; }}},
    {S::Log1p, {[](O o) { return o.g / (o.x + 1.0); }}},
    {S::Sqrt, {[](O o) { return o.g / (2.0 * o.y); }}},
    {S::Rsqrt, {[](O o) { return -0.5 * o.g * (o.y * square(o.y)); }}},
    {S::Reciprocal, {[](O o) { return -o.g * square(o.y); }}},
    {S::Sin, {[](O o) { return o.g * cos(o.x); }}},
    {S::Cos, {[](O o) { return -o.g * sin(o.x); }}},
    {S::Tanh, {[](O o) { return o.g * (1.0 - square(o.y)); }}},
    {S::Erf, {[](O o) { return o.g * ((2.0 * std::numbers::inv_sqrtpi) * exp(-square(o.x))); }}},
    {S::Sigmoid, {[](O o) { return o.g * (o.y * (1.0 - o.y)); }}},
    {S::Softplus, {[](O o) { return o.g * sigmoid(o.x); }}},
    {S::Gelu, {[](O o) { return o.g * gelu_slope(o.x); }}},
    {S::GeluTanh, {[](O o) { return o.g * gelu_tanh_slope(o.x); }}},
    {S::Silu, {[](O o) { const Value s = sigmoid(o.x); return o.g * (s * (1.0 + o.x * (1.0 - s))); }}},
    {S::Mish, {[](O o) { return o.g * mish_slope(o.x); }}},
    {S::Selu, {[](O o) { return o.g * where(gt(o.x, 0.0), kSeluScale, o.y + kSeluScaleAlpha); }}},
    {S::HardSigmoid, {[](O o) { return keep_if(lt(abs(o.x), 3.0), o.g / 6.0); }}},
    {S::HardSwish, {[](O o) { return keep_if(gt(o.x, -3.0), where(lt(o.x, 3.0), o.g * (o.x / 3.0 + 0.5), o.g)); }}},
    {S::Floor, {}},
    {S::Ceil, {}},
    {S::Round, {}},
    {S::Add, {[](O o) { return o.g; }, [](O o) { return o.g; }}},
    {S::Sub, {[](O o) { return o.g; }, [](O o) { return -o.g; }}},
    {S::Mul, {[](O o) { return o.g * o.b; }, [](O o) { return o.g * o.x; }}},
    {S::Div, {[](O o) { return o.g / o.b; }, [](O o) { return -o.g * (o.y / o.b); }}},
    {S::Pow, {pow_base, pow_exponent}},
    {S::Maximum, {[](O o) { return choice_gradient(o, lt(o.x, o.b)); }, [](O o) { return choice_gradient(o, gt(o.x, o.b)); }}},
    {S::Minimum, {[](O o) { return choice_gradient(o, gt(o.x, o.b)); }, [](O o) { return choice_gradient(o, lt(o.x, o.b)); }}},
    {S::LeakyRelu, {[](O o) { return where(gt(o.x, 0.0), o.g, o.g * o.b); }, [](O o) { return keep_if(le(o.x, 0.0), o.g * o.x); }}},
    {S::Elu, {[](O o) { return where(gt(o.x, 0.0), o.g, o.g * (o.y + o.b)); }, [](O o) { return keep_if(le(o.x, 0.0), o.g * expm1(o.x)); }}},
    {S::Where, {nullptr, [](O o) { return keep_if(o.x, o.g); }, [](O o) { return where(o.x, 0.0, o.g); }}},
};
// clang-format on

const Row* find_row(ScalarOp op) {
  const auto* it = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.op == op; });
  return it == std::end(kRows) ? nullptr : it;
}

}  // namespace

bool has_scalar_gradient(ScalarOp op) {
  return find_row(op) != nullptr;
}

std::vector<Value> scalar_gradient(GradContext& c) {
  const Row& row = *find_row(ingot::op(c.node().op).scalar);
  const int n = c.num_inputs();
  Operands o;
  o.x = c.input(0);
  if (n > 1) o.b = c.input(1);
  if (n > 2) o.c = c.input(2);
  o.y = c.output();
  o.g = c.grad();
  std::vector<Value> out(static_cast<std::size_t>(n));
  if (!o.g.defined() || !is_floating(o.g.dtype())) return out;
  for (int i = 0; i < n; ++i) {
    const Rule rule = row.rules[static_cast<std::size_t>(i)];
    if (rule != nullptr && c.needs(i))
      out[static_cast<std::size_t>(i)] = sum_to_shape(rule(o), c.input(i).shape());
  }
  return out;
}

}  // namespace ingot::ops
