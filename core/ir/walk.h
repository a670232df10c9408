// Walk: the order in which an elementwise kernel visits elements, and where its operands hold them.
//
// The output's elements are visited as they lie in memory. Its physical dimensions are collapsed: sizes of 1
// go, and neighbours become one dimension where every operand allows it. An operand's stride is in elements,
// 0 along what it broadcasts over. A contiguous operand alone collapses to {numel}, {1}; a single value to
// {numel}, {0}. All backends take their view of broadcasting and layouts from here.
//
//   auto s = strides_over(x, {8, 16, 4, 4});             // per logical axis: x's missing axes get 0
//   Walk w = elementwise_walk(operands, out);            // w.dims, w.strides[operand]
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/ir/type.h"

namespace ingot {

struct Walk {
  std::vector<std::int64_t> dims;                  // outermost first, never empty
  std::vector<std::vector<std::int64_t>> strides;  // per operand, one for each of dims
};

// Element strides of an unblocked tensor per logical axis of `out`, to which it broadcasts.
std::vector<std::int64_t> strides_over(const TensorType& t, const Shape& out);

// Whether one walk serves all: outputs share shape and layout without padding; when it is blocked, operands
// have the same or one element.
bool elementwise_accepts(std::span<const TensorType> inputs, std::span<const TensorType> outputs);

// `out` has at least one element; elementwise_accepts() holds.
Walk elementwise_walk(std::span<const TensorType> inputs, const TensorType& out);

}  // namespace ingot
