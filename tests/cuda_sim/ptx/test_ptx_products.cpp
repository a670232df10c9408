// What nvcc made of the kernels of matrix products and convolutions, executed by the PTX interpreter at tiny
// shapes: each kernel's results are those of the simulated device.
#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "cuda/kernels/conv.h"
#include "cuda/kernels/matmul.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/ptx/ptx_executor.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::ConvProblem;
using cuda::DeviceBuffer;
using cuda::MatmulProblem;
using cuda::Stream;

// Sums are contracted and ordered otherwise than by g++: a few units in f32, one unit after rounding.
template <class T>
constexpr double kTolerance = std::is_same_v<T, float> ? 2e-5
                              : std::is_same_v<T, f16> ? 1.5e-3
                                                       : 1.2e-2;

class PtxProducts : public SimTest {
 protected:
  // Large tiles take many blocks, hence long, on each; they differ from small ones in numbers only.
  inline static const std::vector<int> kAll{80, 90, 120}, kOne{90};

  template <class T>
  static DeviceBuffer filled(std::int64_t n, unsigned seed, const Stream& stream) {
    std::vector<T> v;
    for (const float f : sequence(static_cast<std::size_t>(n), seed))
      v.push_back(rounded<T>(static_cast<double>(f)));
    return to_device(v, stream);
  }

  // run() on the simulator's fibers, then from the PTX of each architecture.
  template <class T>
  static void check(const std::vector<std::string>& files, const std::vector<int>& architectures,
                    const std::function<std::vector<T>()>& run) {
    sim::reset();
    const std::vector<T> want = run();
    for (const int sm : architectures) {
      sim::reset({.sm = sm, .execute = PtxExecutor(files, sm)});
      const std::vector<T> got = run();
      for (const auto& finding : sim::take_findings()) FAIL() << "sm_" << sm << ": " << finding.text;
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(value(got[i]), value(want[i]), kTolerance<T> * (1 + std::abs(value(want[i]))))
            << "sm_" << sm << ", element " << i;
    }
    sim::reset();
  }

  template <class T>
  static void check_matmul(MatmulProblem p, ScalarOp activation = ScalarOp::None,
                           const std::vector<int>& architectures = kAll) {
    p.dtype = kType<T>;
    SCOPED_TRACE(cat(p.m, " x ", p.n, " x ", p.k, " ", name(p.dtype), p.transpose_a ? " ta" : "",
                     p.transpose_b ? " tb" : "", p.allow_tf32 ? " tf32" : ""));
    check<T>({"matmul_f32.cu", "matmul_half.cu", "matmul_skinny.cu", "tile_finish.cu"}, architectures, [&] {
      const Stream stream;
      std::int64_t batches = 1, a = p.m * p.k, b = p.k * p.n;
      if (p.batch_rank > 0) {
        batches = p.batch[0].size;
        a += (batches - 1) * p.batch[0].stride_a, b += (batches - 1) * p.batch[0].stride_b;
      }
      const std::int64_t count = batches * p.m * p.n;
      const DeviceBuffer da = filled<T>(a, 1, stream), db = filled<T>(b, 2, stream);
      const DeviceBuffer bias = filled<T>(p.n, 3, stream), residual = filled<T>(count, 4, stream);
      const DeviceBuffer y(static_cast<std::size_t>(count) * sizeof(T));
      const DeviceBuffer workspace(cuda::matmul_workspace(p, activation) + 16);
      cuda::matmul(p, da.data(), db.data(), y.data(), {bias.data(), residual.data(), activation},
                   workspace.data(), stream);
      return to_host<T>(y, stream);
    });
  }

  // The three results one behind the other.
  template <class T>
  static void check_conv(ConvProblem p, ScalarOp activation = ScalarOp::None,
                         const std::vector<int>& architectures = kAll) {
    p.dtype = kType<T>;
    SCOPED_TRACE(cat(name(p.dtype), " channels ", p.c, " to ", p.o, " groups ", p.groups,
                     p.allow_tf32 ? " tf32" : ""));
    check<T>({"conv_f32.cu", "conv_half.cu", "conv_depthwise.cu", "tile_finish.cu"}, architectures, [&] {
      const Stream stream;
      const std::int64_t xs = p.n * p.h * p.w * p.c, ws = p.o * p.kh * p.kw * (p.c / p.groups);
      const std::int64_t ys = p.n * p.oh() * p.ow() * p.o;
      const DeviceBuffer x = filled<T>(xs, 1, stream), w = filled<T>(ws, 2, stream),
                         dy = filled<T>(ys, 3, stream);
      const DeviceBuffer bias = filled<T>(p.o, 4, stream), residual = filled<T>(ys, 5, stream);
      const auto make = [](std::int64_t n) { return DeviceBuffer(static_cast<std::size_t>(n) * sizeof(T)); };
      const DeviceBuffer y = make(ys), dx = make(xs), dw = make(ws);
      const DeviceBuffer space(cuda::conv_forward_workspace(p, activation) + 16);
      cuda::conv_forward(p, x.data(), w.data(), y.data(), {bias.data(), residual.data(), activation},
                         space.data(), stream);
      const DeviceBuffer space_x(cuda::conv_grad_input_workspace(p) + 16);
      cuda::conv_grad_input(p, dy.data(), w.data(), dx.data(), space_x.data(), stream);
      const DeviceBuffer space_w(cuda::conv_grad_weight_workspace(p) + 16);
      cuda::conv_grad_weight(p, x.data(), dy.data(), dw.data(), space_w.data(), stream);
      std::vector<T> all = to_host<T>(y, stream);
      for (const DeviceBuffer* more : {&dx, &dw}) {
        const auto v = to_host<T>(*more, stream);
        all.insert(all.end(), v.begin(), v.end());
      }
      return all;
    });
  }

