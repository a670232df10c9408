// Vector kernels of the structured ops: periodic sums and maps (normalisation, column sums), rows
// (reductions, softmax), optimiser updates, random bits. All are serial and work on f32, batch norm on bf16
// too; threads are the callers' matter.
//
// "Periodic" kernels see n contiguous floats whose position e belongs to column e % period, as channels-last
// memory does. Tables hold one entry per column. Sums are kept in float over short runs and in double beyond.
//
//   const RowKernels& k = row_kernels(cpu_level());
//   double s = k.sum(x, n);
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/simd/level.h"

namespace ingot::cpu {

struct SgdArgs {
  float lr, grad_scale, weight_decay, momentum, dampening;  // dampening is 0 in the first step
  bool nesterov;
  bool first;  // the buffer's content is the gradient itself
};
struct AdamArgs {
  float grad_scale, weight_decay, shrink;  // shrink: factor of p before the step (decoupled decay), else 1
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size, inv_sqrt_correction2, eps;  // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};
struct RmspropArgs {
  float lr, grad_scale, weight_decay, alpha, one_minus_alpha, eps, momentum;
};

// What scale_shift does to its sums: those below `least` become it, and those from `most` on become it, or 0
// where they are only to tell where a gradient passes (positive).
struct Cut {
  float least = -std::numeric_limits<float>::infinity(), most = std::numeric_limits<float>::infinity();
  bool to_zero = false;  // without a residual
};

// Batch norm, periodic, over images of one element type; sums and tables are as everywhere. `scratch` holds 2
// * period floats.
struct NormKernels {
  // sum[j] += x, sq[j] += (x - shift[j])^2 with x - shift[j] in both.
  void (*stats)(const void* x, std::int64_t n, std::int64_t period, const float* shift, double* sum,
                double* sq, float* scratch);
  // y = x a[j] + b[j] (+ residual), then as `cut` says. residual may be null; y may be x or residual.
  void (*scale_shift)(const void* x, const void* residual, void* y, std::int64_t n, std::int64_t period,
                      const float* a, const float* b, const Cut& cut);
  // u = dy + dy2, or 0 where y <= 0; dy2 or y may be null. u may be dy or dy2.
  void (*masked_sum)(const void* dy, const void* dy2, const void* y, void* u, std::int64_t n);
  // With g = dy, or 0 where y <= 0 when y is not null: sum[j] += g, dot[j] += g (x - mean[j]).
  void (*grad_stats)(const void* dy, const void* y, const void* x, std::int64_t n, std::int64_t period,
                     const float* mean, double* sum, double* dot, float* scratch);
  // dx = k1[j] g - k2[j] (x - mean[j]) - k3[j]. dx may be dy or x.
  void (*grad_apply)(const void* dy, const void* y, const void* x, void* dx, std::int64_t n,
                     std::int64_t period, const float* mean, const float* k1, const float* k2,
                     const float* k3);

  // Half precision only: the same of g = dy + dy2, or 0 where y <= 0, which is never rounded; y may be null.
  void (*grad_stats_two)(const void* dy, const void* dy2, const void* y, const void* x, std::int64_t n,
                         std::int64_t period, const float* mean, double* sum, double* dot, float* scratch);
  // u = g, rounded, where u is not null; u and dx may be dy or dy2.
  void (*grad_apply_two)(const void* dy, const void* dy2, const void* y, const void* x, void* dx, void* u,
                         std::int64_t n, std::int64_t period, const float* mean, const float* k1,
                         const float* k2, const float* k3);
};

struct RowKernels {
  NormKernels norm_f32;
  NormKernels norm_bf16;  // null below AVX-512: no older processor computes in bf16

  // --- periodic; `scratch` holds 2 * period floats
  // -----------------------------------------------------------
  // sum[j] += x.
  void (*column_sums)(const float* x, std::int64_t n, std::int64_t period, double* sum, float* scratch);
  // acc[j] = max or min of acc[j] and x; NaN wins.
  void (*column_max)(const float* x, std::int64_t n, std::int64_t period, float* acc);
  void (*column_min)(const float* x, std::int64_t n, std::int64_t period, float* acc);

  // --- rows
  // --------------------------------------------------------------------------------------------------
  double (*sum)(const float* x, std::int64_t n);
  double (*sum_squares)(const float* x, std::int64_t n, float shift);  // of x - shift
  double (*dot)(const float* x, const float* y, std::int64_t n);
  float (*max)(const float* x, std::int64_t n);  // n > 0; NaN wins
  float (*min)(const float* x, std::int64_t n);
  std::int64_t (*argmax)(const float* x, std::int64_t n);  // the first; the first NaN wins
  // y = exp(x - shift), returns the sum; y may be x.
  double (*exp_sum)(const float* x, std::int64_t n, float shift, float* y);
  double (*exp_sum_only)(const float* x, std::int64_t n, float shift);
  // y = x * a + b.
  void (*affine)(const float* x, std::int64_t n, float a, float b, float* y);
  // y = a exp(x - shift).
  void (*scaled_exp)(const float* x, std::int64_t n, float shift, float a, float* y);
  // dx = y (dy - s) and dx = dy - exp(y) s.
  void (*softmax_grad)(const float* dy, const float* y, std::int64_t n, float s, float* dx);
  void (*log_softmax_grad)(const float* dy, const float* y, std::int64_t n, float s, float* dx);
  // y = (x - mean) rstd gamma + beta.
  void (*layer_norm)(const float* x, std::int64_t n, float mean, float rstd, const float* gamma,
                     const float* beta, float* y);
  // Over one row: a = sum dy gamma, b = sum dy gamma xhat; dgamma += dy xhat, dbeta += dy.
  void (*layer_norm_grad_stats)(const float* dy, const float* x, std::int64_t n, float mean, float rstd,
                                const float* gamma, float* dgamma, float* dbeta, double* a, double* b);
  // dx = rstd (dy gamma - a - xhat b).
  void (*layer_norm_grad_apply)(const float* dy, const float* x, std::int64_t n, float mean, float rstd,
                                const float* gamma, float a, float b, float* dx);

  // --- updates; results may be the operands' memory, m and buffers null when not used
  // -------------------------
  void (*sgd)(const SgdArgs& args, const float* p, const float* g, const float* m, float* p_out, float* m_out,
              std::int64_t n);
  void (*adam)(const AdamArgs& args, const float* p, const float* g, const float* m, const float* v,
               float* p_out, float* m_out, float* v_out, std::int64_t n);
  void (*rmsprop)(const RmspropArgs& args, const float* p, const float* g, const float* sq, const float* buf,
                  float* p_out, float* sq_out, float* buf_out, std::int64_t n);

  // --- random: out[4 i + lane] for counters first + i, i < blocks
  // -----------------------------------------------
  void (*philox)(std::uint64_t key, std::uint64_t counter_hi, std::uint64_t first, std::int64_t blocks,
                 std::uint32_t* out);
  // keep = u >= p; y = keep ? x * scale : 0.
  void (*dropout)(const std::uint32_t* bits, const float* x, std::int64_t n, float p, float scale, float* y,
                  std::uint8_t* keep);
};

const RowKernels& row_kernels(CpuLevel level);

}  // namespace ingot::cpu
