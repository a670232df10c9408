// ScalarExpr: building, dtype rules, text, evaluation.
#include "core/expr/scalar_expr.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace ingot {
namespace {

ScalarExpr mixed_tape() {
  ScalarExpr e({DType::F32, DType::F32, DType::I32});
  const auto sum = e.emit(ScalarOp::Add, {0, 1});
  const auto zero = e.emit_const(0.0, DType::F32);
  const auto positive = e.emit(ScalarOp::Gt, {sum, zero});
  const auto c = e.emit_cast(2, DType::F32);
  e.add_output(e.emit(ScalarOp::Where, {positive, sum, c}));
  e.add_output(positive);
  return e;
}

TEST(ScalarExpr, TextReadsBack) {
  const ScalarExpr e = mixed_tape();
  const std::string text = to_string(e);
  EXPECT_EQ(
      text,
      "f32,f32,i32;%3=add(%0,%1);%4=const.f32(0);%5=gt(%3,%4);%6=cast.f32(%2);%7=where(%5,%3,%6)->%7,%5");
  EXPECT_EQ(parse_scalar_expr(text), e);
  EXPECT_EQ(to_string(parse_scalar_expr(text)), text);
}

TEST(ScalarExpr, ConstantsKeepEveryBit) {
  ScalarExpr e({DType::F64});
  e.add_output(e.emit_const(0.1, DType::F64));
  e.add_output(e.emit_const(std::numeric_limits<double>::infinity(), DType::F32));
  e.add_output(e.emit_const(-1e-300, DType::F64));
  EXPECT_EQ(parse_scalar_expr(to_string(e)), e);
}

TEST(ScalarExpr, EveryFunctionParsesAndEvaluates) {
  for (const ScalarOpInfo& row : scalar_op_table()) {
    std::vector<DType> types(static_cast<std::size_t>(row.arity), DType::F64);
    if (row.kind == ScalarKind::Logic) types.assign(types.size(), DType::Bool);
    if (row.kind == ScalarKind::Select) types[0] = DType::Bool;
    ScalarExpr e(types);
    std::vector<ScalarExpr::Reg> args;
    for (std::size_t i = 0; i < types.size(); ++i) args.push_back(static_cast<ScalarExpr::Reg>(i));
    e.add_output(e.emit(row.op, args));
    EXPECT_EQ(parse_scalar_expr(to_string(e)), e) << row.name;
    EXPECT_EQ(find_scalar_op(row.name), row.op);
    const double in[3] = {1.0, 0.5, 0.25};
    double out = std::nan("");
    evaluate(e, std::span(in, types.size()), std::span(&out, 1));
    EXPECT_FALSE(std::isnan(out)) << row.name;
  }
}

TEST(ScalarExpr, Evaluates) {
  double out[2];
  const double a[3] = {1.5, 2.0, 9.0}, b[3] = {-1.5, 1.0, 9.0};
  evaluate(mixed_tape(), a, out);
  EXPECT_EQ(out[0], 3.5);
  EXPECT_EQ(out[1], 1.0);
  evaluate(mixed_tape(), b, out);
  EXPECT_EQ(out[0], 9.0);
  EXPECT_EQ(out[1], 0.0);
  const double integers[2] = {-7.0, 2.0};
  EXPECT_EQ(evaluate(ScalarOp::Div, integers, DType::I32), -3.0);
  EXPECT_EQ(evaluate(ScalarOp::Div, integers, DType::F32), -3.5);
  const double one[1] = {1.0 / 3.0};
  EXPECT_EQ(evaluate(ScalarOp::Neg, one, DType::F32), static_cast<double>(-static_cast<float>(1.0 / 3.0)));
}

TEST(ScalarExpr, RefusesWrongOperands) {
  ScalarExpr e({DType::F32, DType::I32, DType::Bool});
  EXPECT_THROW(e.emit(ScalarOp::Add, {0, 1}), ShapeError);
  EXPECT_THROW(e.emit(ScalarOp::Exp, {1}), ShapeError);
  EXPECT_THROW(e.emit(ScalarOp::Neg, {2}), ShapeError);
  EXPECT_THROW(e.emit(ScalarOp::Not, {0}), ShapeError);
  EXPECT_THROW(e.emit(ScalarOp::Where, {0, 1, 1}), ShapeError);
  EXPECT_THROW(e.emit(ScalarOp::Add, {0, 7}), UsageError);
  EXPECT_NO_THROW(e.emit(ScalarOp::Where, {2, 1, 1}));
  EXPECT_THROW(e.add_input(DType::F32), UsageError);
  try {
    e.emit(ScalarOp::Add, {0, 1});
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("cast()"), std::string::npos);
  }
}

TEST(ScalarExpr, RefusesDamagedText) {
  for (const char* text : {"", "f32", "f32;%1=nothing(%0)->%1", "f32;%2=neg(%0)->%2", "f32;%1=neg(%0->%1",
                           "f32;%1=neg(%0)->%2", "f32;%1=neg(x)->%1", "f32;%1=const.f32(x)->%1"})
    EXPECT_THROW(parse_scalar_expr(text), FormatError) << text;
  EXPECT_THROW(parse_scalar_expr("f32;%1=neg(%1)->%1"), Error);
  EXPECT_THROW(parse_scalar_expr("f99;%1=neg(%0)->%1"), Error);
}

}  // namespace
}  // namespace ingot
