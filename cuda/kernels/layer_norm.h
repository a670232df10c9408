// Layer normalisation over rows in one piece, and its gradient: launches of the kernels in layer_norm.cu and
// layer_norm_grad.cu. What they compute is defined in core/ops/norm.h.
//
// x is [rows, cells]. It is f32, f16 or bf16; gamma and beta [cells], mean and rstd [rows] are f32 or of x's
// type. Arithmetic is f32; statistics are exact to rounding whatever the mean. Pointers are aligned to their
// element; rows are read 16 bytes at a time where their length and all pointers allow it. y may lie over x,
// dx over dy or x. Results depend on the shape and the alignment alone.
//
//   layer_norm({.dtype = DType::BF16}, {.rows = 4096, .cells = 768}, operands, stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct LayerNormShape {
  std::int64_t rows = 1, cells = 1;
};

struct LayerNormConfig {
  DType dtype = DType::F32;   // of x, y and their gradients
  DType params = DType::F32;  // of gamma, beta and statistics
  double eps = 1e-5;
};

struct LayerNormOperands {
  const void *x = nullptr, *gamma = nullptr, *beta = nullptr;
  void *y = nullptr, *mean = nullptr, *rstd = nullptr;
};

struct LayerNormGradOperands {
  const void *dy = nullptr, *x = nullptr, *gamma = nullptr, *mean = nullptr, *rstd = nullptr;
  void *dx = nullptr, *dgamma = nullptr, *dbeta = nullptr;
};

// One launch. Both throw UsageError for another dtype, and ShapeError for more than 2^30 cells.
void layer_norm(const LayerNormConfig& config, const LayerNormShape& shape, const LayerNormOperands& operands,
                const Stream& stream);

// Bytes of device memory, aligned to 16, that layer_norm_grad uses while it runs: the sums of dgamma and
// dbeta over parts of the rows.
std::size_t layer_norm_grad_workspace(DType dtype, const LayerNormShape& shape);
// Two launches, three for rows that do not fit a block's registers.
void layer_norm_grad(const LayerNormConfig& config, const LayerNormShape& shape,
                     const LayerNormGradOperands& operands, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
