// Matrix products by kernels of our own, for every size, form of storage and epilogue in f32, f16 and bf16.
#include "cuda/ops/matmul.h"

#include "core/ops/matmul.h"
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

}  // namespace

std::optional<MatmulProblem> matmul_problem(const Problem& p) {
  const auto& a = p.attrs<MatmulAttrs>();
  const auto row_major = [](const TensorType& t) { return t.layout.canonical().is_row_major(); };
  if (!is_float(p.in(0).dtype) || !all_operands(p, row_major)) return std::nullopt;
  const MatmulSizes s = matmul_sizes(p.in(0).shape, p.in(1).shape, a.transpose_a, a.transpose_b);
  if (s.batch.rank() > MatmulProblem::kMaxBatchRank) return std::nullopt;
  MatmulProblem q;
  q.dtype = p.in(0).dtype;
  q.m = s.m, q.n = s.n, q.k = s.k;
  q.transpose_a = a.transpose_a, q.transpose_b = a.transpose_b;
  q.allow_tf32 = p.target.allow_tf32;
  q.batch_rank = s.batch.rank();
  for (int i = 0; i < s.batch.rank(); ++i) q.batch[static_cast<std::size_t>(i)].size = s.batch[i];
  batch_strides(p.in(0).shape, s.batch, q, &MatmulBatchAxis::stride_a);
  batch_strides(p.in(1).shape, s.batch, q, &MatmulBatchAxis::stride_b);
  return q;
}

int matmul_residual(const Problem& p) {
  const auto& a = p.attrs<MatmulAttrs>();
  return a.has_residual ? 2 + a.has_bias : -1;
}

ScalarOp matmul_activation(const Problem& p) {
  const auto& a = p.attrs<MatmulAttrs>();
  return a.activation.empty() ? ScalarOp::None : find_scalar_op(a.activation);
}

std::unique_ptr<Step> lower_matmul(const Problem& p) {
  const auto q = matmul_problem(p);
  if (!q) return nullptr;
  const ScalarOp activation = matmul_activation(p);
  const int residual = matmul_residual(p);
  std::vector<std::array<int, 2>> in_place;
  if (residual >= 0) in_place.push_back({residual, 0});
  return launch_step(
      "matmul",
      [q = *q, activation, residual, bias = p.attrs<MatmulAttrs>().has_bias](
          void* const* in, void* const* out, void* workspace, const Stream& stream) {
        const Epilogue epilogue{bias ? in[2] : nullptr, residual < 0 ? nullptr : in[residual], activation};
        matmul(q, in[0], in[1], out[0], epilogue, workspace, stream);
      },
      matmul_workspace(*q, activation), std::move(in_place));
}

void add_matmul(LoweringTable& table) {
  table.add("matmul", {.lower = lower_matmul_cublaslt, .name = "cublaslt"});
  table.add("matmul", {.lower = lower_matmul});
}

}  // namespace ingot::cuda
