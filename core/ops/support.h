// What the structured families share beside check.h and reference.h: operand counts that follow from
// attributes, the activation of an epilogue, and bytes for costs.
//
// Only the .cpp files of core/ops include it.
//
//   check_count(a, 2u + attrs.has_bias, "(x, weight, [bias])");
//   const ScalarOp act = activation_op(a.op, attrs.activation);
//   y[i] = static_cast<T>(activate(act, acc));
#pragma once

#include <span>
#include <string_view>

#include "core/op/registry.h"

namespace ingot::ops {

// Exactly `count` operands where attributes decide how many there are.
inline void check_count(const InferArgs& a, std::size_t count, std::string_view form) {
  if (a.inputs.size() != count)
    throw UsageError(
        cat(a.op, ": expects ", count, " operands ", form, " with these attributes, got ", a.inputs.size()));
}

// The scalar function named by an `activation` attribute; None for "". Throws UsageError unless it takes one
// number and gives one.
inline ScalarOp activation_op(std::string_view op, std::string_view activation) {
  if (activation.empty()) return ScalarOp::None;
  const ScalarOp f = find_scalar_op(activation);
  if (f == ScalarOp::None || info(f).arity != 1 ||
      (info(f).kind != ScalarKind::Numeric && info(f).kind != ScalarKind::Float))
    throw UsageError(cat(op, ": activation '", activation,
                         "' is not a scalar function of one operand; use e.g. 'relu', or '' for none"));
  return f;
}

inline double activate(ScalarOp f, double v) {
  return f == ScalarOp::None ? v : evaluate(f, std::span<const double>(&v, 1), DType::F64);
}

inline double operand_bytes(std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  double bytes = 0.0;
  for (const auto& t : inputs) bytes += static_cast<double>(t.bytes());
  for (const auto& t : outputs) bytes += static_cast<double>(t.bytes());
  return bytes;
}

}  // namespace ingot::ops
