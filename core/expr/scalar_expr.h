// ScalarExpr: an elementwise program as a flat tape.
//
// Register r < num_inputs() is operand r of the node; register num_inputs() + i is the result of instruction
// i. Every instruction reads registers before its own, so the order is a schedule. Operands broadcast against
// the node's output shape by NumPy's rules; how they are strided is decided where the tape is compiled, from
// the operands' types. All outputs have the same shape.
//
//   ScalarExpr e({DType::F32, DType::F32});           // two inputs
//   auto sum = e.emit(ScalarOp::Add, {0, 1});
//   e.add_output(e.emit(ScalarOp::Relu, {sum}));      // relu(a + b)
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/dtype.h"

namespace ingot {

enum class ScalarOp : std::uint8_t {
#define INGOT_SCALAR(Enum, name, arity, kind) Enum,
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
  Cast,   // converts its operand to the instruction's dtype
  Const,  // the immediate, in the instruction's dtype
  None,   // not a scalar function
};

enum class ScalarKind : std::uint8_t { Numeric, Float, Compare, Predicate, Logic, Select, Special };

struct ScalarOpInfo {
  ScalarOp op;
  std::string_view name;
  int arity;
  ScalarKind kind;
};

// The rows of scalar_ops.def, in order (Cast and Const are not among them).
std::span<const ScalarOpInfo> scalar_op_table();
const ScalarOpInfo& info(ScalarOp op);
// None when there is no such function.
ScalarOp find_scalar_op(std::string_view name);
// Result dtype; throws ShapeError that names the function and what it expects.
DType scalar_result(ScalarOp op, std::span<const DType> operands);

class ScalarExpr {
 public:
  using Reg = std::uint16_t;
  struct Instr {
    ScalarOp op = ScalarOp::None;
    DType dtype = DType::F32;   // of the result
    std::array<Reg, 3> args{};  // the first arity(op) count
    double imm = 0.0;           // Const only
    friend bool operator==(const Instr&, const Instr&) = default;
  };

  ScalarExpr() = default;
  explicit ScalarExpr(std::vector<DType> inputs) : inputs_(std::move(inputs)) {}

  Reg add_input(DType dtype);  // only before the first instruction
  Reg emit(ScalarOp op, std::span<const Reg> args);
  Reg emit(ScalarOp op, std::initializer_list<Reg> args) {
    return emit(op, std::span<const Reg>(args.begin(), args.size()));
  }
  Reg emit_cast(Reg arg, DType to);
  Reg emit_const(double value, DType dtype);
  void add_output(Reg r) { outputs_.push_back(r); }

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  const std::vector<DType>& inputs() const { return inputs_; }
  const std::vector<Instr>& instrs() const { return instrs_; }
  const std::vector<Reg>& outputs() const { return outputs_; }
  DType dtype(Reg r) const;
  int arity(const Instr& i) const;

  friend bool operator==(const ScalarExpr&, const ScalarExpr&) = default;

 private:
  std::vector<DType> inputs_;
  std::vector<Instr> instrs_;
  std::vector<Reg> outputs_;
};

// One line: "f32,f32;%2=add(%0,%1);%3=relu(%2)->%3". parse_scalar_expr reads it back; throws FormatError.
std::string to_string(const ScalarExpr& e);
ScalarExpr parse_scalar_expr(std::string_view text);

// Evaluates the tape for one element in double (integers up to 2^53 are exact). For references and constant
// folding.
void evaluate(const ScalarExpr& e, std::span<const double> inputs, std::span<double> outputs);
// One function on doubles; bool is 0 or 1. Rounds the result to `dtype`.
double evaluate(ScalarOp op, std::span<const double> args, DType dtype);
// `v` as an element of `dtype` holds it.
double round_to(DType dtype, double v);

}  // namespace ingot
