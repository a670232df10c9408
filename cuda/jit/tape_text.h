// A ScalarExpr as CUDA C++: one device function on elements, one line per instruction.
//
// Storage rules are the CPU tape's (cpu/tape.h): f16 and bf16 are computed in float and rounded where they
// are stored or cast to, bool and u8 are bytes, everything else is itself. Parameters are elements as memory
// holds them, results are written through references, so the caller only moves elements. The function needs
// core/expr/scalar_ops.h and cuda/jit/element.h.
//
//   tape_function(e, "tape")
//     // __device__ static inline void tape(const float x0, const bf16_bits x1, bf16_bits& y0) { ... }
#pragma once

#include <string>
#include <string_view>

#include "core/expr/scalar_expr.h"

namespace ingot::cuda {

// What memory holds: "float", "f16_bits", "u8", ...
std::string_view element_type(DType dtype);
// What a register of the tape holds: "float" for the half types too.
std::string_view register_type(DType dtype);

// `value` in the register type of `dtype`, rounded to `dtype` first; every bit of it.
std::string literal(double value, DType dtype);

std::string tape_function(const ScalarExpr& expr, std::string_view name);

// The tape's functions in order, fit for a C name: "add_relu". At most 48 characters.
std::string tape_name(const ScalarExpr& expr);

}  // namespace ingot::cuda
