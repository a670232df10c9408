// cuda/kernels/batch_norm on the simulated device against the ops' references in double: images held in
// registers and cut into parts, channels of every kind, short batches, residual and ReLU, three dtypes.
#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/norm.h"
#include "cuda/kernels/batch_norm.h"
#include "tests/cuda_sim/operand.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::BatchNormShape;
using cuda::DeviceBuffer;
using cuda::Stream;

struct Problem {
  BatchNormShape shape{};
  bool relu = false, residual = false, dy2 = false;
  bool top = false;           // ReLU6 in ReLU's place, with results on both sides of 6
  bool from_x = false;        // the gradient's mask is not y
  int valid = -1;             // rows that count; negative: no such operand
  DType params = DType::F32;  // or the images' type
  std::size_t shift = 0;      // elements in front of each image, so that it does not start at 16 bytes
  double mean = 0.5, spread = 1.0;
};

std::string text(const Problem& p, DType dtype) {
  return cat(name(dtype), " [", p.shape.rows, ", ", p.shape.pixels, ", ", p.shape.channels, "] relu ", p.relu,
             p.top ? "6" : "", " residual ", p.residual, " dy2 ", p.dy2, " from x ", p.from_x, " valid ",
             p.valid, " params ", name(p.params), " shift ", p.shift);
}

