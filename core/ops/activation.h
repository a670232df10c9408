// What an op with an epilogue does to each result last, by the name in its attribute `activation`.
//
// "" is nothing, "relu6" is min(relu(v), 6), and any scalar function of one operand goes by its own name.
// Convolutions take all of them; batch norm, whose gradient knows its activation from the result alone, takes
// "", "relu" and "relu6". NaN stays NaN.
//
//   const LastFunction act = activation_of(a.op, attrs.activation);    // throws for what is none
//   y[i] = static_cast<T>(activate(act, sum));
#pragma once

#include <limits>
#include <span>
#include <string_view>

#include "core/op/registry.h"

namespace ingot {

struct LastFunction {
  ScalarOp function = ScalarOp::None;
  double most = std::numeric_limits<double>::infinity();  // results above are cut down to it

  bool none() const { return function == ScalarOp::None; }
  bool has_top() const { return most < std::numeric_limits<double>::infinity(); }
  // Whether the gradient behind the result y is 0; of a clip alone.
  bool flat(double y) const { return !none() && (y <= 0.0 || (has_top() && y >= most)); }
};

// The scalar function of that name; None for "". Throws UsageError unless it takes one number and gives one.
inline ScalarOp activation_op(std::string_view op, std::string_view activation) {
  if (activation.empty()) return ScalarOp::None;
  const ScalarOp f = find_scalar_op(activation);
  if (f == ScalarOp::None || info(f).arity != 1 ||
      (info(f).kind != ScalarKind::Numeric && info(f).kind != ScalarKind::Float))
    throw UsageError(cat(op, ": activation '", activation,
                         "' is not a scalar function of one operand; use e.g. 'relu', or '' for none"));
  return f;
}

inline LastFunction activation_of(std::string_view op, std::string_view activation) {
  if (activation == "relu6") return {ScalarOp::Relu, 6.0};
  return {activation_op(op, activation)};
}

// The same of batch norm.
inline LastFunction clip_of(std::string_view op, std::string_view activation) {
  if (!activation.empty() && activation != "relu" && activation != "relu6")
    throw UsageError(cat(op, ": activation must be 'relu', 'relu6' or '' (none), got '", activation, "'"));
  return activation_of(op, activation);
}

inline double activate(const LastFunction& a, double v) {
  if (!a.none()) v = evaluate(a.function, std::span<const double>(&v, 1), DType::F64);
  return v > a.most ? a.most : v;
}

}  // namespace ingot
