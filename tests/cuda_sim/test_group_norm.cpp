// cuda/kernels/group_norm on the simulated device against the ops' references in double: groups of vectors
// and of single channels, wider than a block and of one channel, three dtypes, results over operands.
#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/group_norm.h"
#include "cuda/kernels/group_norm.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::GroupNormShape;
using cuda::Stream;

struct Problem {
  GroupNormShape shape{};
  DType params = DType::F32;
  std::size_t shift = 0;
  double mean = 0.5, spread = 1.0;
};

// Logical NCP of what lies channels-last, and a result of the reference as it lies.
Tensor image(const std::vector<double>& v, const Shape& ncp) {
  const Tensor t = Tensor::zeros({DType::F64, ncp, Layout::channels_last(3)});
  std::copy(v.begin(), v.end(), static_cast<double*>(t.raw()));
  return t;
}
Tensor in_memory(const Tensor& ncp) {
  const Tensor t = ncp.to(Layout::channels_last(3));
  return Tensor({ncp.dtype(), Shape{ncp.numel()}}, t.raw(), std::make_shared<Tensor>(t));
}

template <class T>
void check(const Problem& p) {
  const DType dtype = kType<T>;
  const GroupNormShape& s = p.shape;
  SCOPED_TRACE(cat(name(dtype), " [", s.images, ", ", s.pixels, ", ", s.channels, "] groups ", s.groups,
                   " params ", name(p.params), " shift ", p.shift, " mean ", p.mean));
  const Shape x_shape{s.images, s.channels, s.pixels}, rows_shape{s.images, s.groups};
  const auto n = static_cast<std::size_t>(x_shape.numel()), channels = static_cast<std::size_t>(s.channels),
             rows = static_cast<std::size_t>(rows_shape.numel());
  const Stream stream;
  const Operand x = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream),
                dy = operand_of<T>(n, 2, 0.1, 1, p.shift, stream),
                y = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream);
  const Operand gamma = param_of(p.params, channels, 3, 1, 0.5, stream),
                beta = param_of(p.params, channels, 4, 0, 0.5, stream),
                mean = param_of(p.params, rows, 5, 0, 0, stream),
                rstd = param_of(p.params, rows, 5, 0, 0, stream),
                dgamma = param_of(p.params, channels, 5, 0, 0, stream),
                dbeta = param_of(p.params, channels, 5, 0, 0, stream);
  const cuda::GroupNormConfig config{dtype, p.params, 1e-5};
  // y over its own copy of x, dx over dy.
  cuda::group_norm(config, s, {y.data(), gamma.data(), beta.data(), y.data(), mean.data(), rstd.data()},
                   stream);
  const auto mean_host = read(p.params, mean.data(), rows, stream),
             rstd_host = read(p.params, rstd.data(), rows, stream);
  const DeviceBuffer workspace(cuda::group_norm_grad_workspace(s));
  cuda::group_norm_grad(
      config, s,
      {dy.data(), x.data(), gamma.data(), mean.data(), rstd.data(), dy.data(), dgamma.data(), dbeta.data()},
      workspace.data(), stream);

  const GroupNormAttrs attrs{s.groups, 1e-5};
  const std::vector<Tensor> in{image(x.values, x_shape), vector_of(gamma.values), vector_of(beta.values)};
  const auto want = run_reference(op("group_norm"), attrs, in);
  expect_near("y", read(dtype, y.data(), n, stream), in_memory(want[0]), dtype, 4e-6);
  expect_near("mean", mean_host, want[1], p.params, 1e-6 + 1e-7 * std::abs(p.mean));
  for (std::size_t r = 0; r < rows; ++r) {
    const double w = want[2].get(static_cast<std::int64_t>(r));
    ASSERT_NEAR(rstd_host[r], w, (3e-6 + rounding(p.params)) * w) << "rstd of group " << r;
  }
  const auto as_rows = [&](const std::vector<double>& v) { return Tensor::from<double>(rows_shape, v); };
  const std::vector<Tensor> grad_in{image(dy.values, x_shape), in[0], in[1], as_rows(mean_host),
                                    as_rows(rstd_host)};
  const auto grad = run_reference(op("group_norm_grad"), attrs, grad_in);
  const double scale = *std::max_element(rstd_host.begin(), rstd_host.end());
  expect_near("dx", read(dtype, dy.data(), n, stream), in_memory(grad[0]), dtype, 4e-6 * scale);
  const double count = static_cast<double>(s.images * s.pixels) * std::max(1.0, scale);
  expect_near("dgamma", read(p.params, dgamma.data(), channels, stream), grad[1], p.params, 1e-6 * count);
  expect_near("dbeta", read(p.params, dbeta.data(), channels, stream), grad[2], p.params, 4e-7 * count);
}

class GroupNorm : public SimTest {};

TEST_F(GroupNorm, EveryKindOfGroupInEveryDtype) {
  for (const GroupNormShape& s : {GroupNormShape{2, 9, 6, 3},
                                  {1, 300, 16, 2},
                                  {3, 7, 24, 1},
                                  {2, 65, 5, 5},
                                  {2, 2, 8, 8},
                                  {1, 5, 48, 2},
                                  {2, 3, 4160, 2},
                                  {1, 2, 1300, 2}}) {
    check<float>({s});
    check<f16>({s});
    check<bf16>({s});
    check<f16>({s, DType::F16});
    check<bf16>({s, DType::BF16});
  }
}

TEST_F(GroupNorm, AMeanFarFromTheSpread) {
  check<float>({.shape = {2, 50, 16, 2}, .mean = 1000.0, .spread = 0.01});
  check<float>({.shape = {2, 50, 6, 2}, .mean = -1000.0, .spread = 0.1});
}

TEST_F(GroupNorm, ImagesThatDoNotStartAtSixteenBytes) {
  check<float>({.shape = {2, 9, 16, 2}, .shift = 1});
  check<bf16>({.shape = {2, 9, 16, 2}, .shift = 3});
}

TEST_F(GroupNorm, NothingToDoAndErrors) {
  const Stream stream;
  cuda::group_norm({}, {.images = 0, .pixels = 4, .channels = 8, .groups = 2}, {}, stream);
  EXPECT_THROW(cuda::group_norm({.dtype = DType::F64}, {}, {}, stream), UsageError);
  EXPECT_THROW(cuda::group_norm({}, {.pixels = std::int64_t{1} << 31}, {}, stream), ShapeError);
  EXPECT_THROW(cuda::group_norm_grad({}, {.pixels = std::int64_t{1} << 31}, {}, nullptr, stream), ShapeError);
}

}  // namespace
}  // namespace ingot
