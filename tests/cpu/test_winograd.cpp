// Winograd's 3x3 convolutions and their gradients against the references, on every level that has them.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/ops/conv.h"
#include "cpu/simd/conv_bf16_kernels.h"
#include "cpu/simd/conv_winograd_kernels.h"
#include "cpu/winograd.h"
#include "tests/cpu/lowering_check.h"

namespace ingot {
namespace {

using test::check_lowering;
using test::draw;

struct Problem {
  std::int64_t n, c, h, w, o;
  std::array<std::int64_t, 2> padding{1, 1};

  Shape x() const { return {n, c, h, w}; }
  Shape weight() const { return {o, c, 3, 3}; }
  Shape y() const { return {n, o, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2}; }
};

const std::vector<Problem>& problems() {
  static const std::vector<Problem> all = {
      {3, 16, 16, 16, 16},         // whole tiles
      {2, 16, 3, 3, 64},           // less than a tile
      {2, 32, 14, 13, 48},         // a rest of rows and columns; panels of one vector
      {2, 64, 9, 18, 32, {0, 0}},  // every pixel inside
      {2, 16, 10, 9, 32, {2, 0}},  // one axis padded
      {1, 16, 6, 7, 16, {3, 4}},   // results that see padding alone
      {1, 144, 21, 22, 64},        // several blocks of tiles, and of channels in the first-level cache
      {3, 144, 8, 7, 144},         // many weights
      {1, 160, 9, 9, 128},        {2, 272, 5, 6, 64, {0, 1}},
  };
  return all;
}

// Operands are uniform in [-1, 1), so a sum of n products has a root mean square of sqrt(n) / 3, and errors
// are shares of that, not of a result that happens to be small. A result in bf16 adds its own rounding.
double tolerance(DType dtype, std::int64_t products) {
  const double sums = 2e-6 * std::sqrt(static_cast<double>(products));
  return dtype == DType::F32 ? sums : sums + 1.0 / 256;
}

using Kernels = std::set<std::string>;

// On each level, with one to three threads, weights row-major, as the kernels want them, and turned.
template <class F>
Kernels everywhere(const F& f) {
  Kernels kernels;
  Layout turned = cpu::winograd_weight_layout();
  std::swap(turned.blocks[0], turned.blocks[1]);
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    if (cpu::winograd_kernels(level) == nullptr) continue;
    const cpu::CpuLevelScope scope(level);
    for (const int threads : {1, 2, 3})
      for (const Problem& p : problems())
        for (const DType dtype : {DType::F32, DType::BF16}) {
          const Layout weights[] = {cpu::winograd_weight_layout(), turned, {}};
          kernels.insert(f(p, dtype, threads, weights[threads - 1]));
        }
  }
  return kernels;
}

const Layout kImage = Layout::channels_last(4);

std::string forward(const Problem& p, const Conv2dAttrs& a, DType dtype, int threads, const Layout& weight) {
  std::vector<TensorType> types{{dtype, p.x()}, {dtype, p.weight()}};
  Backend::Layouts layouts{{kImage, weight}, {kImage}};
  if (a.has_bias) types.push_back({dtype, {p.o}}), layouts.inputs.push_back({});
  if (a.has_residual) types.push_back({dtype, p.y()}), layouts.inputs.push_back(kImage);
  return check_lowering("conv2d", a, draw(types, 1), tolerance(dtype, 9 * p.c), threads, &layouts,
                        [&](const Graph& g, const Node& node) {
                          const auto in = [&](std::size_t i) -> const TensorType& {
                            return g.type(node.inputs.at(i));
                          };
                          cpu::WinogradProblem q{in(0), in(1), g.type(node.outputs[0])};
                          q.top = a.padding[0], q.left = a.padding[1];
                          q.has_bias = a.has_bias;
                          q.relu = a.activation == "relu";
                          if (a.has_residual) q.residual = &in(2 + a.has_bias);
                          return cpu::make_winograd(q, threads);
                        })
      .kernel;
}

TEST(Winograd, ForwardMatchesReference) {
  EXPECT_EQ(everywhere([](const Problem& p, DType dtype, int threads, const Layout& weight) {
              return forward(p, Conv2dAttrs{.padding = p.padding}, dtype, threads, weight);
            }),
            (Kernels{"winograd:outputs", "winograd:tiles"}));
}

TEST(Winograd, EpilogueMatchesReference) {
  everywhere([](const Problem& p, DType dtype, int threads, const Layout& weight) {
    std::string kernel;
    for (int flags = 1; flags < 8; ++flags) {
      if (p.c * p.o * threads > 3000 && flags != 7) continue;
      Conv2dAttrs a{.padding = p.padding};
      a.has_bias = flags & 1, a.has_residual = flags & 2;
      if (flags & 4) a.activation = "relu";
      kernel = forward(p, a, dtype, threads, weight);
    }
    return kernel;
  });
}

TEST(Winograd, GradInputMatchesReference) {
  const Kernels kernels = everywhere([](const Problem& p, DType dtype, int threads, const Layout& weight) {
    Conv2dGradInputAttrs a{.padding = p.padding};
    a.input_shape = p.x();
    const Backend::Layouts layouts{{kImage, weight}, {kImage}};
    return check_lowering("conv2d_grad_input", a, draw({{dtype, p.y()}, {dtype, p.weight()}}, 3),
                          tolerance(dtype, 9 * p.o), threads, &layouts,
                          [&](const Graph& g, const Node& node) {
                            cpu::WinogradProblem q{g.type(node.inputs[0]), g.type(node.inputs[1]),
                                                   g.type(node.outputs[0])};
                            q.top = 2 - p.padding[0], q.left = 2 - p.padding[1];
                            q.gradient = true;
                            return cpu::make_winograd(q, threads);
                          })
        .kernel;
  });
  EXPECT_EQ(kernels, (Kernels{"winograd:outputs", "winograd:tiles"}));
}

TEST(Winograd, GradWeightMatchesReference) {
  const Kernels kernels = everywhere([](const Problem& p, DType dtype, int threads, const Layout& weight) {
    Conv2dGradWeightAttrs a{.padding = p.padding};
    a.weight_shape = p.weight();
    const Backend::Layouts layouts{{kImage, kImage}, {weight}};
    return check_lowering("conv2d_grad_weight", a, draw({{dtype, p.x()}, {dtype, p.y()}}, 4),
                          tolerance(dtype, p.n * p.y()[2] * p.y()[3]), threads, &layouts,
                          [&](const Graph& g, const Node& node) {
                            return cpu::make_winograd_grad_weight(
                                g.type(node.inputs[0]), g.type(node.inputs[1]), g.type(node.outputs[0]),
                                p.padding[0], p.padding[1], threads);
                          })
        .kernel;
  });
  EXPECT_EQ(kernels, (Kernels{"winograd:channels", "winograd:tiles"}));
}

double root_mean_square_error(const Tensor& got, const Tensor& want) {
  double errors = 0, sums = 0;
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    errors += std::pow(got.get(i) - want.get(i), 2);
    sums += std::pow(want.get(i), 2);
  }
  return std::sqrt(errors / sums);
}

