// Mixed precision: which op runs in which floating type, as a rewrite of the forward graph.
//
// Operands are cast where an op's type differs from theirs, once for each value and type. Which type an op
// runs in is said by the registry (OpDef::precision): products and convolutions in the compute type, whose
// sums are f32 on every backend; losses, sums and functions that lose too much in f32; everything else in the
// type of its largest floating operand, f32 where two of that size differ. What stays f32: states (so that
// the optimiser works on f32 master weights, whose casts are part of the graph), the scales and statistics of
// normalisations (OpDef::full_inputs), and the graph's outputs and updates, which are cast back. Gradients
// follow when the result is differentiated: a cast's gradient is the cast back.
//
// It changes what the graph computes, so it is no pass of the pipeline: it runs once, before differentiation.
//
//   Graph mixed = mixed_precision(graph, {.compute = DType::BF16, .overrides = {{"fc", Precision::Full}}});
//
// Source: Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740).
#pragma once

#include <map>
#include <span>
#include <string>

#include "core/op/registry.h"

namespace ingot {

struct PrecisionOptions {
  DType compute = DType::F32;  // F32: the graph stays as it is; BF16 or F16
  // By node name, or the name of a scope that holds it; the longest that fits counts.
  std::map<std::string, Precision> overrides{};
};

// `tracked` are values of `graph`; they become the ids of the same values in the result, in their old types.
// Throws UsageError for another compute type, and for an override that fits no node.
Graph mixed_precision(const Graph& graph, const PrecisionOptions& options, std::span<ValueId> tracked = {});

}  // namespace ingot
