// Constants and counters: launches of the kernels in fill.cu.
//
// Pointers are aligned to their element; 16 bytes are written at a time where the pointer allows it.
//
//   fill(element_bits(DType::F16, 0.5), 2, y, n, stream);
//   iota(DType::I64, y, n, stream);                        // 0, 1, ..., n - 1
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// The bits of `value` rounded to the dtype, in the lowest bytes.
std::uint64_t element_bits(DType dtype, double value);

// n elements of 1, 2, 4 or 8 bytes (`element`) become `bits`.
void fill(std::uint64_t bits, std::size_t element, void* y, std::int64_t n, const Stream& stream);

// y[i] = i, rounded to the dtype; u8 counts modulo 256. Throws UsageError for bool.
void iota(DType dtype, void* y, std::int64_t n, const Stream& stream);

}  // namespace ingot::cuda
