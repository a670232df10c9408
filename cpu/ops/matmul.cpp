// Matrix products through oneDNN: transposes are strides, batch axes broadcast, the epilogue is a
// post-operation.
#include "core/ops/matmul.h"

#include "cpu/onednn.h"

namespace ingot::cpu {

namespace {

using dnnl::memory;

// The operand as [batch..., rows, columns] of the product, `rank` axes.
memory::desc operand(const TensorType& t, int rank, bool transposed) {
  memory::dims dims(t.shape.begin(), t.shape.end());
  const auto strides_of = t.shape.strides();
  memory::dims strides(strides_of.begin(), strides_of.begin() + t.shape.rank());
  if (transposed) {
    std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
    std::swap(strides[strides.size() - 1], strides[strides.size() - 2]);
  }
  while (static_cast<int>(dims.size()) < rank) {
    strides.insert(strides.begin(), dims.front() * strides.front());
    dims.insert(dims.begin(), 1);
  }
  return strided_desc(dims, strides, t.dtype);
}

// Collapses a leading [batch..., M, K] x [K, N] to one product over all rows.
bool rows_collapse(const Problem& p, const MatmulAttrs& a) {
  return !a.transpose_a && p.in(0).shape.rank() > 2 && p.in(1).shape.rank() == 2;
}

TensorType as_rows(const TensorType& t) {
  const std::int64_t columns = t.shape[-1];
  return {t.dtype, {t.numel() / columns, columns}};
}

std::unique_ptr<Step> lower_matmul(const Problem& p) {
  const auto& a = p.attrs<MatmulAttrs>();
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!onednn_computes(p.in(i).dtype) || !p.in(i).layout.canonical().is_row_major() ||
        p.in(i).numel() == 0 || !within_onednn(p.in(i)))
      return nullptr;
  if (!p.out().layout.canonical().is_row_major() || p.out().numel() == 0 || !within_onednn(p.out()))
    return nullptr;

  TensorType x = p.in(0), y = p.out();
  const TensorType& w = p.in(1);
  if (rows_collapse(p, a)) x = as_rows(x), y = as_rows(y);
  const int rank = y.shape.rank();
  const memory::desc xd = operand(x, rank, a.transpose_a), wd = operand(w, rank, a.transpose_b),
                     yd = operand(y, rank, false);
  const auto attr = epilogue_attr(a.activation, a.has_residual ? &yd : nullptr);
  if (!attr) return nullptr;
  memory::desc bias;
  if (a.has_bias) {
    TensorType row{y.dtype, y.shape};
    for (int i = 0; i + 1 < rank; ++i) row.shape[i] = 1;
    bias = operand(row, rank, false);
  }
  const auto pd = a.has_bias ? dnnl::matmul::primitive_desc(onednn_engine(), xd, wd, bias, yd, *attr, true)
                             : dnnl::matmul::primitive_desc(onednn_engine(), xd, wd, yd, *attr, true);
  if (!pd) return nullptr;
  auto step = std::make_unique<PrimitiveStep>(cat("onednn:", pd.impl_info_str()), p.target.threads);
  step->read(DNNL_ARG_SRC, 0, xd, xd);
  step->read(DNNL_ARG_WEIGHTS, 1, wd, wd);
  if (a.has_bias) step->read(DNNL_ARG_BIAS, 2, bias, bias);
  if (a.has_residual) step->read(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, 2 + a.has_bias, yd, yd);
  step->write(DNNL_ARG_DST, 0, yd, yd);
  step->execute(pd);
  return step;
}

}  // namespace

void add_matmul(LoweringTable& t) {
  t.add("matmul", {.lower = lower_matmul});
}

}  // namespace ingot::cpu
