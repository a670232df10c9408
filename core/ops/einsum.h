// Sums of products of tensors by named axes (torch.einsum, numpy.einsum, ONNX Einsum).
//
// The equation gives each operand's axes a letter, "->" the result's; letters that the result lacks are
// summed over. Without "->" the result has the letters that occur once, in the order of the alphabet. A
// letter twice in one operand is its diagonal. Operands are combined from left to right, two at a time:
// letters that no later operand and no result needs are summed within the product, by one matmul where both
// operands have axes of their own or of the sum, by a multiplication that fuses where they have not.
// Transposes are made only where a matmul cannot read an operand as it lies.
//
// Throws UsageError for an equation that cannot be read, and ShapeError for operands that do not fit it; both
// quote the equation. An ellipsis is not taken, nor is an axis of size 1 broadcast.
//
//   Value scores = einsum("bhqd,bhkd->bhqk", {q, k});
//   Value trace = einsum("ii->", {a});
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>

#include "core/op/builder.h"

namespace ingot {

Value einsum(std::string_view equation, std::span<const Value> operands,
             SourceLoc loc = SourceLoc::current());
Value einsum(std::string_view equation, std::initializer_list<Value> operands,
             SourceLoc loc = SourceLoc::current());

}  // namespace ingot
