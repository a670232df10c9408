// What the structured families share beside check.h and reference.h: operand counts that follow from
// attributes, and bytes for costs.
//
// Only the .cpp files of core/ops include it.
//
//   check_count(a, 2u + attrs.has_bias, "(x, weight, [bias])");
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

// What ops share that a pass makes of others, after differentiation. Attributes and the number of operands
// are the caller's.
inline OpDef made_by_pass(std::string_view pass, std::string_view of, std::string_view name,
                          std::string_view doc, InferFn infer, RefFn reference, CostFn cost) {
  OpDef d;
  d.name = name;
  d.doc = doc;
  d.infer = infer;
  d.not_differentiable = cat("the pass ", pass, " makes it after differentiation; differentiate ", of);
  d.reference = reference;
  d.cost = cost;
  return d;
}

inline double operand_bytes(std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  double bytes = 0.0;
  for (const auto& t : inputs) bytes += static_cast<double>(t.bytes());
  for (const auto& t : outputs) bytes += static_cast<double>(t.bytes());
  return bytes;
}

}  // namespace ingot::ops
