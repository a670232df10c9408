#include "cuda/jit/tape_text.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/base/error.h"
#include "core/base/half_types.h"

namespace ingot::cuda {

namespace {

constexpr std::size_t kLongestName = 48;

// `%a` writes each value in one way, and exactly.
std::string hexadecimal(double v, std::string_view suffix) {
  char text[40];
  std::snprintf(text, sizeof text, "%a", v);
  return cat(text, suffix);
}

std::string narrowed(std::string_view value, DType to) {
  return cat(to == DType::F16 ? "narrow_f16(" : "narrow_bf16(", value, ")");
}

std::string cast_text(std::string_view value, DType from, DType to) {
  const std::string_view target = register_type(to);
  if (to == DType::Bool) return cat(value, " != ", literal(0, from));
  if (is_half(to)) {
    const bool is_float = register_type(from) == "float";
    return cat("widen(", narrowed(is_float ? std::string(value) : cat("static_cast<float>(", value, ")"), to),
               ")");
  }
  // Through 64 bits, so that it wraps as integers do.
  if (to == DType::U8 && is_floating(from))
    return cat("static_cast<u8>(static_cast<long long>(", value, "))");
  return cat("static_cast<", target, ">(", value, ")");
}

}  // namespace

std::string_view element_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "float";
    case DType::F64:
      return "double";
    case DType::F16:
      return "f16_bits";
    case DType::BF16:
      return "bf16_bits";
    case DType::I32:
      return "int";
    case DType::I64:
      return "long long";
    case DType::U8:
    case DType::Bool:
      break;
  }
  return "u8";
}

std::string_view register_type(DType dtype) {
  return is_half(dtype) ? "float" : element_type(dtype);
}

std::string literal(double value, DType dtype) {
  const double v = round_to(dtype, value);
  switch (dtype) {
    case DType::I32: {
      const auto i = static_cast<std::int32_t>(v);
      return i == std::numeric_limits<std::int32_t>::min() ? "(-2147483647 - 1)" : cat(i);
    }
    case DType::I64: {
      const auto i = static_cast<std::int64_t>(v);
      return i == std::numeric_limits<std::int64_t>::min() ? "(-9223372036854775807ll - 1)" : cat(i, "ll");
    }
    case DType::U8:
    case DType::Bool:
      return cat("u8(", static_cast<int>(v), ")");
    case DType::F64:
      if (!std::isfinite(v))
        return cat("__builtin_bit_cast(double, ", std::bit_cast<std::uint64_t>(v), "ull)");
      return hexadecimal(v, "");
    default:
      if (!std::isfinite(v))
        return cat("__builtin_bit_cast(float, ", std::bit_cast<std::uint32_t>(static_cast<float>(v)), "u)");
      return hexadecimal(v, "f");
  }
}

std::string tape_function(const ScalarExpr& e, std::string_view name) {
  std::string s = cat("__device__ static inline void ", name, "(");
  for (int i = 0; i < e.num_inputs(); ++i)
    s += cat(i ? ", " : "", "const ", element_type(e.inputs()[static_cast<std::size_t>(i)]), " x", i);
  for (std::size_t o = 0; o < e.outputs().size(); ++o)
    s += cat(o || e.num_inputs() ? ", " : "", element_type(e.dtype(e.outputs()[o])), "& y", o);
  s += ") {\n";

  for (int i = 0; i < e.num_inputs(); ++i) {
    const DType d = e.inputs()[static_cast<std::size_t>(i)];
    s += cat("  const ", register_type(d), " r", i, " = ");
    s += is_half(d) ? cat("widen(x", i, ");\n") : cat("x", i, ";\n");
  }
  int r = e.num_inputs();
  for (const ScalarExpr::Instr& i : e.instrs()) {
    s += cat("  const ", register_type(i.dtype), " r", r++, " = ");
    if (i.op == ScalarOp::Const) {
      s += literal(i.imm, i.dtype);
    } else if (i.op == ScalarOp::Cast) {
      s += cast_text(cat("r", i.args[0]), e.dtype(i.args[0]), i.dtype);
    } else {
      s += cat("scalar::", info(i.op).name, "(");
      for (int a = 0; a < e.arity(i); ++a) s += cat(a ? ", " : "", "r", i.args[static_cast<std::size_t>(a)]);
      s += ")";
    }
    s += ";\n";
  }
  for (std::size_t o = 0; o < e.outputs().size(); ++o) {
    const ScalarExpr::Reg out = e.outputs()[o];
    const std::string value = cat("r", out);
    s += cat("  y", o, " = ", is_half(e.dtype(out)) ? narrowed(value, e.dtype(out)) : value, ";\n");
  }
  return s + "}\n";
}

std::string tape_name(const ScalarExpr& e) {
  std::string s;
  for (const ScalarExpr::Instr& i : e.instrs()) {
    if (i.op == ScalarOp::Const) continue;
    const std::string_view word = info(i.op).name;
    if (s.size() + 1 + word.size() > kLongestName) break;
    s += cat(s.empty() ? "" : "_", word);
  }
  return s.empty() ? "copy" : s;
}

}  // namespace ingot::cuda
