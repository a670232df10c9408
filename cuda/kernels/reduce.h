// Sum, mean, maximum and minimum along one axis: launches of the kernels in reduce.cu.
//
// The tensor is seen as [outer, length, inner] and the axis in the middle goes. Elements are f32, f16 or
// bf16, whose sums run in f32, f64 in f64, or i32, i64 and u8 in i64, in an order that depends on the shape
// alone. NaN wins over every maximum and minimum.
//
//   const ReduceShape s{.outer = 1, .length = 32 * 56 * 56, .inner = 64};      // a bias gradient,
//   channels-last reduce(ReduceKind::Sum, DType::F32, x, y, s, workspace, stream);           //
//   reduce_workspace(s) bytes
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

enum class ReduceKind : std::uint8_t { Sum, Mean, Max, Min };

struct ReduceShape {
  std::int64_t outer = 1;
  std::int64_t length = 1;
  std::int64_t inner = 1;
};

// Bytes of device memory, aligned to 16, that reduce() uses while it runs; 0 for most shapes.
std::size_t reduce_workspace(const ReduceShape& shape, DType dtype = DType::F32);

// Throws UsageError for bool, for the mean of integers, and for the maximum or minimum of nothing (length 0).
void reduce(ReduceKind kind, DType dtype, const void* x, void* y, const ReduceShape& shape, void* workspace,
            const Stream& stream);

}  // namespace ingot::cuda
