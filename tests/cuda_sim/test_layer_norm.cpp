// cuda/kernels/layer_norm on the simulated device against the ops' references in double: rows of a warp, of a
// block and longer, vectors and single elements, three dtypes, results over operands.
#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/norm.h"
#include "cuda/kernels/layer_norm.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::LayerNormShape;
using cuda::Stream;

struct Problem {
  LayerNormShape shape{};
  DType params = DType::F32;
  std::size_t shift = 0;
  double mean = 0.5, spread = 1.0;
};

template <class T>
void check(const Problem& p) {
  const DType dtype = kType<T>;
  SCOPED_TRACE(cat(name(dtype), " [", p.shape.rows, ", ", p.shape.cells, "] params ", name(p.params),
                   " shift ", p.shift, " mean ", p.mean));
  const auto rows = static_cast<std::size_t>(p.shape.rows), cells = static_cast<std::size_t>(p.shape.cells);
  const std::size_t n = rows * cells;
  const Stream stream;
  const Operand x = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream),
                dy = operand_of<T>(n, 2, 0.1, 1, p.shift, stream),
                y = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream);
  const Operand gamma = param_of(p.params, cells, 3, 1, 0.5, stream),
                beta = param_of(p.params, cells, 4, 0, 0.5, stream),
                mean = param_of(p.params, rows, 5, 0, 0, stream),
                rstd = param_of(p.params, rows, 5, 0, 0, stream),
                dgamma = param_of(p.params, cells, 5, 0, 0, stream),
                dbeta = param_of(p.params, cells, 5, 0, 0, stream);
  const cuda::LayerNormConfig config{dtype, p.params, 1e-5};
  // y over its own copy of x, dx over dy.
  cuda::layer_norm(config, p.shape, {y.data(), gamma.data(), beta.data(), y.data(), mean.data(), rstd.data()},
                   stream);
  const auto mean_host = read(p.params, mean.data(), rows, stream),
             rstd_host = read(p.params, rstd.data(), rows, stream);
  const DeviceBuffer workspace(cuda::layer_norm_grad_workspace(dtype, p.shape));
  cuda::layer_norm_grad(
      config, p.shape,
      {dy.data(), x.data(), gamma.data(), mean.data(), rstd.data(), dy.data(), dgamma.data(), dbeta.data()},
      workspace.data(), stream);

  LayerNormAttrs attrs;
  attrs.axis = 1;
  const std::vector<Tensor> in{matrix(x.values, p.shape.cells), vector_of(gamma.values),
                               vector_of(beta.values)};
  const auto want = run_reference(op("layer_norm"), attrs, in);
  expect_near("y", read(dtype, y.data(), n, stream), want[0], dtype, 4e-6);
  expect_near("mean", mean_host, want[1], p.params, 1e-6 + 1e-7 * std::abs(p.mean));
  for (std::size_t r = 0; r < rows; ++r) {
    const double w = want[2].get(static_cast<std::int64_t>(r));
    ASSERT_NEAR(rstd_host[r], w, (3e-6 + rounding(p.params)) * w) << "rstd of row " << r;
  }
  const std::vector<Tensor> grad_in{matrix(dy.values, p.shape.cells), in[0], in[1], vector_of(mean_host),
                                    vector_of(rstd_host)};
  const auto grad = run_reference(op("layer_norm_grad"), attrs, grad_in);
  // A row of one element has rstd 1 / sqrt(eps), which dx is measured in.
  const double scale = *std::max_element(rstd_host.begin(), rstd_host.end());
  expect_near("dx", read(dtype, dy.data(), n, stream), grad[0], dtype, 4e-6 * scale);
  const auto count = static_cast<double>(rows);
  expect_near("dgamma", read(p.params, dgamma.data(), cells, stream), grad[1], p.params, 1e-6 * count);
  expect_near("dbeta", read(p.params, dbeta.data(), cells, stream), grad[2], p.params, 4e-7 * count);
}

class LayerNorm : public SimTest {};

// A warp's rows end at 1024 (at 256 for the gradient), a block's at 8192, or at 1024 and 2048 without
// vectors.
TEST_F(LayerNorm, EveryKindOfRowInEveryDtype) {
  for (const LayerNormShape& s : {LayerNormShape{5, 1},
                                  {19, 8},
                                  {3, 33},
                                  {70, 64},
                                  {3, 255},
                                  {9, 256},
                                  {5, 264},
                                  {2, 999},
                                  {2, 1024},
                                  {3, 1033},
                                  {9, 2048},
                                  {2, 2049},
                                  {2, 4096}}) {
    check<float>({.shape = s});
    check<f16>({.shape = s});
    check<bf16>({.shape = s});
  }
}