template <class T>
void check(Problem p) {
  const DType dtype = kType<T>;
  SCOPED_TRACE(text(p, dtype));
  const auto channels = static_cast<std::size_t>(p.shape.channels);
  const auto n = static_cast<std::size_t>(p.shape.rows * p.shape.pixels) * channels;
  const Stream stream;
  Operand x = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream);
  const Operand residual = operand_of<T>(n, 2, 0, 1, p.shift, stream);
  Operand dy = operand_of<T>(n, 3, 0.1, 1, p.shift, stream);
  Operand dy2 = operand_of<T>(n, 9, -0.1, 1, p.shift, stream);
  const Operand y = operand_of<T>(n, 4, 0, 0, p.shift, stream),
                dresidual = operand_of<T>(n, 4, 0, 0, 0, stream);
  const Operand gamma = param_of(p.params, channels, 5, p.top ? 3 : 1, 0.5, stream),
                beta = param_of(p.params, channels, 6, p.top ? 4 : 0, 0.5, stream),
                running_mean = param_of(p.params, channels, 7, 0, 1, stream),
                running_var = param_of(p.params, channels, 8, 2, 1, stream),
                save_mean = param_of(p.params, channels, 4, 0, 0, stream),
                save_rstd = param_of(p.params, channels, 4, 0, 0, stream),
                dgamma = param_of(p.params, channels, 4, 0, 0, stream),
                dbeta = param_of(p.params, channels, 4, 0, 0, stream);
  DeviceBuffer valid(sizeof(std::int32_t));
  const std::int32_t valid_rows = p.valid;
  cuda::copy_to_device(valid.data(), &valid_rows, sizeof valid_rows, stream);
  const std::int32_t* const valid_pointer = p.valid < 0 ? nullptr : valid.as<std::int32_t>();
  const DeviceBuffer workspace(std::max<std::size_t>(cuda::batch_norm_workspace(dtype, p.shape, p.dy2), 16));

  const cuda::Clip clip = p.top ? cuda::Clip::up_to(6.0f) : p.relu ? cuda::Clip::relu() : cuda::Clip{};
  const cuda::BatchNormConfig config{dtype, p.params, 1e-5, 0.1, clip};
  cuda::batch_norm(config, p.shape,
                   {x.data(), gamma.data(), beta.data(), running_mean.data(), running_var.data(),
                    valid_pointer, p.residual ? residual.data() : nullptr, y.data(), save_mean.data(),
                    save_rstd.data(), running_mean.data(), running_var.data()},  // over the old ones
                   workspace.data(), stream);
  // The gradient from the very y and statistics that were stored. dx lies over dy, or where dy2 is read too
  // over that, and then dresidual over dy.
  void* const dx = p.dy2 ? dy2.data() : dy.data();
  void* const dr = p.dy2 ? dy.data() : dresidual.data();
  const auto y_host = read(dtype, y.data(), n, stream);
  const auto mean_host = read(p.params, save_mean.data(), channels, stream),
             rstd_host = read(p.params, save_rstd.data(), channels, stream);
  cuda::batch_norm_grad(config, p.shape,
                        {dy.data(), x.data(), gamma.data(), save_mean.data(), save_rstd.data(), valid_pointer,
                         p.relu && !p.from_x ? y.data() : nullptr, beta.data(), p.dy2 ? dy2.data() : nullptr,
                         dx, dgamma.data(), dbeta.data(), p.residual ? dr : nullptr},
                        workspace.data(), stream);

  BatchNormAttrs attrs;
  attrs.has_valid = p.valid >= 0;
  attrs.has_residual = p.residual;
  attrs.activation = p.top ? "relu6" : p.relu ? "relu" : "";
  std::vector<Tensor> in{matrix(x.values, p.shape.channels), vector_of(gamma.values), vector_of(beta.values),
                         vector_of(running_mean.values), vector_of(running_var.values)};
  const auto counted = static_cast<std::int32_t>(p.valid * p.shape.pixels);
  if (p.valid >= 0) in.push_back(Tensor::from<std::int32_t>(Shape{}, {&counted, 1}));
  if (p.residual) in.push_back(matrix(residual.values, p.shape.channels));
  const auto want = run_reference(op("batch_norm"), attrs, in);
  // f32 carries about 1e-7 of what was added up; a mean of m in units of the spread costs nothing.
  expect_near("y", y_host, want[0], dtype, 4e-6);
  expect_near("save_mean", mean_host, want[1], p.params, 1e-6 + 1e-7 * std::abs(p.mean));
  for (std::size_t c = 0; c < channels; ++c) {
    const double rstd = want[2].get(static_cast<std::int64_t>(c));
    ASSERT_NEAR(rstd_host[c], rstd, (3e-6 + rounding(p.params)) * rstd) << "save_rstd";
  }
  expect_near("running_mean", read(p.params, running_mean.data(), channels, stream), want[3], p.params,
              1e-6 + 1e-7 * std::abs(p.mean));
  expect_near("running_var", read(p.params, running_var.data(), channels, stream), want[4], p.params, 2e-6);

  BatchNormGradAttrs grad_attrs;
  grad_attrs.has_valid = attrs.has_valid;
  grad_attrs.has_residual = attrs.has_residual;
  grad_attrs.activation = attrs.activation;
  std::vector<double> gradient = dy.values;
  if (p.dy2)
    for (std::size_t i = 0; i < n; ++i) gradient[i] += dy2.values[i];
  std::vector<Tensor> grad_in{matrix(gradient, p.shape.channels), in[0], in[1], vector_of(mean_host),
                              vector_of(rstd_host)};
  if (p.valid >= 0) grad_in.push_back(in[5]);
  if (p.relu) grad_in.push_back(matrix(y_host, p.shape.channels));
  const auto grad = run_reference(op("batch_norm_grad"), grad_attrs, grad_in);
  const double scale = 2.0 / std::max(p.spread, 1e-3);  // of gamma rstd
  // Where the sum of two gradients is stored, dx comes from what was stored: up to 6 in size, and rounded.
  const double stored = p.dy2 && p.residual ? 6.0 * rounding(dtype) : 0.0;
  expect_near("dx", read(dtype, dx, n, stream), grad[0], dtype, (4e-6 + stored) * scale);
  const double pixels = static_cast<double>(p.shape.rows * p.shape.pixels);
  expect_near("dgamma", read(p.params, dgamma.data(), channels, stream), grad[1], p.params, 1e-6 * pixels);
  expect_near("dbeta", read(p.params, dbeta.data(), channels, stream), grad[2], p.params, 4e-7 * pixels);
  if (p.residual) expect_near("dresidual", read(dtype, dr, n, stream), grad[3], dtype, p.dy2 ? 1e-6 : 0.0);

  const cuda::BatchNormInferOperands infer{.x = x.data(),
                                           .gamma = gamma.data(),
                                           .beta = beta.data(),
                                           .mean = running_mean.data(),
                                           .var = running_var.data(),
                                           .y = y.data()};
  const std::vector<Tensor> infer_in{in[0], in[1], in[2],
                                     vector_of(read(p.params, running_mean.data(), channels, stream)),
                                     vector_of(read(p.params, running_var.data(), channels, stream))};
  auto plain = config;
  plain.clip = {};
  cuda::batch_norm_infer(plain, p.shape, infer, stream);
  const auto inferred = run_reference(op("batch_norm_infer"), BatchNormInferAttrs{}, infer_in);
  expect_near("inferred", read(dtype, y.data(), n, stream), inferred[0], dtype,
              4e-6 * (1 + std::abs(p.mean)));

  // y once more, from the statistics that were kept.
  cuda::batch_norm_infer(config, p.shape,
                         {.x = x.data(),
                          .gamma = gamma.data(),
                          .beta = beta.data(),
                          .mean = save_mean.data(),
                          .rstd = save_rstd.data(),
                          .residual = p.residual ? residual.data() : nullptr,
                          .y = y.data()},
                         stream);
  std::vector<Tensor> apply_in{in[0], in[1], in[2], vector_of(mean_host), vector_of(rstd_host)};
  if (p.residual) apply_in.push_back(matrix(residual.values, p.shape.channels));
  const auto again = run_reference(op("batch_norm_apply"),
                                   BatchNormApplyAttrs{false, p.residual, attrs.activation}, apply_in);
  const double size = *std::max_element(rstd_host.begin(), rstd_host.end());  // 316 where no row counts
  expect_near("applied", read(dtype, y.data(), n, stream), again[0], dtype,
              4e-6 * (1 + std::abs(p.mean)) * std::max(size, 1.0));
}

