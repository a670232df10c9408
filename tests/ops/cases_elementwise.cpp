// Cases of the scalar functions (from the table, so a new row needs a line only when its domain is special),
// of cast and of fused.
#include <limits>
#include <map>

#include "core/ops/elementwise.h"
#include "tests/support/op_case.h"

namespace ingot {
namespace {

struct Domain {
  double lo = -2.0, hi = 2.0;
  std::vector<double> kinks = {};
  bool gradient = true;
};

// Where a function is defined and smooth; functions not named are smooth on [-2, 2).
Domain domain_of(ScalarOp op) {
  static const std::map<ScalarOp, Domain> special = {
      {ScalarOp::Abs, {-2, 2, {0}}},
      {ScalarOp::Sign, {-2, 2, {0}, false}},
      {ScalarOp::Relu, {-2, 2, {0}}},
      {ScalarOp::Log, {0.25, 3}},
      {ScalarOp::Log1p, {-0.5, 3}},
      {ScalarOp::Sqrt, {0.25, 3}},
      {ScalarOp::Rsqrt, {0.25, 3}},
      {ScalarOp::Reciprocal, {0.25, 3}},
      {ScalarOp::Gelu, {-4, 4}},
      {ScalarOp::GeluTanh, {-4, 4}},
      {ScalarOp::Mish, {-4, 4}},
      {ScalarOp::Selu, {-3, 3, {0}}},
      {ScalarOp::HardSigmoid, {-5, 5, {-3, 3}}},
      {ScalarOp::HardSwish, {-5, 5, {-3, 3}}},
      {ScalarOp::Floor, {-3, 3, {-3, -2, -1, 0, 1, 2, 3}, false}},
      {ScalarOp::Ceil, {-3, 3, {-3, -2, -1, 0, 1, 2, 3}, false}},
      {ScalarOp::Round, {-3, 3, {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5}, false}},
      {ScalarOp::Div, {0.25, 3}},
      {ScalarOp::Pow, {0.25, 3}},
      {ScalarOp::LeakyRelu, {-2, 2, {0}}},
      {ScalarOp::Elu, {-2, 2, {0}}},
  };
  const auto it = special.find(op);
  return it == special.end() ? Domain{} : it->second;
}

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

}  // namespace
}  // namespace ingot

