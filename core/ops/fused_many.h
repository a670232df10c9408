// fused_many: one tape on many groups of tensors, in one step.
//
// Operands are `shared` scalars, which every group reads, then for each further input of the tape a list of
// `count` tensors; result k is the tape of the shared scalars and of the k-th tensor of each list. The
// tensors of one group have one shape, which is the result's; groups differ. Result k may take the memory of
// a k-th tensor of its dtype. The pass join-elementwise makes it of independent nodes, after differentiation.
//
//   ScalarExpr e({DType::Bool, DType::F32, DType::F32});
//   e.add_output(e.emit(ScalarOp::Where, {0, 1, 2}));
//   const Value operands[] = {ok, mean, var, old_mean, old_var};
//   auto next = apply("fused_many", operands, FusedManyAttrs{2, 1, e});   // mean', var'
#pragma once

#include <cstdint>
#include <span>

#include "core/expr/scalar_expr.h"
#include "core/op/builder.h"

namespace ingot {

struct FusedManyAttrs {
  std::int64_t count = 1, shared = 0;
  ScalarExpr expr;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("count", s.count);
    v("shared", s.shared);
    v("expr", s.expr);
  }

  // The operand that is input `i` of the tape for group `k`.
  std::size_t operand(std::size_t i, std::size_t k) const {
    const auto first = static_cast<std::size_t>(shared);
    return i < first ? i : first + (i - first) * static_cast<std::size_t>(count) + k;
  }
};

// Whether each group may be worked on as vectors, its tensors' memory from end to end: they lie alike, and
// where there is padding the tape makes zeros of its zeros, as a cast does.
bool groups_are_vectors(const FusedManyAttrs& attrs, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs);

}  // namespace ingot
