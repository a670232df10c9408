// Matrix products: which kernel a product takes.
//
//   y[z][m, n] = act(sum over k of a[z][m, k] b[z][k, n] + bias[n] + residual)
//
// Bytes that must move: each operand and y once, for 2 m n k flops. Tiles (tile_f32.h, tile_mma.h) read a
// once for each tile of columns and b once for each tile of rows; a product of up to eight rows or columns is
// limited by the reading of the other operand and has kernels of its own (matmul_skinny.cu). Long sums with
// few tiles are cut into slices (tile_schedule.h).
#include <limits>

#include "core/base/error.h"
#include "cuda/kernels/matmul_paths.h"
#include "cuda/kernels/tile_finish.h"
#include "cuda/kernels/tile_output.h"

namespace ingot::cuda {

namespace {

// Sizes and batch axes with as few axes as say the same: a weight shared by all batch entries makes one
// product over all their rows.
MatmulCall merged(const MatmulProblem& p) {
  MatmulCall c;
  c.dtype = p.dtype;
  c.transpose_a = p.transpose_a;
  c.transpose_b = p.transpose_b;
  c.sizes = {p.m, p.n, p.k, 1};
  std::array<MatmulBatchAxis, MatmulProblem::kMaxBatchRank> axes{};
  std::size_t count = 0;
  for (int i = 0; i < p.batch_rank; ++i) {
    const MatmulBatchAxis& axis = p.batch[static_cast<std::size_t>(i)];
    if (axis.size == 1) continue;
    if (count > 0) {
      MatmulBatchAxis& outer = axes[count - 1];
      if (outer.stride_a == axis.size * axis.stride_a && outer.stride_b == axis.size * axis.stride_b) {
        outer = {outer.size * axis.size, axis.stride_a, axis.stride_b};
        continue;
      }
    }
    axes[count++] = axis;
  }
  if (count == 1 && axes[0].stride_b == 0 && axes[0].stride_a == p.m * p.k && !p.transpose_a) {
    c.sizes.m *= axes[0].size;
    count = 0;
  }
  c.strides.rank = static_cast<int>(count);
  for (std::size_t i = 0; i < count; ++i) {
    c.sizes.batches *= axes[i].size;
    c.strides.size[i] = static_cast<unsigned>(axes[i].size);
    c.strides.a[i] = axes[i].stride_a;
    c.strides.b[i] = axes[i].stride_b;
  }
  c.strides.y = c.sizes.m * c.sizes.n;
  return c;
}

bool is_skinny(const ProductSizes& s) {
  return s.k > 0 && (s.m <= kSkinny || s.n <= kSkinny);
}

MatmulCall planned(const MatmulProblem& p, ScalarOp activation) {
  MatmulCall c = merged(p);
  const bool second_pass = !tile::is_fast(activation);
  c.plan = is_skinny(c.sizes) ? plan_skinny(c.sizes, c.transpose_a, c.transpose_b, second_pass)
                              : plan_tiles(c.sizes, second_pass);
  c.tf32 = p.allow_tf32 && p.dtype == DType::F32;
  return c;
}

}  // namespace

std::size_t matmul_workspace(const MatmulProblem& problem, ScalarOp activation) {
  const MatmulCall c = planned(problem, activation);
  return c.plan.workspace(c.sizes);
}

void matmul(const MatmulProblem& problem, const void* a, const void* b, void* y, const Epilogue& epilogue,
            void* workspace, const Stream& stream) {
  const DType t = problem.dtype;
  if (t != DType::F32 && t != DType::F16 && t != DType::BF16)
    throw UsageError(cat("matmul on a GPU computes f32, f16 or bf16, got ", name(t), "; cast the operands"));
  MatmulCall c = planned(problem, epilogue.activation);
  if (c.sizes.batches > std::numeric_limits<std::uint32_t>::max())
    throw UsageError(cat("matmul on a GPU makes up to 2^32 - 1 products at once, got ", c.sizes.batches,
                         "; split the batch"));
  if (c.sizes.m == 0 || c.sizes.n == 0 || c.sizes.batches == 0) return;
  c.a = a;
  c.b = b;
  c.y = y;
  c.epilogue = epilogue;
  c.workspace = workspace;
  if (is_skinny(c.sizes))
    skinny_matmul(c, stream);
  else if (t == DType::F32)
    tile_matmul_f32(c, stream);
  else
    tile_matmul_half(c, stream);
}

}  // namespace ingot::cuda