  static MatmulProblem form(MatmulProblem p, int i) {
    p.transpose_a = i % 2 != 0;
    p.transpose_b = i / 2 != 0;
    return p;
  }
};

TEST_F(PtxProducts, MatmulTiles) {
  for (int i = 0; i < 4; ++i) {
    check_matmul<float>(form({.m = 24, .n = 40, .k = 36}, i), ScalarOp::Relu);
    check_matmul<f16>(form({.m = 24, .n = 40, .k = 40}, i), ScalarOp::Sigmoid);
    check_matmul<bf16>(form({.m = 24, .n = 72, .k = 136}, i), ScalarOp::Tanh);
    check_matmul<float>(form({.m = 24, .n = 40, .k = 20, .allow_tf32 = true}, i));
  }
  check_matmul<float>({.m = 11, .n = 13, .k = 17});
  check_matmul<f16>({.m = 11, .n = 13, .k = 37});
  check_matmul<bf16>({.m = 11, .n = 13, .k = 5, .transpose_a = true});
}

TEST_F(PtxProducts, MatmulLargeTiles) {
  MatmulProblem p{.m = 65, .n = 72, .k = 8, .batch_rank = 1};
  p.batch[0] = {132, 0, 8};
  check_matmul<bf16>(p, ScalarOp::None, kOne);
  p.transpose_b = true;
  check_matmul<f16>(p, ScalarOp::None, kOne);
  check_matmul<float>(p, ScalarOp::None, kOne);
  p.allow_tf32 = true;
  check_matmul<float>(p, ScalarOp::None, kOne);
}

TEST_F(PtxProducts, MatmulSlicesAndOtherActivations) {
  check_matmul<float>({.m = 9, .n = 12, .k = 520}, ScalarOp::Relu);
  check_matmul<f16>({.m = 16, .n = 16, .k = 520});
  check_matmul<bf16>({.m = 9, .n = 9, .k = 8}, ScalarOp::Gelu);
}

TEST_F(PtxProducts, MatmulSkinny) {
  for (int i = 0; i < 4; ++i)
    for (const std::int64_t few : {1, 3}) {
      check_matmul<float>(form({.m = few, .n = 20, .k = 36}, i));
      check_matmul<f16>(form({.m = 24, .n = few, .k = 40}, i), ScalarOp::Relu);
      check_matmul<bf16>(form({.m = few, .n = 11, .k = 37}, i));
    }
}

TEST_F(PtxProducts, ConvTiles) {
  const ConvProblem p{
      .n = 1, .c = 8, .h = 5, .w = 4, .o = 16, .kh = 3, .kw = 2, .stride = {2, 1}, .padding = {1, 1}};
  check_conv<float>(p, ScalarOp::Relu);
  check_conv<f16>(p, ScalarOp::Relu);
  check_conv<bf16>(p);
  // Phases without a tap are written by the second pass.
  check_conv<f16>({.n = 1, .c = 8, .h = 5, .w = 4, .o = 8, .stride = {2, 2}, .padding = {1, 1}});
  ConvProblem tf32 = p;
  tf32.allow_tf32 = true;
  check_conv<float>(tf32);
}

TEST_F(PtxProducts, ConvAnyChannelsAndGroups) {
  const ConvProblem p{.n = 1,
                      .c = 6,
                      .h = 5,
                      .w = 4,
                      .o = 4,
                      .kh = 3,
                      .kw = 3,
                      .padding = {1, 1},
                      .dilation = {1, 2},
                      .groups = 2};
  check_conv<float>(p);
  check_conv<f16>(p, ScalarOp::Tanh);
  check_conv<bf16>(p);
}

TEST_F(PtxProducts, ConvLargeTiles) {
  check_conv<bf16>({.n = 1, .c = 8 * 132, .h = 5, .w = 14, .o = 72 * 132, .kh = 1, .kw = 1, .groups = 132},
                   ScalarOp::None, kOne);
  check_conv<f16>({.n = 1, .c = 72 * 132, .h = 5, .w = 14, .o = 8 * 132, .kh = 1, .kw = 1, .groups = 132},
                  ScalarOp::None, kOne);
  check_conv<float>({.n = 1, .c = 72 * 66, .h = 1, .w = 2, .o = 72 * 66, .kh = 1, .kw = 2, .groups = 66},
                    ScalarOp::None, kOne);
}

TEST_F(PtxProducts, ConvDepthwise) {
  for (const std::int64_t c : {16, 5}) {
    const ConvProblem p{.n = 1,
                        .c = c,
                        .h = 5,
                        .w = 6,
                        .o = c,
                        .kh = 3,
                        .kw = 3,
                        .stride = {1, 2},
                        .padding = {1, 1},
                        .groups = c};
    check_conv<float>(p, ScalarOp::Relu);
    check_conv<f16>(p);
    check_conv<bf16>(p, ScalarOp::Silu);
  }
}

}  // namespace
}  // namespace ingot
