#include "core/ops/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/ops/creation.h"
#include "tests/ops/eval.h"

namespace ingot {
namespace {

using Doubles = std::vector<double>;

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

Tensor f64(const Shape& shape, const std::vector<double>& v) {
  return Tensor::from<double>(shape, v);
}

TEST(Elementwise, BroadcastsAsNumPy) {
  Graph g;
  const Value a = constant(g, f64({2, 1, 3}, {1, 2, 3, 4, 5, 6}));
  const Value b = constant(g, f64({2, 1}, {10, 20}));
  const Value y = a + b;
  EXPECT_EQ(y.shape(), (Shape{2, 2, 3}));
  EXPECT_EQ(values(eval(y)), (Doubles{11, 12, 13, 21, 22, 23, 14, 15, 16, 24, 25, 26}));
}

TEST(Elementwise, EmptyAndScalarShapes) {
  Graph g;
  const Value a = full(g, 1.0, {DType::F32, {0, 3}});
  EXPECT_EQ((a * full(g, 2.0, {DType::F32, {1, 1, 3}})).shape(), (Shape{1, 0, 3}));
  EXPECT_EQ(eval(full(g, 2.0, {DType::F64, {}}) / 4.0).item(), 0.5);
}

TEST(Elementwise, DoublesTakeTheOtherDtype) {
  Graph g;
  const Value i = constant(g, Tensor::from<std::int64_t>({3}, std::vector<std::int64_t>{1, -7, 9}));
  EXPECT_EQ((i * 2.0).dtype(), DType::I64);
  EXPECT_EQ(values(eval(2.0 - i)), (Doubles{1, 9, -7}));
  EXPECT_EQ(values(eval(i / 2.0)), (Doubles{0, -3, 4}));
  EXPECT_EQ(gt(i, 0.0).dtype(), DType::Bool);
  EXPECT_EQ(values(eval(where(gt(i, 0.0), i, 0.0))), (Doubles{1, 0, 9}));
}

TEST(Elementwise, Integers64AreExact) {
  Graph g;
  const std::int64_t big = (std::int64_t{1} << 62) + 1;
  const Value i = constant(g, Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{big, 5}));
  const Tensor y = eval(i + 1.0);
  EXPECT_EQ(y.data<std::int64_t>()[0], big + 1);
}

TEST(Elementwise, OperatorsKeepTheLine) {
  Graph g;
  const Value a = full(g, 1.0, {DType::F32, {3}});
  const Value b = full(g, 1.0, {DType::F32, {4}});
  const auto line = std::to_string(__LINE__ + 1);
  const std::string what = message_of([&] { a + b; });
  EXPECT_NE(what.find("test_elementwise.cpp:" + line), std::string::npos) << what;
  EXPECT_NE(what.find("[3]"), std::string::npos) << what;
}

TEST(Elementwise, MixedDtypesAreRefused) {
  Graph g;
  const Value a = full(g, 1.0, {DType::F32, {3}}), b = full(g, 1.0, {DType::I64, {3}});
  EXPECT_NE(message_of([&] { add(a, b); }).find("cast()"), std::string::npos);
  EXPECT_NE(message_of([&] { exp(b); }).find("floating"), std::string::npos);
}

TEST(Elementwise, NanPassesThroughMaximumAndRelu) {
  Graph g;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Value x = constant(g, f64({3}, {nan, -1, 2}));
  const auto m = values(eval(maximum(x, 0.0))), r = values(eval(relu(x)));
  EXPECT_TRUE(std::isnan(m[0]) && std::isnan(r[0]));
  EXPECT_EQ(m[2], 2.0);
  EXPECT_EQ(r[1], 0.0);
}

TEST(Elementwise, CastRoundsTruncatesAndSaturates) {
  Graph g;
  const Value x = constant(g, f64({5}, {1.9, -1.9, 1e300, std::nan(""), 0.0}));
  EXPECT_EQ(values(eval(cast(x, DType::I32))), (Doubles{1, -1, 2147483647.0, 0, 0}));
  EXPECT_EQ(values(eval(cast(x, DType::Bool))), (Doubles{1, 1, 1, 1, 0}));
  EXPECT_EQ(eval(cast(full(g, 1.0 + 1.0 / 512, {DType::F64, {}}), DType::BF16)).get(0), 1.0);
  EXPECT_EQ(cast(x, DType::F64).id(), x.id());
}

TEST(Elementwise, FusedTape) {
  Graph g;
  ScalarExpr e({DType::F64, DType::I64});
  const auto one = e.emit_const(1.0, DType::I64);
  const auto next = e.emit(ScalarOp::Add, {1, one});
  const auto sum = e.emit(ScalarOp::Add, {0, e.emit_cast(next, DType::F64)});
  e.add_output(sum);
  e.add_output(next);
  const std::int64_t big = (std::int64_t{1} << 62) + 1;
  const Value x = constant(g, f64({2, 1}, {1, 2}));
  const Value n = constant(g, Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{big, 3}));
  const Value ops[] = {x, n};
  const auto y = fused(ops, e);
  ASSERT_EQ(y.size(), 2u);
  EXPECT_EQ(y[0].type(), (TensorType{DType::F64, {2, 2}}));
  EXPECT_EQ(y[1].type(), (TensorType{DType::I64, {2, 2}}));
  EXPECT_EQ(eval(y[0]).get(3), 6.0);
  EXPECT_EQ(eval(y[1]).data<std::int64_t>()[2], big + 1);
  const Value wrong[] = {n, x};
  EXPECT_NE(message_of([&] { fused(wrong, e); }).find("operand 0 must be f64"), std::string::npos);
}

