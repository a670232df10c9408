// What nvcc made of the kernels of normalisation, pooling and cross-entropy, executed by the PTX interpreter
// at tiny shapes, one for each kernel: the results are those of the simulated device.
#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/layer_norm.h"
#include "cuda/kernels/loss.h"
#include "cuda/kernels/pool.h"
#include "tests/cuda_sim/operand.h"
#include "tests/cuda_sim/ptx/ptx_executor.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::Stream;
using Results = std::vector<std::vector<double>>;

class PtxNorms : public SimTest {
 protected:
  // run() on the simulator's fibers, then from the PTX of each architecture. nvcc contracts products and sums
  // and its exponentials differ: a few units in f32, one unit after rounding.
  static void check(const std::vector<std::string>& files, DType dtype, const std::function<Results()>& run) {
    sim::reset();
    const Results want = run();
    for (const int sm : {80, 90, 120}) {
      sim::reset({.sm = sm, .execute = PtxExecutor(files, sm)});
      const Results got = run();
      for (const auto& finding : sim::take_findings()) FAIL() << "sm_" << sm << ": " << finding.text;
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t r = 0; r < want.size(); ++r)
        for (std::size_t i = 0; i < want[r].size(); ++i) {
          const double size = 1 + std::abs(want[r][i]);
          ASSERT_NEAR(got[r][i], want[r][i], (1e-5 + 2 * rounding(dtype)) * size)
              << "sm_" << sm << ", result " << r << ", element " << i;
        }
    }
    sim::reset();
  }

  template <class T>
  static void check_batch_norm(const cuda::BatchNormShape& s, std::size_t shift = 0) {
    SCOPED_TRACE(cat("batch norm ", name(kType<T>), " ", s.rows, " ", s.pixels, " ", s.channels));
    const DType dtype = kType<T>;
    const auto c = static_cast<std::size_t>(s.channels), n = static_cast<std::size_t>(s.rows * s.pixels) * c;
    check({"batch_norm.cu", "batch_norm_grad.cu"}, dtype, [&] {
      const Stream stream;
      const Operand x = operand_of<T>(n, 1, 3, 1, shift, stream),
                    residual = operand_of<T>(n, 2, 0, 1, shift, stream),
                    dy = operand_of<T>(n, 3, 0, 1, shift, stream),
                    y = operand_of<T>(n, 4, 0, 0, shift, stream),
                    dx = operand_of<T>(n, 4, 0, 0, shift, stream),
                    dresidual = operand_of<T>(n, 4, 0, 0, shift, stream),
                    inferred = operand_of<T>(n, 4, 0, 0, shift, stream);
      const Operand gamma = param_of(DType::F32, c, 5, 1, 0.5, stream),
                    beta = param_of(DType::F32, c, 6, 0, 1, stream),
                    mean = param_of(DType::F32, c, 7, 1, 1, stream),
                    var = param_of(DType::F32, c, 8, 2, 1, stream);
      std::vector<Operand> stats;
      for (int i = 0; i < 6; ++i) stats.push_back(param_of(DType::F32, c, 9, 0, 0, stream));
      const DeviceBuffer valid =
          to_device(std::vector<std::int32_t>{static_cast<std::int32_t>(s.rows - 1)}, stream);
      const DeviceBuffer workspace(std::max<std::size_t>(cuda::batch_norm_workspace(dtype, s, true), 16));
      const cuda::BatchNormConfig config{.dtype = dtype, .clip = cuda::Clip::up_to(1)};
      cuda::batch_norm(
          config, s,
          {x.data(), gamma.data(), beta.data(), mean.data(), var.data(), valid.as<std::int32_t>(),
           residual.data(), y.data(), stats[0].data(), stats[1].data(), stats[2].data(), stats[3].data()},
          workspace.data(), stream);
      // From operands that do not depend on how y was rounded.
      cuda::batch_norm_grad(
          config, s,
          {dy.data(), x.data(), gamma.data(), mean.data(), var.data(), valid.as<std::int32_t>(),
           residual.data(), nullptr, y.data(), dx.data(), stats[4].data(), stats[5].data(), dresidual.data()},
          workspace.data(), stream);
      cuda::batch_norm_infer(config, s,
                             {x.data(), gamma.data(), beta.data(), mean.data(), var.data(), nullptr, nullptr,
                              residual.data(), inferred.data()},
                             stream);
      Results r{read(dtype, y.data(), n, stream), read(dtype, dx.data(), n, stream),
                read(dtype, dresidual.data(), n, stream), read(dtype, inferred.data(), n, stream)};
      for (const Operand& o : stats) r.push_back(read(DType::F32, o.data(), c, stream));
      return r;
    });
  }

  template <class T>
  static void check_layer_norm(const cuda::LayerNormShape& s) {
    SCOPED_TRACE(cat("layer norm ", name(kType<T>), " ", s.rows, " ", s.cells));
    const DType dtype = kType<T>;
    const auto rows = static_cast<std::size_t>(s.rows), cells = static_cast<std::size_t>(s.cells);
    const std::size_t n = rows * cells;
    check({"layer_norm.cu", "layer_norm_grad.cu"}, dtype, [&] {
      const Stream stream;
      const Operand x = operand_of<T>(n, 1, 3, 1, 0, stream), dy = operand_of<T>(n, 2, 0, 1, 0, stream),
                    y = operand_of<T>(n, 3, 0, 0, 0, stream), dx = operand_of<T>(n, 3, 0, 0, 0, stream);
      const Operand gamma = param_of(dtype, cells, 4, 1, 0.5, stream),
                    beta = param_of(dtype, cells, 5, 0, 1, stream),
                    mean = param_of(dtype, rows, 6, 0, 0, stream),
                    rstd = param_of(dtype, rows, 6, 0, 0, stream),
                    given_mean = param_of(dtype, rows, 7, 3, 0.5, stream),
                    given_rstd = param_of(dtype, rows, 8, 2, 0.5, stream),
                    dgamma = param_of(dtype, cells, 6, 0, 0, stream),
                    dbeta = param_of(dtype, cells, 6, 0, 0, stream);
      const DeviceBuffer workspace(cuda::layer_norm_grad_workspace(dtype, s));
      const cuda::LayerNormConfig config{dtype, dtype, 1e-5};
      cuda::layer_norm(config, s, {x.data(), gamma.data(), beta.data(), y.data(), mean.data(), rstd.data()},
                       stream);
      cuda::layer_norm_grad(config, s,
                            {dy.data(), x.data(), gamma.data(), given_mean.data(), given_rstd.data(),
                             dx.data(), dgamma.data(), dbeta.data()},
                            workspace.data(), stream);
      return Results{read(dtype, y.data(), n, stream),          read(dtype, mean.data(), rows, stream),
                     read(dtype, rstd.data(), rows, stream),    read(dtype, dx.data(), n, stream),
                     read(dtype, dgamma.data(), cells, stream), read(dtype, dbeta.data(), cells, stream)};
    });
  }

  template <class T>
  static void check_pool(const cuda::PoolShape& s, bool max) {
    SCOPED_TRACE(cat(max ? "max " : "average ", name(kType<T>), " ", s.h.in, " ", s.w.in, " ", s.channels));
    const DType dtype = kType<T>;
    const auto in = static_cast<std::size_t>(s.images * s.channels * s.h.in * s.w.in);
    const auto out = static_cast<std::size_t>(s.images * s.channels * s.h.out * s.w.out);
    check({"max_pool.cu", "average_pool.cu"}, dtype, [&] {
      const Stream stream;
      const Operand x = operand_of<T>(in, 1, 0, 1, 0, stream), dy = operand_of<T>(out, 2, 0, 1, 0, stream),
                    y = operand_of<T>(out, 3, 0, 0, 0, stream), dx = operand_of<T>(in, 3, 0, 0, 0, stream);
      const std::size_t bytes = s.h.kernel * s.w.kernel > 256 ? 4 : 1;
      const DeviceBuffer offset(out * bytes);
      if (max) {
        cuda::max_pool(dtype, s, x.data(), y.data(), offset.data(), stream);
        cuda::max_pool_grad(dtype, s, dy.data(), offset.data(), dx.data(), stream);
      } else {
        cuda::average_pool(dtype, s, x.data(), y.data(), stream);
        cuda::average_pool_grad(dtype, s, dy.data(), dx.data(), stream);
      }
      Results r{read(dtype, y.data(), out, stream), read(dtype, dx.data(), in, stream)};
      if (max) {
        const auto host = to_host<std::uint8_t>(offset, stream);
        r.emplace_back(host.begin(), host.end());
      }
      return r;
    });
  }

  template <class T>
  static void check_loss(const cuda::CrossEntropyShape& s) {
    SCOPED_TRACE(cat("loss ", name(kType<T>), " ", s.rows, " ", s.classes));
    const DType dtype = kType<T>;
    const auto rows = static_cast<std::size_t>(s.rows), n = rows * static_cast<std::size_t>(s.classes);
    check({"loss.cu"}, dtype, [&] {
      const Stream stream;
      const Operand x = operand_of<T>(n, 1, 0, 3, 0, stream), dloss = operand_of<T>(rows, 2, 0, 1, 0, stream),
                    loss = operand_of<T>(rows, 3, 0, 0, 0, stream),
                    lse = operand_of<T>(rows, 3, 0, 0, 0, stream),
                    given_lse = operand_of<T>(rows, 4, 5, 1, 0, stream),
                    dx = operand_of<T>(n, 3, 0, 0, 0, stream);
      std::vector<std::int64_t> labels;
      for (std::size_t r = 0; r < rows; ++r)
        labels.push_back(r % 3 == 2 ? -100 : static_cast<std::int64_t>(r));
      const DeviceBuffer device_labels = to_device(labels, stream);
      const cuda::CrossEntropyConfig config{dtype, DType::I64, 0.1};
      cuda::cross_entropy(config, s, x.data(), device_labels.data(), loss.data(), lse.data(), stream);
      cuda::cross_entropy_grad(config, s, dloss.data(), x.data(), device_labels.data(), given_lse.data(),
                               dx.data(), stream);
      return Results{read(dtype, loss.data(), rows, stream), read(dtype, lse.data(), rows, stream),
                     read(dtype, dx.data(), n, stream)};
    });
  }
};

