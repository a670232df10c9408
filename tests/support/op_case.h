// OpCase: one op on one set of operands, written once, from which every check of the op follows.
//
// tests/ops/test_op_cases.cpp runs each case: inferred types against `shapes`, the reference in f32 against
// f64 and against `expected`, the gradient rule against central differences in f64, the text round trip, and
// the compiled program in each layout against the reference. Its registry test fails for an op without a
// case. Cases live beside the family's other tests, in tests/ops/cases_<family>.cpp; they are collected on
// first use.
//
//   INGOT_OP_CASES(pad) {
//     add({.op = "pad",
//          .name = "both_sides",
//          .attrs = PadAttrs{{1, 0}, {0, 2}, 0.5},
//          .inputs = {uniform({2, 3})},
//          .shapes = {{3, 5}}});
//     add_error({.op = "pad", .name = "rank", .attrs = PadAttrs{{1}, {1}}, .inputs = {f32({2, 3})},
//                .message = "2 axes"});
//   }
//
// Operand makers (members of OpCaseSuite, so no `using` is needed): uniform(shape, lo, hi), positive(shape),
// integers(shape, n), bools(shape), distinct(shape), values(shape, {...}), scalar(v); each yields f32 unless
// told otherwise and may be refined: `uniform({4}).as(DType::F64).no_gradient()`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/attrs.h"
#include "core/ir/tensor.h"
#include "core/ir/type.h"

namespace ingot::test {

struct InputSpec {
  enum class Domain : std::uint8_t {
    Uniform,   // [lo, hi)
    Integers,  // 0 .. hi - 1
    Distinct,  // evenly spaced over [lo, hi), shuffled: no two equal, across the operands of a case too
    Values,    // as listed, repeated when there are fewer than elements
  };
  TensorType type;
  Domain domain = Domain::Uniform;
  double lo = -2.0, hi = 2.0;
  std::vector<double> values;
  bool differentiate = true;  // operands that are not floating never are

  InputSpec as(DType dtype) const {
    InputSpec s = *this;
    s.type.dtype = dtype;
    return s;
  }
  // The gradient is not asked for.
  InputSpec no_gradient() const {
    InputSpec s = *this;
    s.differentiate = false;
    return s;
  }
};

struct OpCase {
  std::string op;
  std::string name;  // unique per op; letters, digits and '_'
  Attrs attrs = {};  // empty: the op's defaults
  std::vector<InputSpec> inputs = {};

  // What is known beforehand; empty lists are not checked. `expected` holds the elements of each output in
  // row-major order, e.g. from PyTorch; an empty entry skips that output.
  std::vector<Shape> shapes = {};
  std::vector<std::vector<double>> expected = {};

  // |a - b| <= tolerance * (1 + |b|), for f32 against f64, for `expected`, and for the compiled program.
  double tolerance = 1e-5;
  // Results other than the first that sum so many values which a kernel may round to 16 bits before: they may
  // be off by each value's rounding.
  int rounded_terms = 0;
  double grad_tolerance = 1e-6;  // f64 rule against f64 differences
  // No floating operand that is differentiated comes closer to one of these than 0.01.
  std::vector<double> kinks = {};
  // False only where the op has a rule that this case cannot show (e.g. a piecewise constant function).
  bool gradient = true;
  // The outputs that make up the loss of the gradient check; others are auxiliary (saved statistics, masks).
  std::vector<int> loss_outputs = {0};
  // Outputs may have the same value in each element (full, a scalar result, ...).
  bool constant = false;
  // Elements the op leaves open, e.g. padded rows: (output, element) -> true when not compared. Such elements
  // get no weight in the loss either.
  std::function<bool(int output, std::int64_t element)> unspecified = {};
};

// A call that must be refused: `message` is a part of what the error says.
struct OpErrorCase {
  std::string op;
  std::string name;
  Attrs attrs = {};
  std::vector<TensorType> inputs = {};
  std::string message = {};
};

class OpCaseSuite {
 public:
  virtual ~OpCaseSuite() = default;
  virtual void define() = 0;

  std::vector<OpCase> cases;
  std::vector<OpErrorCase> errors;

 protected:
  void add(OpCase c) { cases.push_back(std::move(c)); }
  void add_error(OpErrorCase c) { errors.push_back(std::move(c)); }

  static InputSpec uniform(const Shape& shape, double lo = -2.0, double hi = 2.0);
  static InputSpec positive(const Shape& shape, double lo = 0.25, double hi = 2.5);
  static InputSpec integers(const Shape& shape, std::int64_t n, DType dtype = DType::I64);
  static InputSpec bools(const Shape& shape);
  static InputSpec distinct(const Shape& shape, double lo = -2.0, double hi = 2.0);
  static InputSpec values(const Shape& shape, std::vector<double> v, DType dtype = DType::F32);
  static InputSpec scalar(double v, DType dtype = DType::F32);
  // A generator state, as the random ops read it.
  static InputSpec rng(std::int64_t seed = 7, std::int64_t offset = 3);
  // Types for add_error.
  static TensorType f32(const Shape& shape) { return {DType::F32, shape}; }
  static TensorType i64(const Shape& shape) { return {DType::I64, shape}; }
  static TensorType i32(const Shape& shape) { return {DType::I32, shape}; }
  static TensorType boolean(const Shape& shape) { return {DType::Bool, shape}; }
};

// All cases of all suites linked into this program.
const std::vector<OpCase>& op_cases();
const std::vector<OpErrorCase>& op_error_cases();

// The operands of a case, row-major; the same in every run.
std::vector<Tensor> make_inputs(const OpCase& c);

using MakeSuite = OpCaseSuite* (*)();
bool register_op_cases(MakeSuite make);

}  // namespace ingot::test

// Opens the body of a suite; write `add({...});` inside. One per family and file.
#define INGOT_OP_CASES(family)                                                                 \
  namespace {                                                                                  \
  struct OpCases_##family final : ::ingot::test::OpCaseSuite {                                 \
    void define() override;                                                                    \
  };                                                                                           \
  [[maybe_unused]] const bool op_cases_registered_##family = ::ingot::test::register_op_cases( \
      +[]() -> ::ingot::test::OpCaseSuite* { return new OpCases_##family; });                  \
  }                                                                                            \
  void OpCases_##family::define()
