// Matrix products: launches of the kernels in matmul*.cu.
//
//   y[z][M, N] = act(A[z][M, K] B[z][K, N] + bias[N] + residual[z][M, N])
//
// for every entry z of up to eight batch axes, over which A and B may be broadcast. Matrices lie in one
// piece; A is stored [K, M] when transpose_a is set, B [N, K] when transpose_b is. Elements are f32, f16 or
// bf16, summed in f32, in an order that depends on the sizes alone. Pointers are aligned to their element;
// 16-byte accesses and tensor cores' asynchronous copies are used where pointers and inner sizes allow it.
// f16 and bf16 run on tensor cores. f32 does so only with allow_tf32, which rounds operands to 10 bits of
// mantissa.
//
//   const MatmulProblem p{.dtype = DType::BF16, .m = 64, .n = 1000, .k = 512, .transpose_b = true};
//   matmul(p, x, w, y, {.bias = b}, workspace, stream);      // matmul_workspace(p) bytes, aligned to 16
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/epilogue.h"

namespace ingot::cuda {

// One batch axis: entries, and elements from one to the next (0: broadcast).
struct MatmulBatchAxis {
  std::int64_t size = 1, stride_a = 0, stride_b = 0;
};

struct MatmulProblem {
  static constexpr int kMaxBatchRank = 8;
  DType dtype = DType::F32;
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int batch_rank = 0;
  std::array<MatmulBatchAxis, kMaxBatchRank> batch{};  // outermost first
  bool allow_tf32 = false;
};

// Bytes of device memory, aligned to 16, that matmul() uses while it runs; 0 for most sizes.
std::size_t matmul_workspace(const MatmulProblem& problem, ScalarOp activation = ScalarOp::None);

// y may be the residual, and no other operand. Throws UsageError for another dtype.
void matmul(const MatmulProblem& problem, const void* a, const void* b, void* y, const Epilogue& epilogue,
            void* workspace, const Stream& stream);

}  // namespace ingot::cuda