TEST_F(LayerNorm, LongRows) {
  for (const LayerNormShape& s : {LayerNormShape{1, 8192}, {9, 8200}, {1, 8201}, {1, 20000}}) {
    check<float>({.shape = s});
    check<bf16>({.shape = s});
  }
}

TEST_F(LayerNorm, ManyRows) {
  check<float>({.shape = {1000, 24}});
  check<f16>({.shape = {300, 300}});
  check<float>({.shape = {70, 2500}});
}

TEST_F(LayerNorm, ParametersOfTheType) {
  for (const LayerNormShape& s : {LayerNormShape{5, 64}, {5, 65}, {3, 2048}, {2, 8200}}) {
    check<f16>({.shape = s, .params = DType::F16});
    check<bf16>({.shape = s, .params = DType::BF16});
  }
}

TEST_F(LayerNorm, RowsThatDoNotStartAtSixteenBytes) {
  for (const LayerNormShape& s : {LayerNormShape{5, 64}, {3, 1032}, {2, 8192}}) {
    check<float>({.shape = s, .shift = 1});
    check<f16>({.shape = s, .shift = 3});
  }
}

TEST_F(LayerNorm, LargeMeanSmallSpread) {
  for (const LayerNormShape& s : {LayerNormShape{2, 64}, {2, 700}, {2, 2000}, {1, 8200}, {1, 8201}}) {
    const Stream stream;
    const auto rows = static_cast<std::size_t>(s.rows), cells = static_cast<std::size_t>(s.cells);
    const Operand x = operand_of<float>(rows * cells, 1, 1000, 0.02, 0, stream);
    const Operand ones = param_of(DType::F32, cells, 1, 1, 0, stream),
                  zeros = param_of(DType::F32, cells, 1, 0, 0, stream),
                  mean = param_of(DType::F32, rows, 1, 0, 0, stream),
                  rstd = param_of(DType::F32, rows, 1, 0, 0, stream);
    cuda::layer_norm({.eps = 0}, s, {x.data(), ones.data(), zeros.data(), x.data(), mean.data(), rstd.data()},
                     stream);
    LayerNormAttrs attrs;
    attrs.axis = 1;
    attrs.eps = 0;
    const std::vector<Tensor> in{matrix(x.values, s.cells), vector_of(ones.values), vector_of(zeros.values)};
    const auto want = run_reference(op("layer_norm"), attrs, in);
    expect_near("y", read(DType::F32, x.data(), rows * cells, stream), want[0], DType::F32, 1e-5);
  }
}

TEST_F(LayerNorm, NothingToDoAndErrors) {
  const Stream stream;
  cuda::layer_norm({}, {0, 10}, {}, stream);
  EXPECT_THROW(cuda::layer_norm({.dtype = DType::F64}, {2, 2}, {}, stream), UsageError);
  EXPECT_THROW(cuda::layer_norm({.dtype = DType::F16, .params = DType::BF16}, {2, 2}, {}, stream),
               UsageError);
  EXPECT_THROW(cuda::layer_norm({}, {1, std::int64_t{1} << 31}, {}, stream), ShapeError);
  // Without a row, the gradients of the parameters are 0.
  for (const std::int64_t cells : {5, 300, 3000, 9000}) {
    const auto n = static_cast<std::size_t>(cells);
    const Operand ones = param_of(DType::F32, n, 1, 1, 0, stream),
                  dgamma = param_of(DType::F32, n, 1, 1, 0, stream),
                  dbeta = param_of(DType::F32, n, 1, 1, 0, stream);
    const DeviceBuffer workspace(cuda::layer_norm_grad_workspace(DType::F32, {0, cells}));
    cuda::layer_norm_grad(
        {}, {0, cells},
        {nullptr, nullptr, ones.data(), nullptr, nullptr, nullptr, dgamma.data(), dbeta.data()},
        workspace.data(), stream);
    EXPECT_EQ(read(DType::F32, dgamma.data(), n, stream), std::vector<double>(n, 0.0));
    EXPECT_EQ(read(DType::F32, dbeta.data(), n, stream), std::vector<double>(n, 0.0));
  }
  EXPECT_LE(cuda::layer_norm_grad_workspace(DType::BF16, {1 << 20, 768}), std::size_t{4} << 20);
}

}  // namespace
}  // namespace ingot
