// Element types.
//
// Every tensor element in Ingot is one of these. Sizes are fixed; `Bool` is one byte holding 0 or 1.
//
//   DType d = parse_dtype("f32");      // F32
//   size_of(d);                        // 4
//   name(DType::BF16);                 // "bf16"
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ingot {

enum class DType : std::uint8_t { F32, F64, F16, BF16, I32, I64, U8, Bool };

// Bytes of one element.
std::size_t size_of(DType dtype);

// Short lower-case name: "f32", "f64", "f16", "bf16", "i32", "i64", "u8", "bool".
std::string_view name(DType dtype);

// The inverse of name(); throws UsageError that lists the legal names.
DType parse_dtype(std::string_view text);

bool is_floating(DType dtype);
bool is_integer(DType dtype);  // I32, I64, U8 (not Bool)

}  // namespace ingot
