// Batch normalisation of channels-last images, its gradient, and its inference form: launches of the kernels
// in batch_norm.cu. What they compute is defined in core/ops/norm.h.
//
// An image tensor is [rows, pixels, channels] in memory, the channels innermost; rows is the batch. Images
// are f32, f16 or bf16; gamma, beta and all statistics are [channels] and f32 or of the images' type.
// Arithmetic is f32; statistics are exact to rounding whatever the mean. Pointers are aligned to their
// element; images are read 16 bytes at a time where all of them are aligned to 16, also for numbers of
// channels that are no multiple of a vector. Results depend on the shape and the alignment alone.
//
// y may lie over x or the residual, dresidual over dy or dy2, dx over x, dy or dy2 (not where dresidual
// does), and new running statistics over the old ones.
//
//   const BatchNormShape s{.rows = 128, .pixels = 32 * 32, .channels = 16};
//   batch_norm({.dtype = DType::BF16, .clip = Clip::relu()}, s, operands, workspace, stream);
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct BatchNormShape {
  std::int64_t rows = 1, pixels = 1, channels = 1;
};

// What results of batch norm are cut to: {} nothing, relu() or up_to(6).
struct Clip {
  static constexpr float kNone = std::numeric_limits<float>::infinity();
  float least = -kNone, most = kNone;
  static constexpr Clip up_to(float most) { return {0.0f, most}; }
  static constexpr Clip relu() { return up_to(kNone); }
  constexpr bool masks() const { return least == 0.0f; }
};

struct BatchNormConfig {
  DType dtype = DType::F32;   // of images
  DType params = DType::F32;  // of gamma, beta and statistics
  double eps = 1e-5, momentum = 0.1;
  Clip clip{};
};

// What is optional may be null.
struct BatchNormOperands {
  const void* x = nullptr;
  const void *gamma = nullptr, *beta = nullptr, *running_mean = nullptr, *running_var = nullptr;
  const std::int32_t* valid_rows = nullptr;  // optional, on the device: how many rows count
  const void* residual = nullptr;            // optional
  void* y = nullptr;                         // 0 in the rows that do not count
  void *save_mean = nullptr, *save_rstd = nullptr, *new_running_mean = nullptr, *new_running_var = nullptr;
};

// A clip in the config says that dy + dy2 is masked by y > 0 and y < most.
struct BatchNormGradOperands {
  const void *dy = nullptr, *x = nullptr;
  const void *gamma = nullptr, *save_mean = nullptr, *save_rstd = nullptr;
  const std::int32_t* valid_rows = nullptr;  // optional
  const void *y = nullptr, *beta = nullptr;  // with a clip one of them: with beta, the mask is found from x
  const void* dy2 = nullptr;                 // optional: added to dy
  void *dx = nullptr, *dgamma = nullptr, *dbeta = nullptr;
  void* dresidual = nullptr;  // optional: the masked dy + dy2
};

struct BatchNormInferOperands {
  const void *x = nullptr, *gamma = nullptr, *beta = nullptr, *mean = nullptr;
  const void *var = nullptr, *rstd = nullptr;  // one of the two; eps counts for the variance alone
  const std::int32_t* valid_rows = nullptr;    // optional
  const void* residual = nullptr;              // optional
  void* y = nullptr;
};

// Bytes of device memory, aligned to 16, that batch_norm and batch_norm_grad use while they run: partial sums
// and one table per channel. 0 for images small enough to be held in registers; two gradients in half
// precision are not, since their sum is f32.
std::size_t batch_norm_workspace(DType dtype, const BatchNormShape& shape, bool two_gradients = false);

// One launch for small images, three for others. All throw UsageError for another dtype, and ShapeError for
// more channels than an int counts.
void batch_norm(const BatchNormConfig& config, const BatchNormShape& shape, const BatchNormOperands& operands,
                void* workspace, const Stream& stream);
void batch_norm_grad(const BatchNormConfig& config, const BatchNormShape& shape,
                     const BatchNormGradOperands& operands, void* workspace, const Stream& stream);
// In two halves around a convolution that makes the sums, or their operand. All of params' type but the sums
// of batch_norm_statistics, which are f32. One launch, no workspace:
//   batch_norm_statistics  what batch_norm does with the statistics, from the sums of x and x^2 (0 in rows
//                          that do not count); of the operands those named after mean, rstd, running and rows
//   batch_norm_grad_apply  dx from dy (masked already), x and from dgamma and dbeta, which it reads
// Two launches; the workspace is batch_norm_sums_workspace bytes:
//   batch_norm_grad_sums   dgamma, dbeta and dresidual. gamma is read for a mask from x alone; a mean that is
//                          null is 0, an rstd that is null is 1: dy = x = y gives the sums of y^2 and y
void batch_norm_statistics(const BatchNormConfig& config, const BatchNormShape& shape, const void* sum,
                           const void* squares, const BatchNormOperands& operands, const Stream& stream);
void batch_norm_grad_apply(const BatchNormConfig& config, const BatchNormShape& shape,
                           const BatchNormGradOperands& operands, const Stream& stream);
std::size_t batch_norm_sums_workspace(DType dtype, const BatchNormShape& shape);
void batch_norm_grad_sums(const BatchNormConfig& config, const BatchNormShape& shape,
                          const BatchNormGradOperands& operands, void* workspace, const Stream& stream);
// Both at once, of the same gradient: the second's x, gamma, mean, rstd, dgamma, dbeta and dx.
void batch_norm_grad_apply_two(const BatchNormConfig& config, const BatchNormShape& shape,
                               const BatchNormGradOperands& first, const BatchNormGradOperands& second,
                               const Stream& stream);
// The sum of two, of which the first has valid_rows and y: x, gamma, beta, mean and rstd.
void batch_norm_infer_two(const BatchNormConfig& config, const BatchNormShape& shape,
                          const BatchNormInferOperands& first, const BatchNormInferOperands& second,
                          const Stream& stream);
// One launch, no workspace.
void batch_norm_infer(const BatchNormConfig& config, const BatchNormShape& shape,
                      const BatchNormInferOperands& operands, const Stream& stream);

}  // namespace ingot::cuda