TEST_F(PtxNorms, BatchNorm) {
  for (const cuda::BatchNormShape& s : {cuda::BatchNormShape{3, 5, 8}, {3, 5, 9}, {3, 500, 8}, {3, 401, 3}}) {
    check_batch_norm<float>(s);
    check_batch_norm<f16>(s);
    check_batch_norm<bf16>(s);
  }
  // Single elements in parts.
  check_batch_norm<float>({3, 400, 4}, 1);
  check_batch_norm<f16>({3, 400, 8}, 1);
  check_batch_norm<bf16>({3, 400, 8}, 1);
}

TEST_F(PtxNorms, LayerNorm) {
  for (const cuda::LayerNormShape& s : {cuda::LayerNormShape{9, 40},
                                        {2, 41},
                                        {2, 264},
                                        {2, 265},
                                        {1, 1032},
                                        {1, 1033},
                                        {1, 2056},
                                        {1, 8200},
                                        {1, 2057}}) {
    check_layer_norm<float>(s);
    check_layer_norm<f16>(s);
    check_layer_norm<bf16>(s);
  }
}

TEST_F(PtxNorms, Pooling) {
  const cuda::PoolAxis h{.in = 5, .out = 3, .kernel = 3, .stride = 2, .padding = 1},
      w{.in = 4, .out = 2, .kernel = 2, .stride = 2};
  const cuda::PoolAxis large{.in = 18, .out = 2, .kernel = 17, .stride = 1};
  const cuda::PoolAxis all{.in = 7, .out = 1};
  for (const std::int64_t channels : {3, 8}) {
    for (const bool max : {false, true}) {
      const cuda::PoolShape s{1, channels, h, w};
      check_pool<float>(s, max);
      check_pool<f16>(s, max);
      check_pool<bf16>(s, max);
    }
    const cuda::PoolShape beyond{1, channels, large, large};
    check_pool<float>(beyond, true);
    check_pool<f16>(beyond, true);
    check_pool<bf16>(beyond, true);
    const cuda::PoolShape global{2, channels, all, all, true, true};
    check_pool<float>(global, false);
    check_pool<f16>(global, false);
    check_pool<bf16>(global, false);
  }
}

TEST_F(PtxNorms, CrossEntropy) {
  for (const cuda::CrossEntropyShape& s : {cuda::CrossEntropyShape{3, 40}, {9, 41}, {3, 2056}, {2, 2057}}) {
    check_loss<float>(s);
    check_loss<f16>(s);
    check_loss<bf16>(s);
  }
}

}  // namespace
}  // namespace ingot
