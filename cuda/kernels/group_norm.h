// Normalisation of channels-last images over groups of channels, and its gradient: launches of the kernels in
// group_norm.cu. What they compute is defined in core/ops/group_norm.h.
//
// An image tensor is [images, pixels, channels] in memory; it is f32, f16 or bf16. gamma and beta are
// [channels], mean and rstd [images, groups], f32 or of the images' type. Arithmetic is f32; statistics are
// exact to rounding whatever the mean. Pointers are aligned to their element; images are read 16 bytes at a
// time where the channels of a group and all pointers allow it. y may lie over x, dx over dy or x. Results
// depend on the shape and the alignment alone.
//
//   group_norm({.dtype = DType::BF16}, {.images = 32, .pixels = 3136, .channels = 256, .groups = 32}, o,
//   stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct GroupNormShape {
  std::int64_t images = 1, pixels = 1, channels = 1, groups = 1;
};

struct GroupNormConfig {
  DType dtype = DType::F32;   // of x, y and their gradients
  DType params = DType::F32;  // of gamma, beta and statistics
  double eps = 1e-5;
};

struct GroupNormOperands {
  const void *x = nullptr, *gamma = nullptr, *beta = nullptr;
  void *y = nullptr, *mean = nullptr, *rstd = nullptr;
};

struct GroupNormGradOperands {
  const void *dy = nullptr, *x = nullptr, *gamma = nullptr, *mean = nullptr, *rstd = nullptr;
  void *dx = nullptr, *dgamma = nullptr, *dbeta = nullptr;
};

// One launch. Both throw UsageError for another dtype, and ShapeError for more than 2^30 elements of a group.
void group_norm(const GroupNormConfig& config, const GroupNormShape& shape, const GroupNormOperands& operands,
                const Stream& stream);

// Bytes of device memory, aligned to 16, that group_norm_grad uses while it runs: each image's sums per
// channel.
std::size_t group_norm_grad_workspace(const GroupNormShape& shape);
// Two launches.
void group_norm_grad(const GroupNormConfig& config, const GroupNormShape& shape,
                     const GroupNormGradOperands& operands, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