TEST(Elementwise, SumToShapeUndoesBroadcasting) {
  Graph g;
  const Value x = constant(g, f64({2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(values(eval(sum_to_shape(x, {2, 1}))),
            (Doubles{1 + 2 + 3 + 7 + 8 + 9, 4 + 5 + 6 + 10 + 11 + 12}));
  EXPECT_EQ(eval(sum_to_shape(x, {})).item(), 78.0);
  EXPECT_EQ(sum_to_shape(x, {2, 2, 3}).id(), x.id());
  EXPECT_THROW(sum_to_shape(x, {2, 2}), ShapeError);
}

// What PyTorch gives at the kinks.
TEST(Elementwise, GradientsAtKinks) {
  const auto at = [](Value (*f)(Value, SourceLoc), double x) {
    Graph g;
    const Value v = full(g, x, {DType::F64, {}});
    return eval(operand_gradients(f(v, {}), full(g, 1.0, {DType::F64, {}}))[0]).item();
  };
  EXPECT_EQ(at(relu, 0.0), 0.0);
  EXPECT_EQ(at(abs, 0.0), 0.0);
  EXPECT_EQ(at(hard_sigmoid, 3.0), 0.0);
  EXPECT_EQ(at(hard_sigmoid, -3.0), 0.0);
  EXPECT_EQ(at(hard_swish, -3.0), 0.0);
  EXPECT_EQ(at(hard_swish, 3.0), 1.0);

  Graph g;
  const Value a = constant(g, f64({3}, {1, 2, 3})), b = constant(g, f64({3}, {1, 3, 2}));
  const Value one = full(g, 1.0, {DType::F64, {3}});
  EXPECT_EQ(values(eval(operand_gradients(maximum(a, b), one)[0])), (Doubles{0.5, 0, 1}));
  EXPECT_EQ(values(eval(operand_gradients(maximum(a, b), one)[1])), (Doubles{0.5, 1, 0}));
  EXPECT_EQ(values(eval(operand_gradients(minimum(a, b), one)[0])), (Doubles{0.5, 1, 0}));
  const Value zero = full(g, 0.0, {DType::F64, {3}});
  EXPECT_EQ(values(eval(operand_gradients(pow(zero, zero), one)[0])), (Doubles{0, 0, 0}));
  EXPECT_EQ(values(eval(operand_gradients(pow(zero, b), one)[1])), (Doubles{0, 0, 0}));
  EXPECT_EQ(values(eval(operand_gradients(leaky_relu(zero, 0.25), one)[0])), (Doubles{0.25, 0.25, 0.25}));
}

}  // namespace
}  // namespace ingot