// What does not fit into the caches is evaluated some tiles at a time; and many tiles are a long sum, whose
// error is compared with that of direct sums in f32 (2.4e-7 of the gradients; here 1.1e-6).
TEST(Winograd, WeightGradientOverManyTiles) {
  if (cpu::winograd_kernels(cpu::cpu_level()) == nullptr) GTEST_SKIP() << "this processor has no AVX2";
  const Problem p{2, 96, 50, 70, 112};
  Conv2dGradWeightAttrs a{.padding = p.padding};
  a.weight_shape = p.weight();
  const auto in = draw({{DType::F32, p.x()}, {DType::F32, p.y()}}, 5);
  std::vector<Tensor> exact;
  for (const Tensor& t : in) exact.push_back(t.to(DType::F64));
  const Tensor want = test::reference_of("conv2d_grad_weight", a, exact).at(0);
  const auto here = test::run_lowered("conv2d_grad_weight", a, in);
  EXPECT_EQ(here.kernel, "winograd:channels");
  const cpu::CpuLevelScope scope(cpu::CpuLevel::Base);
  const auto direct = test::run_lowered("conv2d_grad_weight", a, in);
  EXPECT_FALSE(direct.kernel.starts_with("winograd:"));
  EXPECT_LE(root_mean_square_error(here.outputs.at(0), want),
            6 * root_mean_square_error(direct.outputs.at(0), want));
}

TEST(Winograd, ForwardOverManyTiles) {
  if (cpu::winograd_kernels(cpu::cpu_level()) == nullptr) GTEST_SKIP() << "this processor has no AVX2";
  const Problem p{3, 160, 49, 70, 128};
  const Layout weight = cpu::winograd_weight_layout();
  EXPECT_EQ(forward(p, Conv2dAttrs{.padding = p.padding}, DType::F32, 2, weight), "winograd:outputs");
}

// Where transforms would cost more than they save, the library's kernels run.
TEST(Winograd, IsLeftWhereItDoesNotPay) {
  EXPECT_LT(cpu::winograd_share({16, 64, 56, 56}, {16, 64, 56, 56}, DType::F32), 1);
  EXPECT_LT(cpu::winograd_share({128, 16, 32, 32}, {128, 16, 32, 32}, DType::F32), 1);
  EXPECT_LT(cpu::winograd_share({16, 64, 56, 56}, {16, 64, 56, 56}, DType::BF16), 1);
  EXPECT_GE(cpu::winograd_share({1, 512, 2, 2}, {1, 512, 2, 2}, DType::F32), 1) << "few pixels, many weights";
  EXPECT_GE(cpu::winograd_share({16, 64, 1, 1}, {16, 64, 1, 1}, DType::F32), 1)
      << "tiles that are mostly empty";
  if (cpu::bfloat_conv_kernels() != nullptr) {
    EXPECT_GE(cpu::winograd_share({128, 16, 32, 32}, {128, 16, 32, 32}, DType::BF16), 1) << "few channels";
  }
}

}  // namespace
}  // namespace ingot