INGOT_OP_CASES(elementwise) {
  using namespace ingot;
  using Shapes = std::vector<Shape>;
  for (const ScalarOpInfo& row : scalar_op_table()) {
    const Domain d = domain_of(row.op);
    // Operand k in the domain; functions that compare need equal values now and then.
    const auto operand = [&](const Shape& s, int k) -> test::InputSpec {
      switch (row.kind) {
        case ScalarKind::Logic:
          return bools(s);
        case ScalarKind::Compare:
          return integers(s, 3, DType::F32);
        case ScalarKind::Select:
          return k == 0 ? bools(s) : uniform(s);
        case ScalarKind::Predicate:
          return values(s, {0.5, kNan, -1.0, kInf, -kInf});
        default:
          return row.op == ScalarOp::Maximum || row.op == ScalarOp::Minimum ? distinct(s)
                                                                            : uniform(s, d.lo, d.hi);
      }
    };
    const auto define = [&](std::string name, const Shapes& shapes, const Shape& result) {
      test::OpCase c;
      c.op = row.name;
      c.name = std::move(name);
      for (int k = 0; k < row.arity; ++k) c.inputs.push_back(operand(shapes[static_cast<std::size_t>(k)], k));
      c.shapes = {result};
      c.kinks = d.kinks;
      c.gradient = d.gradient;
      c.constant = result.numel() < 2;
      add(std::move(c));
    };
    define("odd", {{3, 5}, {3, 5}, {3, 5}}, {3, 5});
    define("images", {{2, 3, 5, 7}, {2, 3, 5, 7}, {2, 3, 5, 7}}, {2, 3, 5, 7});
    define("scalar", {{}, {}, {}}, {});
    define("empty", {{0, 3}, {0, 3}, {1, 3}}, {0, 3});
    if (row.arity > 1) {
      define("broadcast", {{4, 1, 3}, {2, 1}, {3}}, {4, 2, 3});
      define("channels", {{2, 3, 4, 5}, {3, 1, 1}, {1}}, {2, 3, 4, 5});
      add_error({.op = std::string(row.name),
                 .name = "shapes",
                 .inputs = {operand({3}, 0).type, operand({4}, 1).type, operand({4}, 2).type},
                 .message = "[3]"});
      auto& e = errors.back();
      e.inputs.resize(static_cast<std::size_t>(row.arity));
    }
    if (row.kind == ScalarKind::Float || row.kind == ScalarKind::Predicate) {
      add_error({.op = std::string(row.name),
                 .name = "integers",
                 .inputs = std::vector<TensorType>(static_cast<std::size_t>(row.arity), i64({2})),
                 .message = "floating"});
    }
    if (row.kind == ScalarKind::Numeric || row.kind == ScalarKind::Compare) {
      test::OpCase c;
      c.op = row.name;
      for (const DType dtype : {DType::I32, DType::I64, DType::U8}) {
        c.name = std::string(name(dtype));
        c.inputs.clear();
        for (int k = 0; k < row.arity; ++k) c.inputs.push_back(integers({3, 7}, 9, dtype));
        add(c);
      }
    }
    if (row.kind == ScalarKind::Numeric)
      add_error({.op = std::string(row.name),
                 .name = "booleans",
                 .inputs = std::vector<TensorType>(static_cast<std::size_t>(row.arity), boolean({2})),
                 .message = "numeric"});
  }

  // Figures at the points where conventions differ.
  add({.op = "relu",
       .name = "nan",
       .inputs = {values({3}, {kNan, -1, 0})},
       .expected = {{kNan, 0, 0}},
       .gradient = false});
  add({.op = "sign",
       .name = "points",
       .inputs = {values({4}, {-3, 0, 5, kNan})},
       .expected = {{-1, 0, 1, kNan}},
       .gradient = false});
  add({.op = "round",
       .name = "ties",
       .inputs = {values({6}, {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5})},
       .expected = {{-2, -2, 0, 0, 2, 2}},
       .gradient = false});
  add({.op = "div",
       .name = "i64_truncates",
       .inputs = {values({4}, {7, -7, 7, 5}, DType::I64), values({4}, {2, 2, -2, 0}, DType::I64)},
       .expected = {{3, -3, -3, 0}}});
  add({.op = "div",
       .name = "by_zero",
       .inputs = {values({3}, {1, -1, 0}), values({3}, {0, 0, 0})},
       .expected = {{kInf, -kInf, kNan}},
       .gradient = false});
  add({.op = "maximum",
       .name = "nan",
       .inputs = {values({3}, {kNan, 1, 2}), values({3}, {0, kNan, 2})},
       .expected = {{kNan, kNan, 2}},
       .gradient = false});
  add({.op = "minimum",
       .name = "nan",
       .inputs = {values({3}, {kNan, 1, 2}), values({3}, {0, kNan, 1})},
       .expected = {{kNan, kNan, 1}},
       .gradient = false});
  add({.op = "softplus",
       .name = "far",
       .inputs = {values({3}, {-90, 0, 90})},
       .expected = {{0, 0.69314718056, 90}}});
  add({.op = "sigmoid", .name = "far", .inputs = {values({3}, {-90, 0, 90})}, .expected = {{0, 0.5, 1}}});
  add({.op = "expm1",
       .name = "small",
       .inputs = {values({2}, {1e-6, -1e-6})},
       .expected = {{1e-6, -1e-6}},
       .tolerance = 1e-12});
  add({.op = "is_finite",
       .name = "points",
       .inputs = {values({4}, {1, kInf, -kInf, kNan})},
       .expected = {{1, 0, 0, 0}}});
  add({.op = "is_nan",
       .name = "points",
       .inputs = {values({4}, {1, kInf, -kInf, kNan})},
       .expected = {{0, 0, 0, 1}}});
  add({.op = "eq", .name = "booleans", .inputs = {bools({9}), bools({9})}});
  add({.op = "where",
       .name = "integers",
       .inputs = {values({3}, {1, 0, 1}, DType::Bool), values({3}, {1, 2, 3}, DType::I64),
                  values({}, {9}, DType::I64)},
       .expected = {{1, 9, 3}}});
  add_error({.op = "where",
             .name = "condition",
             .inputs = {f32({2}), f32({2}), f32({2})},
             .message = "(bool, T, T)"});
  add_error({.op = "add", .name = "mixed", .inputs = {f32({2}), i64({2})}, .message = "cast()"});
  add_error({.op = "logical_and", .name = "floats", .inputs = {f32({2}), f32({2})}, .message = "bool"});

  add({.op = "cast",
       .name = "to_i32",
       .attrs = CastAttrs{DType::I32},
       .inputs = {values({5}, {1.9, -1.9, 0.0, 100.5, -0.2})},
       .expected = {{1, -1, 0, 100, 0}}});
  add({.op = "cast",
       .name = "to_bool",
       .attrs = CastAttrs{DType::Bool},
       .inputs = {values({4}, {1.5, 0.0, -2.0, 1e-30})},
       .expected = {{1, 0, 1, 1}}});
  add({.op = "cast",
       .name = "from_i64",
       .attrs = CastAttrs{DType::F32},
       .inputs = {integers({2, 3, 2, 5}, 50)}});
  add({.op = "cast", .name = "from_bool", .attrs = CastAttrs{DType::F32}, .inputs = {bools({7, 3})}});
  add({.op = "cast", .name = "to_u8", .attrs = CastAttrs{DType::U8}, .inputs = {integers({11}, 200)}});
  add({.op = "cast",
       .name = "to_bf16",
       .attrs = CastAttrs{DType::BF16},
       .inputs = {values({3}, {1.0 + 1.0 / 512, 1.0 + 3.0 / 256, -3.14159})},
       .expected = {{1.0, 1.015625, -3.140625}},
       .tolerance = 1e-2,
       .gradient = false});
  add({.op = "cast",
       .name = "empty",
       .attrs = CastAttrs{DType::I64},
       .inputs = {uniform({0, 2})},
       .shapes = {{0, 2}}});

  ScalarExpr tape({DType::F32, DType::F32, DType::Bool});
  const auto half = tape.emit_const(0.5, DType::F32);
  const auto product = tape.emit(ScalarOp::Mul, {0, half});
  const auto total = tape.emit(ScalarOp::Add, {product, 1});
  const auto chosen = tape.emit(ScalarOp::Where, {2, tape.emit(ScalarOp::Tanh, {total}), total});
  tape.add_output(chosen);
  tape.add_output(tape.emit_cast(total, DType::I32));
  add({.op = "fused",
       .name = "mixed",
       .attrs = FusedAttrs{tape},
       .inputs = {uniform({2, 3, 4, 5}), uniform({3, 1, 1}), bools({1, 5})},
       .shapes = {{2, 3, 4, 5}, {2, 3, 4, 5}}});
  add({.op = "fused",
       .name = "empty",
       .attrs = FusedAttrs{tape},
       .inputs = {uniform({2, 0}), uniform({1}), bools({})},
       .shapes = {{2, 0}, {2, 0}}});
  add_error({.op = "fused",
             .name = "dtype",
             .attrs = FusedAttrs{tape},
             .inputs = {f32({2}), i64({2}), boolean({2})},
             .message = "operand 1 must be f32"});
  add_error({.op = "fused",
             .name = "count",
             .attrs = FusedAttrs{tape},
             .inputs = {f32({2})},
             .message = "reads 3 operands"});
}
