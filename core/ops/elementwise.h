// Elementwise ops: one per row of core/expr/scalar_ops.def, with NumPy broadcasting, plus cast and fused.
//
// Shapes broadcast as in NumPy; dtypes never convert by themselves (mixing f32 and i64 is a ShapeError that
// says to cast). A double beside a Value becomes a scalar of that Value's dtype. Gradients are PyTorch's,
// also where a function has a kink: relu'(0) = 0, |x|'(0) = 0, maximum and minimum share a tie equally. The
// functions' formulas stand in core/expr/scalar_ops.h.
//
//   Value y = relu(a + b);
//   Value z = where(gt(x, 0.0), x, x * 0.1);
//   Value h = cast(y, DType::BF16);
#pragma once

#include <span>
#include <vector>

#include "core/expr/scalar_expr.h"
#include "core/op/builder.h"

namespace ingot {

struct CastAttrs {
  DType dtype = DType::F32;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("dtype", s.dtype);
  }
};

struct FusedAttrs {
  ScalarExpr expr;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("expr", s.expr);
  }
};

// neg(x), exp(x), ..., add(a, b), eq(a, b), ..., where(c, a, b): every row of the table under its own name.
#define INGOT_DECLARE_1(name) Value name(Value x, SourceLoc loc = SourceLoc::current());
#define INGOT_DECLARE_2(name)                                          \
  Value name(Value a, Value b, SourceLoc loc = SourceLoc::current());  \
  Value name(Value a, double b, SourceLoc loc = SourceLoc::current()); \
  Value name(double a, Value b, SourceLoc loc = SourceLoc::current());
#define INGOT_DECLARE_3(name)                                                   \
  Value name(Value c, Value a, Value b, SourceLoc loc = SourceLoc::current());  \
  Value name(Value c, Value a, double b, SourceLoc loc = SourceLoc::current()); \
  Value name(Value c, double a, Value b, SourceLoc loc = SourceLoc::current());
#define INGOT_SCALAR(Enum, name, arity, kind) INGOT_DECLARE_##arity(name)
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
#undef INGOT_DECLARE_1
#undef INGOT_DECLARE_2
#undef INGOT_DECLARE_3

Value operator+(ValueAt a, ValueAt b);
Value operator-(ValueAt a, ValueAt b);
Value operator*(ValueAt a, ValueAt b);
Value operator/(ValueAt a, ValueAt b);
Value operator+(ValueAt a, double b);
Value operator-(ValueAt a, double b);
Value operator*(ValueAt a, double b);
Value operator/(ValueAt a, double b);
Value operator+(double a, ValueAt b);
Value operator-(double a, ValueAt b);
Value operator*(double a, ValueAt b);
Value operator/(double a, ValueAt b);
Value operator-(ValueAt x);

// The same elements in another dtype; `x` itself when it has that dtype already. Rounds to nearest even
// between floating types, truncates toward zero from floating to integer (values outside the integer's range
// give an unspecified value), and maps nonzero to true.
Value cast(Value x, DType dtype, SourceLoc loc = SourceLoc::current());

// One node for a whole tape. Operand i has the dtype of tape input i; operands broadcast together and every
// output has the broadcast shape. Made by the fusion pass, after differentiation.
std::vector<Value> fused(std::span<const Value> inputs, const ScalarExpr& expr,
                         SourceLoc loc = SourceLoc::current());

// Sums `x` over the axes along which `shape` was broadcast to x.shape(): the gradient of broadcasting.
Value sum_to_shape(Value x, const Shape& shape, SourceLoc loc = SourceLoc::current());

namespace ops {
void register_scalar_ops(Registry& registry);
// Writes function `op` of the broadcast operands to `out`; any dtype that scalar_result() allows.
void scalar_reference(ScalarOp op, std::span<const Tensor> inputs, const Tensor& out);
// Element conversion between any two dtypes, without undefined behaviour.
void cast_reference(const Tensor& from, const Tensor& to);
// Broadcast shape of all operands with the layout of the first operand that has that shape and a layout of
// its own.
TensorType broadcast_type(std::span<const TensorType> operands, DType dtype);
}  // namespace ops

}  // namespace ingot