class BatchNorm : public SimTest {};

// Rows times pixels up to 1024 are held in registers.
TEST_F(BatchNorm, HeldInRegisters) {
  for (const BatchNormShape& s :
       {BatchNormShape{2, 1, 1}, {5, 9, 3}, {2, 49, 16}, {3, 7, 20}, {4, 256, 24}}) {
    check<float>({.shape = s});
    check<f16>({.shape = s});
    check<bf16>({.shape = s});
  }
}

// 16 channels: a power of two; 3 and 10: vectors across pixels, the last one cut short; 260 and 264: more
// columns than a block is wide; 16385: too many for rounding up to vectors.
TEST_F(BatchNorm, InParts) {
  for (const BatchNormShape& s : {BatchNormShape{3, 700, 16}, {1, 1025, 3}, {5, 331, 10}, {2, 520, 264}}) {
    check<float>({.shape = s});
    check<f16>({.shape = s});
    check<bf16>({.shape = s});
  }
  check<float>({.shape = {1, 9001, 1}});
}

TEST_F(BatchNorm, ManyOddChannelsInParts) {
  if (sim_runs_ptx())
    GTEST_SKIP() << "two million elements; its kernels run as PTX at the shapes of the others";
  check<f16>({.shape = {1, 1025, 2049}});  // 8 * 2049 columns are more than are rounded up to
}

TEST_F(BatchNorm, ResidualAndRelu) {
  for (const BatchNormShape& s : {BatchNormShape{2, 49, 16}, {3, 13, 5}, {3, 700, 16}, {3, 401, 5}})
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        check<float>({.shape = s, .relu = relu, .residual = residual});
        if (relu) check<bf16>({.shape = s, .relu = relu, .residual = residual});
      }
}

// The very mask of y: what the forward kernel computed before the ReLU is computed again.
TEST_F(BatchNorm, MaskFromX) {
  for (const BatchNormShape& s : {BatchNormShape{2, 49, 16}, {3, 13, 5}, {3, 700, 16}, {3, 401, 5}})
    for (const bool both : {false, true}) {
      check<float>({.shape = s, .relu = true, .dy2 = both, .from_x = true});
      check<f16>({.shape = s, .relu = true, .dy2 = both, .from_x = true, .valid = 1});
      check<bf16>({.shape = s, .relu = true, .dy2 = both, .from_x = true, .valid = 2});
    }
}

TEST_F(BatchNorm, Relu6) {
  for (const BatchNormShape& s : {BatchNormShape{2, 49, 16}, {3, 13, 5}, {3, 700, 16}, {3, 401, 5}})
    for (const bool residual : {false, true})
      for (const bool both : {false, true}) {
        check<float>({.shape = s, .relu = true, .residual = residual, .dy2 = both, .top = true});
        check<f16>({.shape = s, .relu = true, .residual = residual, .dy2 = both, .top = true, .valid = 2});
        check<bf16>({.shape = s, .relu = true, .residual = residual, .dy2 = both, .top = true});
        if (!residual) check<float>({.shape = s, .relu = true, .dy2 = both, .top = true, .from_x = true});
      }
}

TEST_F(BatchNorm, TwoGradients) {
  for (const BatchNormShape& s : {BatchNormShape{2, 49, 16}, {3, 13, 5}, {3, 700, 16}, {3, 401, 5}})
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        check<float>({.shape = s, .relu = relu, .residual = residual, .dy2 = true});
        if (relu) check<bf16>({.shape = s, .relu = relu, .residual = residual, .dy2 = true, .valid = 2});
      }
}

