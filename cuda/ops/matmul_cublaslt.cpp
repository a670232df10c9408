// Matrix products by cuBLASLt: which problems it is given, and how they look column-major.
//
// Row-major y[M, N] = A B is, read column by column, y^T[N, M] = B^T A^T: the library's A is our b, its B our
// a, and neither is moved. A matrix that we store transposed is one that the library transposes. Bias is one
// number per column of y, which is per row of y^T, as the library wants it; the residual is its C.
#include <cstdio>
#include <limits>

#include "core/ops/matmul.h"
#include "cuda/base/nvtx.h"
#include "cuda/libs/cublaslt.h"
#include "cuda/ops/matmul.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// To align the library's part of the workspace.
constexpr std::size_t kSlack = LtProduct::kWorkspaceAlignment - 1;
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

struct LtStepData {
  LtProblem problem;
  std::size_t workspace_bytes = 0;  // of the library
  int bias = -1, residual = -1;     // among the operands
  std::string what;                 // for messages
};

class BoundLtProduct final : public BoundStep {
 public:
  BoundLtProduct(const LtStepData& data, std::unique_ptr<BoundStep> own, const Bindings& b,
                 const Stream& stream)
      : own_(std::move(own)), what_(data.what), stream_(stream) {
    const auto operand = [&](int i) { return i < 0 ? nullptr : b.inputs[static_cast<std::size_t>(i)]; };
    const auto workspace = reinterpret_cast<std::uintptr_t>(b.workspace);
    const std::uintptr_t up = LtProduct::kWorkspaceAlignment - 1;
    try {
      product_.emplace(CublasLt::instance(), data.problem,
                       LtOperands{.a = b.inputs[1],
                                  .b = b.inputs[0],
                                  .bias = operand(data.bias),
                                  .c = operand(data.residual),
                                  .d = b.outputs[0],
                                  .workspace = reinterpret_cast<void*>((workspace + up) & ~up),
                                  .workspace_bytes = data.workspace_bytes});
    } catch (const CublasLtError& e) {
      give_up(e);
    }
  }

  void run() override {
    if (product_) {
      const NvtxRange range("cublaslt");
      try {
        return product_->run(stream_);
      } catch (const CublasLtError& e) {
        if (!e.refused()) throw;
        give_up(e);
      }
    }
    own_->run();
  }

 private:
  void give_up(const CublasLtError& e) {
    product_.reset();
    if (e.known()) return;
    std::fprintf(stderr, "ingot: %s runs on Ingot's own kernel: %s\n", what_.c_str(), e.message().c_str());
  }

  std::optional<LtProduct> product_;
  std::unique_ptr<BoundStep> own_;
  std::string what_;
  const Stream& stream_;
};

class LtStep final : public Step {
 public:
  LtStep(LtStepData data, std::unique_ptr<Step> own) : data_(std::move(data)), own_(std::move(own)) {
    kernel = "cublaslt";
    library_calls = 1;
    workspace_bytes =
        std::max(data_.workspace_bytes == 0 ? 0 : data_.workspace_bytes + kSlack, own_->workspace_bytes);
    in_place = own_->in_place;  // C may be D
  }
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundLtProduct>(data_, own_->bind(b), b, stream_of(*this, b));
  }

 private:
  LtStepData data_;
  std::unique_ptr<Step> own_;
};

std::optional<LtActivation> activation_of(ScalarOp op) {
  if (op == ScalarOp::None) return LtActivation::None;
  if (op == ScalarOp::Relu) return LtActivation::Relu;
  if (op == ScalarOp::GeluTanh) return LtActivation::GeluTanh;
  return std::nullopt;
}

}  // namespace

std::optional<MatmulBatchAxis> one_batch_axis(const MatmulProblem& q) {
  MatmulBatchAxis all;
  for (int i = q.batch_rank - 1; i >= 0; --i) {
    const MatmulBatchAxis& axis = q.batch[static_cast<std::size_t>(i)];
    if (axis.size == 1) continue;
    if (all.size == 1) {
      all = axis;
      continue;
    }
    if (axis.stride_a != all.size * all.stride_a || axis.stride_b != all.size * all.stride_b)
      return std::nullopt;
    all.size *= axis.size;
  }
  return all;
}

std::unique_ptr<Step> lower_matmul_cublaslt(const Problem& p) {
  auto q = matmul_problem(p);
  if (!q)
    return p.decline("cuBLASLt is given row-major operands in f32, f16 or bf16, not ", to_string(p.in(0)));
  const auto activation = activation_of(matmul_activation(p));
  if (!activation)
    return p.decline("cuBLASLt has no epilogue '", p.attrs<MatmulAttrs>().activation,
                     "', only relu and gelu_tanh");
  auto batch = one_batch_axis(*q);
  if (!batch)
    return p.decline("the batch axes of ", to_string(p.in(0).shape), " and ", to_string(p.in(1).shape),
                     " are not one stride apart, as cuBLASLt wants them");
  // One matrix for all of the batch, whose rows lie one behind the other: one tall product.
  if (batch->size > 1 && batch->stride_b == 0 && !q->transpose_a && batch->stride_a == q->m * q->k &&
      batch->size * q->m <= kMost) {
    q->m *= batch->size;
    batch = MatmulBatchAxis{};
  }
  for (const std::int64_t size : {q->m, q->n, q->k, batch->size}) {
    if (size == 0) return p.decline("there is nothing to multiply: a size is 0");
    if (size > kMost) return p.decline("cuBLASLt counts in 32 bits, and a size is ", size);
  }
  if (const auto why = CublasLt::missing()) return p.decline(*why);
  auto own = lower_matmul(p);
  if (own == nullptr) return p.decline("there is no kernel of our own to fall back to");

  LtStepData data;
  LtProblem& lt = data.problem;
  lt.dtype = q->dtype;
  lt.m = q->n, lt.n = q->m, lt.k = q->k;
  lt.transpose_a = q->transpose_b, lt.transpose_b = q->transpose_a;
  lt.batch = batch->size;
  lt.stride_a = batch->stride_b, lt.stride_b = batch->stride_a, lt.stride_d = q->m * q->n;
  lt.activation = *activation;
  lt.allow_tf32 = q->allow_tf32;
  data.bias = p.attrs<MatmulAttrs>().has_bias ? 2 : -1;
  data.residual = matmul_residual(p);
  lt.has_bias = data.bias >= 0, lt.has_c = data.residual >= 0;
  const std::size_t limit = p.target.workspace_limit;
  data.workspace_bytes =
      std::min(LtProduct::recommended_workspace(p.target.sm), limit > kSlack ? limit - kSlack : 0);
  data.what = cat(describe(p), p.node.name.empty() ? "" : cat(" of node '", p.node.name, "'"));
  return std::make_unique<LtStep>(std::move(data), std::move(own));
}

}  // namespace ingot::cuda
