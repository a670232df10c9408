// Matrix products by kernels of our own, for every size, form of storage and epilogue in f32, f16 and bf16.
#include "core/ops/matmul.h"

#include "cuda/kernels/matmul.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// Elements from one entry of each axis of `batch` to the next, 0 where the operand is broadcast.
void batch_strides(const Shape& operand, const Shape& batch, MatmulProblem& q,
                   std::int64_t MatmulBatchAxis::*stride) {
  std::int64_t step = operand[-1] * operand[-2];
  for (int i = batch.rank() - 1, j = operand.rank() - 3; j >= 0; --i, --j) {
    q.batch[static_cast<std::size_t>(i)].*stride = operand[j] == 1 ? 0 : step;
    step *= operand[j];
  }
}

std::unique_ptr<Step> lower_matmul(const Problem& p) {
  const auto& a = p.attrs<MatmulAttrs>();
  if (!is_float(p.in(0).dtype) || !p.out().layout.canonical().is_row_major()) return nullptr;
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!p.in(i).layout.canonical().is_row_major()) return nullptr;
  const MatmulSizes s = matmul_sizes(p.in(0).shape, p.in(1).shape, a.transpose_a, a.transpose_b);
  if (s.batch.rank() > MatmulProblem::kMaxBatchRank) return nullptr;
  MatmulProblem q;
  q.dtype = p.in(0).dtype;
  q.m = s.m, q.n = s.n, q.k = s.k;
  q.transpose_a = a.transpose_a, q.transpose_b = a.transpose_b;
  q.allow_tf32 = p.target.allow_tf32;
  q.batch_rank = s.batch.rank();
  for (int i = 0; i < s.batch.rank(); ++i) q.batch[static_cast<std::size_t>(i)].size = s.batch[i];
  batch_strides(p.in(0).shape, s.batch, q, &MatmulBatchAxis::stride_a);
  batch_strides(p.in(1).shape, s.batch, q, &MatmulBatchAxis::stride_b);

  const ScalarOp activation = a.activation.empty() ? ScalarOp::None : find_scalar_op(a.activation);
  const int residual = a.has_residual ? 2 + a.has_bias : -1;
  std::vector<std::array<int, 2>> in_place;
  if (a.has_residual) in_place.push_back({residual, 0});
  return launch_step(
      "matmul",
      [q, activation, residual, bias = a.has_bias](void* const* in, void* const* out, void* workspace,
                                                   const Stream& stream) {
        const Epilogue epilogue{bias ? in[2] : nullptr, residual < 0 ? nullptr : in[residual], activation};
        matmul(q, in[0], in[1], out[0], epilogue, workspace, stream);
      },
      matmul_workspace(q, activation), std::move(in_place));
}

}  // namespace

void add_matmul(LoweringTable& table) {
  table.add("matmul", {.lower = lower_matmul});
}

}  // namespace ingot::cuda
