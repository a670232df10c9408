// The text of the kernel that runs a ScalarExpr on one set of operand types.
//
// A thread computes a few consecutive elements of the output, in the order in which they lie in memory. It
// loads all its operands' elements before it stores the first result, so a contiguous operand may give its
// memory to a result of its type. Sizes and strides stand in the text as constants; each operand is seen
// with its own collapsed dimensions (core/ir/walk.h), and is read in one of four ways:
//
//   one value      broadcast over everything, or the same for all elements of a thread: one load
//   in a row       its elements lie one after another for the thread: accesses of up to 16 bytes
//   at a distance  one index computation per thread, then a constant stride
//   anywhere       one index computation per element
//
// When the number of elements is no multiple of a thread's share, the last thread goes one by one. Indices
// have 32 bits unless the output is too large for them. What changes between steps is an operand; only the
// tape's constants are literals.
//
//   KernelSource k = elementwise_source(expr, inputs, outputs);     // throws UsageError where
//                                                                   // elementwise_accepts() says no
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/expr/scalar_expr.h"
#include "core/ir/type.h"
#include "cuda/jit/kernel_source.h"

namespace ingot::cuda {

struct ElementwiseOptions {
  // To how many bytes each operand's and result's address is aligned; one that is not listed: to 16.
  std::vector<int> input_alignment = {}, output_alignment = {};
  // Use 64-bit indices even where 32 bits would do.
  bool wide_index = false;
};

KernelSource elementwise_source(const ScalarExpr& expr, std::span<const TensorType> inputs,
                                std::span<const TensorType> outputs, const ElementwiseOptions& options = {});

// One tape on many groups of vectors (core/ops/fused_many.h): `counts` are their lengths, the first `shared`
// inputs of the tape are single values that all groups read. Pointers: the shared ones, a list for each
// further input, the list of results. Every block works on one group, which it finds by its number.
// `alignment` is that of each address. Throws UsageError for more than most_groups().
KernelSource elementwise_many_source(const ScalarExpr& expr, int shared, std::span<const std::int64_t> counts,
                                     int alignment = 16);
// How many groups one kernel has pointers for.
std::size_t most_groups(const ScalarExpr& expr, int shared);

}  // namespace ingot::cuda
