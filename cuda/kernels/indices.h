// Index tensors as kernels see them: i32 or i64, and which of them name a row. For .cu files.
//
//   const long long row = rows.at(k);      // 0 .. dim - 1, or -1: names no row
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "cuda/base/kernel.h"

namespace ingot::gpu {

struct Rows {
  const void* data = nullptr;
  long long dim = 0;
  long long skip = -1;    // a row that counts as none
  bool wide = false;      // i64
  bool negative = false;  // negative indices count from the end

  __device__ long long at(long long k) const {
    long long i = wide ? static_cast<const long long*>(data)[k]
                       : static_cast<long long>(static_cast<const int*>(data)[k]);
    if (negative && i < 0) i += dim;
    return i < 0 || i >= dim || i == skip ? -1 : i;
  }
};

inline Rows rows_of(const void* data, DType dtype, std::int64_t dim, bool negative, std::int64_t skip = -1) {
  if (dtype != DType::I32 && dtype != DType::I64)
    throw UsageError(cat("indices on a GPU are i32 or i64, got ", name(dtype)));
  return {data, dim, skip, dtype == DType::I64, negative};
}

}  // namespace ingot::gpu
