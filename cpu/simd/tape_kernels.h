// The tape's kernels: one function per (scalar function, element type) over contiguous blocks.
//
// A register of the tape is a block of elements in its storage type: f32, f16 and bf16 values as float, bool
// as 0/1 bytes, everything else as itself. An operand may be the very memory of the result, never a shifted
// part of it.
//
//   const TapeKernels& k = tape_kernels(cpu_level());
//   k.op(ScalarOp::Add, Storage::F32)(out, a, b, nullptr, n);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "core/expr/scalar_expr.h"
#include "cpu/simd/level.h"

namespace ingot::cpu {

enum class Storage : std::uint8_t { F32, F64, I32, I64, U8 };
constexpr int kStorages = 5;
constexpr int kScalarOps = static_cast<int>(ScalarOp::Cast);

constexpr Storage storage_of(DType d) {
  switch (d) {
    case DType::F64:
      return Storage::F64;
    case DType::I32:
      return Storage::I32;
    case DType::I64:
      return Storage::I64;
    case DType::U8:
    case DType::Bool:
      return Storage::U8;
    default:
      return Storage::F32;
  }
}
constexpr std::size_t size_of(Storage s) {
  return s == Storage::U8 ? 1 : s == Storage::F64 || s == Storage::I64 ? 8 : 4;
}

using TapeKernel = void (*)(void* out, const void* a, const void* b, const void* c, std::int64_t n);

struct TapeKernels {
  // By storage of the (last) operand; null where the function is not defined for it.
  TapeKernel ops[kScalarOps][kStorages];
  TapeKernel casts[kStorages][kStorages];  // [from][to]
  TapeKernel to_bool[kStorages];
  TapeKernel load_bf16, load_f16, store_bf16, store_f16;  // to and from float
  TapeKernel round_bf16, round_f16;                       // float to float

  TapeKernel op(ScalarOp o, Storage s) const { return ops[static_cast<int>(o)][static_cast<int>(s)]; }
};

const TapeKernels& tape_kernels(CpuLevel level);

}  // namespace ingot::cpu