// The padding's gradient is 0, and what it holds counts nowhere; with no row at all statistics stay.
TEST_F(BatchNorm, ShortBatches) {
  for (const int valid : {0, 1, 3, 5, 9})
    for (const BatchNormShape& s : {BatchNormShape{5, 16, 16}, {5, 3, 7}, {5, 300, 16}, {5, 301, 3}}) {
      check<float>({.shape = s, .relu = true, .residual = true, .valid = valid});
      if (valid == 3) check<f16>({.shape = s, .residual = true, .valid = valid});
    }
}

TEST_F(BatchNorm, ParametersOfTheImagesType) {
  for (const BatchNormShape& s : {BatchNormShape{2, 40, 8}, {3, 400, 8}}) {
    check<f16>({.shape = s, .params = DType::F16});
    check<bf16>({.shape = s, .relu = true, .params = DType::BF16});
  }
}

TEST_F(BatchNorm, ImagesThatDoNotStartAtSixteenBytes) {
  for (const BatchNormShape& s : {BatchNormShape{2, 40, 8}, {3, 400, 8}, {3, 400, 300}}) {
    check<float>({.shape = s, .relu = true, .residual = true, .valid = 2, .shift = 1});
    check<f16>({.shape = s, .shift = 3});
  }
}

// A mean of 1000 and a spread of 0.01: x itself has 6e-5 steps there, which the reference sees too.
TEST_F(BatchNorm, LargeMeanSmallSpread) {
  for (const BatchNormShape& s : {BatchNormShape{4, 200, 8}, {4, 1000, 8}, {4, 1000, 5}}) {
    const Stream stream;
    const auto channels = static_cast<std::size_t>(s.channels);
    const auto n = static_cast<std::size_t>(s.rows * s.pixels) * channels;
    const Operand x = operand_of<float>(n, 1, 1000, 0.02, 0, stream),
                  y = operand_of<float>(n, 1, 0, 0, 0, stream);
    const Operand ones = param_of(DType::F32, channels, 1, 1, 0, stream),
                  zeros = param_of(DType::F32, channels, 1, 0, 0, stream),
                  mean = param_of(DType::F32, channels, 1, 0, 0, stream),
                  moved = param_of(DType::F32, channels, 1, 0, 0, stream),
                  moved_var = param_of(DType::F32, channels, 1, 0, 0, stream),
                  rstd = param_of(DType::F32, channels, 1, 0, 0, stream);
    const DeviceBuffer workspace(std::max<std::size_t>(cuda::batch_norm_workspace(DType::F32, s), 16));
    cuda::batch_norm({.eps = 0}, s,
                     {x.data(), ones.data(), zeros.data(), zeros.data(), zeros.data(), nullptr, nullptr,
                      y.data(), mean.data(), rstd.data(), moved.data(), moved_var.data()},
                     workspace.data(), stream);
    BatchNormAttrs attrs;
    attrs.eps = 0;
    const std::vector<Tensor> in{matrix(x.values, s.channels), vector_of(ones.values),
                                 vector_of(zeros.values), vector_of(zeros.values), vector_of(zeros.values)};
    const auto want = run_reference(op("batch_norm"), attrs, in);
    expect_near("y", read(DType::F32, y.data(), n, stream), want[0], DType::F32, 1e-5);
    expect_near("mean", read(DType::F32, mean.data(), channels, stream), want[1], DType::F32, 3.1e-5);
    for (std::size_t c = 0; c < channels; ++c)
      EXPECT_NEAR(
          read(DType::F32, rstd.data(), channels, stream)[c] / want[2].get(static_cast<std::int64_t>(c)), 1.0,
          1e-5);
  }
}

TEST_F(BatchNorm, WorkspaceAndErrors) {
  EXPECT_EQ(cuda::batch_norm_workspace(DType::F32, {1, 1024, 512}), 0u);
  const std::size_t large = cuda::batch_norm_workspace(DType::F16, {256, 56 * 56, 64});
  EXPECT_GT(large, 0u);
  EXPECT_LE(large, std::size_t{2} << 20);  // against 100 MB of image
  EXPECT_LE(cuda::batch_norm_workspace(DType::F32, {std::int64_t{1} << 30, 16, 64}), std::size_t{1} << 20);
  const Stream stream;
  EXPECT_THROW(cuda::batch_norm({.dtype = DType::F64}, {2, 2, 2}, {}, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::batch_norm({.params = DType::F16}, {2, 2, 2}, {}, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::batch_norm_grad({.dtype = DType::I32}, {2, 2, 2}, {}, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::batch_norm_infer({}, {2, 2, std::int64_t{1} << 31}, {}, stream), ShapeError);
  cuda::batch_norm({}, {2, 2, 0}, {}, nullptr, stream);
  cuda::batch_norm_infer({}, {0, 2, 5}, {}, stream);
}

}  // namespace
}  // namespace ingot
