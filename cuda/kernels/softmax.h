// Softmax and log-softmax along one axis, and their gradients: launches of the kernels in softmax.cu.
//
// The tensor is seen as [outer, length, inner], the axis in the middle; rows that lie in one piece have inner
// 1. Elements are f32, f16 or bf16, computed in f32. Results may be written over operands. Pointers are
// aligned to their element; rows that lie in one piece are read 16 bytes at a time where length and pointers
// allow it.
//
//   softmax(SoftmaxKind::Log, DType::F32, x, y, {.outer = 64, .length = 1000}, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

enum class SoftmaxKind : std::uint8_t { Plain, Log };

struct SoftmaxShape {
  std::int64_t outer = 1;
  int length = 1;
  std::int64_t inner = 1;
};

// y = exp(x - max) / sum exp(x - max), or its logarithm. Throws UsageError for another dtype.
void softmax(SoftmaxKind kind, DType dtype, const void* x, void* y, const SoftmaxShape& shape,
             const Stream& stream);

// From y and its gradient: dx = y (dy - sum dy y), or dx = dy - exp(y) sum dy.
void softmax_grad(SoftmaxKind kind, DType dtype, const void* dy, const void* y, void* dx,
                  const SoftmaxShape& shape, const Stream& stream);

}  // namespace ingot::cuda
