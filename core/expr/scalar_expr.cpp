#include "core/expr/scalar_expr.h"

#include <charconv>
#include <cstdio>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/half.h"
#include "core/expr/scalar_ops.h"

namespace ingot {

namespace {

constexpr ScalarOpInfo kTable[] = {
#define INGOT_SCALAR(Enum, name, arity, kind) {ScalarOp::Enum, #name, arity, ScalarKind::kind},
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
};
constexpr ScalarOpInfo kCast{ScalarOp::Cast, "cast", 1, ScalarKind::Special};
constexpr ScalarOpInfo kConst{ScalarOp::Const, "const", 0, ScalarKind::Special};
constexpr ScalarOpInfo kNone{ScalarOp::None, "none", 0, ScalarKind::Special};

template <int arity, class F>
double call(F f, std::span<const double> a) {
  if constexpr (arity == 1)
    return static_cast<double>(f(a[0]));
  else if constexpr (arity == 2)
    return static_cast<double>(f(a[0], a[1]));
  else
    return static_cast<double>(f(a[0] != 0.0, a[1], a[2]));
}

}  // namespace

std::span<const ScalarOpInfo> scalar_op_table() {
  return kTable;
}

const ScalarOpInfo& info(ScalarOp op) {
  if (op == ScalarOp::Cast) return kCast;
  if (op == ScalarOp::Const) return kConst;
  if (op == ScalarOp::None) return kNone;
  return kTable[static_cast<std::size_t>(op)];
}

ScalarOp find_scalar_op(std::string_view name) {
  static const auto map = [] {
    std::unordered_map<std::string_view, ScalarOp> m;
    for (const auto& r : kTable) m.emplace(r.name, r.op);
    m.emplace(kCast.name, ScalarOp::Cast);
    m.emplace(kConst.name, ScalarOp::Const);
    return m;
  }();
  const auto it = map.find(name);
  return it == map.end() ? ScalarOp::None : it->second;
}

DType scalar_result(ScalarOp op, std::span<const DType> operands) {
  const ScalarOpInfo& i = info(op);
  const auto fail = [&](std::string_view expected) -> ShapeError {
    std::vector<std::string_view> got;
    for (const DType d : operands) got.push_back(name(d));
    return ShapeError(cat(i.name, ": expects ", expected, ", got (", join(got), "); convert with cast()"));
  };
  if (static_cast<int>(operands.size()) != i.arity) throw fail(cat(i.arity, " operands"));
  const bool one_type = operands.size() < 2 || operands[operands.size() - 1] == operands[operands.size() - 2];
  switch (i.kind) {
    case ScalarKind::Numeric:
      if (!one_type || operands[0] == DType::Bool) throw fail("numeric operands of one dtype");
      return operands[0];
    case ScalarKind::Float:
      if (!one_type || !is_floating(operands[0])) throw fail("floating operands of one dtype");
      return operands[0];
    case ScalarKind::Compare:
      if (!one_type) throw fail("two operands of one dtype");
      return DType::Bool;
    case ScalarKind::Predicate:
      if (!is_floating(operands[0])) throw fail("a floating operand");
      return DType::Bool;
    case ScalarKind::Logic:
      for (const DType d : operands)
        if (d != DType::Bool) throw fail("bool operands");
      return DType::Bool;
    case ScalarKind::Select:
      if (operands[0] != DType::Bool || !one_type) throw fail("(bool, T, T)");
      return operands[1];
    case ScalarKind::Special:
      break;
  }
  throw UsageError(cat("'", i.name, "' has no result rule"));
}

ScalarExpr::Reg ScalarExpr::add_input(DType dtype) {
  if (!instrs_.empty()) throw UsageError("a tape takes no input after its first instruction");
  inputs_.push_back(dtype);
  return static_cast<Reg>(inputs_.size() - 1);
}

DType ScalarExpr::dtype(Reg r) const {
  const std::size_t n = inputs_.size();
  return r < n ? inputs_[r] : instrs_[r - n].dtype;
}

int ScalarExpr::arity(const Instr& i) const {
  return info(i.op).arity;
}

ScalarExpr::Reg ScalarExpr::emit(ScalarOp op, std::span<const Reg> args) {
  Instr i;
  i.op = op;
  std::vector<DType> types;
  for (const Reg r : args) {
    if (r >= inputs_.size() + instrs_.size())
      throw UsageError(cat("tape register ", r, " is not defined yet"));
    if (types.size() < 3) i.args[types.size()] = r;
    types.push_back(dtype(r));
  }
  i.dtype = scalar_result(op, types);
  instrs_.push_back(i);
  return static_cast<Reg>(inputs_.size() + instrs_.size() - 1);
}

ScalarExpr::Reg ScalarExpr::emit_cast(Reg arg, DType to) {
  if (arg >= inputs_.size() + instrs_.size())
    throw UsageError(cat("tape register ", arg, " is not defined yet"));
  instrs_.push_back({ScalarOp::Cast, to, {arg, 0, 0}, 0.0});
  return static_cast<Reg>(inputs_.size() + instrs_.size() - 1);
}

ScalarExpr::Reg ScalarExpr::emit_const(double value, DType dtype) {
  instrs_.push_back({ScalarOp::Const, dtype, {}, value});
  return static_cast<Reg>(inputs_.size() + instrs_.size() - 1);
}

std::string to_string(const ScalarExpr& e) {
  std::string s;
  for (std::size_t i = 0; i < e.inputs().size(); ++i) s += cat(i ? "," : "", name(e.inputs()[i]));
  std::size_t r = e.inputs().size();
  for (const auto& i : e.instrs()) {
    s += cat(";%", r++, "=", info(i.op).name);
    if (i.op == ScalarOp::Cast || i.op == ScalarOp::Const) s += cat(".", name(i.dtype));
    s += "(";
    if (i.op == ScalarOp::Const) {
      char number[40];
      std::snprintf(number, sizeof number, "%.17g", i.imm);
      s += number;
    }
    for (int a = 0; a < e.arity(i); ++a) s += cat(a ? "," : "", "%", i.args[static_cast<std::size_t>(a)]);
    s += ")";
  }
  s += "->";
  for (std::size_t i = 0; i < e.outputs().size(); ++i) s += cat(i ? "," : "", "%", e.outputs()[i]);
  return s;
}

ScalarExpr parse_scalar_expr(std::string_view text) {
  const auto fail = [&](std::string_view why) {
    return FormatError(cat("'", text, "' is not a tape: ", why));
  };
  const auto arrow = text.rfind("->");
  if (arrow == std::string_view::npos) throw fail("'->' missing");
  std::string_view head = text.substr(0, arrow), tail = text.substr(arrow + 2);
  const auto next = [](std::string_view& s, char separator) {
    const auto p = s.find(separator);
    const std::string_view item = s.substr(0, p);
    s = p == std::string_view::npos ? std::string_view() : s.substr(p + 1);
    return item;
  };
  const auto reg = [&](std::string_view s) {
    unsigned v = 0;
    if (s.empty() || s[0] != '%') throw fail("expected a register");
    const auto r = std::from_chars(s.data() + 1, s.data() + s.size(), v);
    if (r.ec != std::errc() || r.ptr != s.data() + s.size() || v > 65535) throw fail("bad register");
    return static_cast<ScalarExpr::Reg>(v);
  };
  ScalarExpr e;
  std::string_view inputs = next(head, ';');
  while (!inputs.empty()) e.add_input(parse_dtype(next(inputs, ',')));
  while (!head.empty()) {
    std::string_view item = next(head, ';');
    const auto equal = item.find('='), open = item.find('('), close = item.rfind(')');
    if (equal == std::string_view::npos || open == std::string_view::npos ||
        close == std::string_view::npos || close < open || open < equal)
      throw fail("bad instruction");
    std::string_view fn = item.substr(equal + 1, open - equal - 1),
                     args = item.substr(open + 1, close - open - 1);
    const std::string_view op = next(fn, '.');
    const ScalarOp code = find_scalar_op(op);
    ScalarExpr::Reg made = 0;
    if (code == ScalarOp::None) throw fail(cat("unknown function '", op, "'"));
    if (code == ScalarOp::Const) {
      try {
        made = e.emit_const(std::stod(std::string(args)), parse_dtype(fn));
      } catch (const std::logic_error&) {
        throw fail("bad constant");
      }
    } else if (code == ScalarOp::Cast) {
      made = e.emit_cast(reg(args), parse_dtype(fn));
    } else {
      std::vector<ScalarExpr::Reg> regs;
      while (!args.empty()) regs.push_back(reg(next(args, ',')));
      made = e.emit(code, regs);
    }
    if (reg(item.substr(0, equal)) != made) throw fail("registers are numbered in order");
  }
  while (!tail.empty()) {
    const auto r = reg(next(tail, ','));
    if (r >= e.inputs().size() + e.instrs().size()) throw fail("an output is not defined");
    e.add_output(r);
  }
  return e;
}

double round_to(DType dtype, double v) {
  switch (dtype) {
    case DType::F32:
      return static_cast<double>(static_cast<float>(v));
    case DType::F64:
      return v;
    case DType::F16:
      return static_cast<double>(f16::from(static_cast<float>(v)).to_float());
    case DType::BF16:
      return static_cast<double>(bf16::from(static_cast<float>(v)).to_float());
    case DType::I32:
      return static_cast<double>(static_cast<std::int32_t>(v));
    case DType::I64:
      return static_cast<double>(static_cast<std::int64_t>(v));
    case DType::U8:
      return static_cast<double>(static_cast<std::uint8_t>(static_cast<std::int64_t>(v)));
    case DType::Bool:
      break;
  }
  return v != 0.0 ? 1.0 : 0.0;
}

double evaluate(ScalarOp op, std::span<const double> args, DType dtype) {
  switch (op) {
#define INGOT_SCALAR(Enum, name, arity, kind)                                                \
  case ScalarOp::Enum: {                                                                     \
    if (ScalarOp::Enum == ScalarOp::Div && is_integer(dtype))                                \
      return args[1] == 0.0 ? 0.0 : round_to(dtype, std::trunc(args[0] / args[1]));          \
    return round_to(dtype, call<arity>([](auto... x) { return scalar::name(x...); }, args)); \
  }
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
    case ScalarOp::Cast:
      return round_to(dtype, args[0]);
    case ScalarOp::Const:
    case ScalarOp::None:
      break;
  }
  throw UsageError(cat("'", info(op).name, "' is not a function"));
}

void evaluate(const ScalarExpr& e, std::span<const double> inputs, std::span<double> outputs) {
  std::vector<double> regs(inputs.begin(), inputs.end());
  regs.reserve(inputs.size() + e.instrs().size());
  for (const auto& i : e.instrs()) {
    if (i.op == ScalarOp::Const) {
      regs.push_back(round_to(i.dtype, i.imm));
      continue;
    }
    std::array<double, 3> args{};
    for (int a = 0; a < e.arity(i); ++a)
      args[static_cast<std::size_t>(a)] = regs[i.args[static_cast<std::size_t>(a)]];
    regs.push_back(evaluate(i.op, args, i.dtype));
  }
  for (std::size_t o = 0; o < e.outputs().size(); ++o) outputs[o] = regs[e.outputs()[o]];
}

}  // namespace ingot
