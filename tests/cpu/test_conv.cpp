// oneDNN convolutions and matrix products against the references, in the layouts the backend chooses.
#include <gtest/gtest.h>

#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/view.h"
#include "cpu/simd/conv_bf16_kernels.h"
#include "cpu/simd/level.h"
#include "tests/cpu/lowering_check.h"

namespace ingot {
namespace {

using test::check_lowering;
using test::draw;

struct ConvCase {
  std::int64_t n, c, h, w, o, kh, kw;
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;

  Shape x() const { return {n, c, h, w}; }
  Shape weight() const { return {o, c / groups, kh, kw}; }
  Shape y() const {
    return {n, o, conv_output_size(h, kh, stride[0], padding[0], dilation[0]),
            conv_output_size(w, kw, stride[1], padding[1], dilation[1])};
  }
  template <class A>
  A attrs() const {
    A a;
    a.stride = stride;
    a.padding = padding;
    a.dilation = dilation;
    a.groups = groups;
    return a;
  }
};

const std::vector<ConvCase>& conv_cases() {
  static const std::vector<ConvCase> cases = {
      {2, 1, 12, 12, 6, 5, 5, {1, 1}, {2, 2}},   // first layer of LeNet
      {2, 6, 9, 9, 16, 5, 5},                    // its second
      {2, 3, 16, 16, 16, 3, 3, {1, 1}, {1, 1}},  // first layer of ResNet-20
      {1, 3, 21, 21, 32, 7, 7, {2, 2}, {3, 3}},  // of ResNet-18
      {2, 16, 8, 8, 16, 3, 3, {1, 1}, {1, 1}},
      {2, 16, 9, 8, 32, 3, 3, {2, 2}, {1, 1}},  // a row over at the end
      {2, 32, 7, 7, 64, 1, 1},
      {2, 16, 7, 8, 32, 1, 1, {2, 2}},                // downsampling shortcut
      {1, 5, 7, 9, 7, 3, 2, {2, 1}, {0, 1}, {1, 2}},  // nothing even, dilated
      {2, 64, 5, 5, 48, 3, 3, {1, 1}, {2, 2}, {2, 2}},
      {1, 8, 6, 6, 12, 3, 3, {1, 1}, {1, 1}, {1, 1}, 4},    // groups smaller than a block
      {2, 64, 6, 6, 64, 3, 3, {1, 1}, {1, 1}, {1, 1}, 2},   // groups of two blocks
      {2, 24, 8, 8, 24, 3, 3, {1, 1}, {1, 1}, {1, 1}, 24},  // depthwise, padded block
      {1, 32, 8, 8, 32, 3, 3, {2, 2}, {1, 1}, {1, 1}, 32},
      {1, 4, 6, 6, 8, 3, 3, {1, 1}, {1, 1}, {1, 1}, 4},  // depthwise with a multiplier
  };
  return cases;
}

TEST(CpuConv, ForwardMatchesReference) {
  for (const ConvCase& c : conv_cases()) {
    const auto r = check_lowering("conv2d", c.attrs<Conv2dAttrs>(),
                                  draw({{DType::F32, c.x()}, {DType::F32, c.weight()}}, 1));
    EXPECT_TRUE(r.kernel.starts_with("onednn:") || r.kernel.starts_with("planar:") ||
                r.kernel.starts_with("winograd:"))
        << r.kernel;
    EXPECT_EQ(r.kernel.find("ref"), std::string::npos) << r.kernel << " for " << to_string(c.weight());
  }
}

TEST(CpuConv, EpilogueMatchesReference) {
  for (const ConvCase& c : conv_cases())
    for (int flags = 1; flags < 8; ++flags) {
      auto a = c.attrs<Conv2dAttrs>();
      std::vector<TensorType> types{{DType::F32, c.x()}, {DType::F32, c.weight()}};
      if ((a.has_bias = flags & 1)) types.push_back({DType::F32, {c.o}});
      if ((a.has_residual = flags & 2)) types.push_back({DType::F32, c.y()});
      if (flags & 4) a.activation = "relu";
      check_lowering("conv2d", a, draw(types, 2));
    }
}

// By oneDNN's kernel everywhere: those that know no other activation than ReLU leave these to it.
TEST(CpuConv, OtherActivationsMatchReference) {
  for (const ConvCase& c : conv_cases())
    for (const char* activation : {"relu6", "silu", "hard_swish", "tanh", "sigmoid"}) {
      auto a = c.attrs<Conv2dAttrs>();
      a.has_bias = a.has_residual = true;
      a.activation = activation;
      const auto r = check_lowering(
          "conv2d", a,
          draw({{DType::F32, c.x()}, {DType::F32, c.weight()}, {DType::F32, {c.o}}, {DType::F32, c.y()}}, 2));
      EXPECT_TRUE(r.kernel.starts_with("onednn:")) << r.kernel << " for " << to_string(c.weight());
    }
}

TEST(CpuConv, GradInputMatchesReference) {
  for (const ConvCase& c : conv_cases()) {
    auto a = c.attrs<Conv2dGradInputAttrs>();
    a.input_shape = c.x();
    const auto r =
        check_lowering("conv2d_grad_input", a, draw({{DType::F32, c.y()}, {DType::F32, c.weight()}}, 3));
    EXPECT_EQ(r.kernel.find("ref"), std::string::npos) << r.kernel << " for " << to_string(c.weight());
  }
}

// Lanes over either image's channels, tiles of one to three vectors, blocks of pixels cut short, and threads
// that share the pixels; channels that fill no vector, and strides, are oneDNN's.
TEST(CpuConv, PointwiseGradWeightMatchesReference) {
  struct Case {
    std::int64_t n, c, h, w, o, stride;
    bool ours;
  };
  const Case cases[] = {{1, 16, 3, 3, 16, 1, true},    {3, 8, 9, 9, 32, 1, true},
                        {2, 48, 5, 5, 8, 1, true},     {5, 24, 29, 31, 80, 1, true},
                        {3, 160, 24, 24, 96, 1, true}, {2, 64, 8, 8, 64, 1, true},
                        {2, 6, 8, 8, 10, 1, false},    {2, 16, 9, 9, 16, 2, false}};
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    const cpu::CpuLevelScope scope(level);
    for (const Case& c : cases) {
      Conv2dGradWeightAttrs a;
      a.stride = {c.stride, c.stride};
      a.weight_shape = {c.o, c.c, 1, 1};
      const std::int64_t oh = (c.h - 1) / c.stride + 1, ow = (c.w - 1) / c.stride + 1;
      const auto r = check_lowering(
          "conv2d_grad_weight", a,
          draw({{DType::F32, {c.n, c.c, c.h, c.w}}, {DType::F32, {c.n, c.o, oh, ow}}}, 4), 1e-4);
      EXPECT_EQ(r.kernel.starts_with("pointwise:"), c.ours) << r.kernel << ", " << c.c << " to " << c.o;
    }
  }
}

TEST(CpuConv, GradWeightMatchesReference) {
  for (const ConvCase& c : conv_cases()) {
    auto a = c.attrs<Conv2dGradWeightAttrs>();
    a.weight_shape = c.weight();
    const auto r =
        check_lowering("conv2d_grad_weight", a, draw({{DType::F32, c.x()}, {DType::F32, c.y()}}, 4), 1e-4);
    EXPECT_EQ(r.kernel.find("ref"), std::string::npos) << r.kernel << " for " << to_string(c.weight());
  }
}

TEST(CpuConv, StridedPointwiseGradientIsSpread) {
  const ConvCase c{2, 16, 7, 8, 32, 1, 1, {2, 3}};
  auto a = c.attrs<Conv2dGradInputAttrs>();
  a.input_shape = c.x();
  const auto r =
      check_lowering("conv2d_grad_input", a, draw({{DType::F32, c.y()}, {DType::F32, c.weight()}}, 10));
  EXPECT_NE(r.kernel.find("+spread"), std::string::npos) << r.kernel;
}

// oneDNN's own kernel for it writes out of bounds, so the touched pixels are packed first.
TEST(CpuConv, StridedPointwiseWeightGradientIsPacked) {
  const ConvCase c{3, 5, 7, 8, 7, 1, 1, {2, 3}};
  auto a = c.attrs<Conv2dGradWeightAttrs>();
  a.weight_shape = c.weight();
  const auto r =
      check_lowering("conv2d_grad_weight", a, draw({{DType::F32, c.x()}, {DType::F32, c.y()}}, 11));
  EXPECT_NE(r.kernel.find("+pack"), std::string::npos) << r.kernel;
}

// What a result in bf16 adds to the tolerance of its sums.
constexpr double kRounded = 1.0 / 256;

TEST(CpuConv, StridedPointwiseInBf16) {
  if (cpu::bfloat_conv_kernels() == nullptr) GTEST_SKIP() << "this processor does not compute in bf16";
  for (const ConvCase& c : {ConvCase{2, 16, 7, 8, 32, 1, 1, {2, 3}}, ConvCase{3, 5, 7, 8, 7, 1, 1, {2, 2}}}) {
    const TensorType x{DType::BF16, c.x()}, w{DType::BF16, c.weight()}, y{DType::BF16, c.y()};
    auto to_input = c.attrs<Conv2dGradInputAttrs>();
    to_input.input_shape = c.x();
    auto to_weight = c.attrs<Conv2dGradWeightAttrs>();
    to_weight.weight_shape = c.weight();
    for (const std::string& kernel :
         {check_lowering("conv2d", c.attrs<Conv2dAttrs>(), draw({x, w}, 14), kRounded).kernel,
          check_lowering("conv2d_grad_input", to_input, draw({y, w}, 15), kRounded).kernel,
          check_lowering("conv2d_grad_weight", to_weight, draw({x, y}, 16), kRounded).kernel})
      EXPECT_FALSE(kernel.starts_with("f32:")) << kernel;
  }
}

TEST(CpuConv, OneChannelInBf16IsLeftToThePlanarKernel) {
  const ConvCase c{3, 1, 28, 28, 6, 5, 5, {1, 1}, {2, 2}};
  const auto r = check_lowering("conv2d", c.attrs<Conv2dAttrs>(),
                                draw({{DType::BF16, c.x()}, {DType::BF16, c.weight()}}, 12), kRounded);
  EXPECT_TRUE(r.kernel.starts_with("f32:planar:")) << r.kernel;
}

TEST(CpuConv, WeightGradientOverPairsOfImages) {
  if (cpu::bfloat_conv_kernels() == nullptr) GTEST_SKIP() << "this processor does not multiply pairs of bf16";
  const std::vector<ConvCase> cases = {
      {2, 16, 8, 8, 16, 3, 3, {1, 1}, {1, 1}},
      {3, 16, 9, 8, 32, 3, 3, {2, 2}, {1, 1}},  // an image without a partner, a row over at the end
      {1, 32, 7, 7, 64, 1, 1},
      {4, 48, 6, 5, 24, 1, 1, {2, 3}, {1, 2}},  // an odd block, pixels that no window touches, padding
      {5, 16, 11, 12, 8, 5, 4, {1, 2}, {2, 0}, {2, 1}},
      {2, 16, 9, 9, 8, 7, 7, {2, 2}, {3, 3}},
      {2, 16, 9, 100, 16, 3, 3, {1, 1}, {1, 1}},  // some rows at a time
      {9, 64, 4, 4, 72, 3, 3, {1, 1}, {1, 1}},    // some pairs at a time
  };
  for (const ConvCase& c : cases)
    for (const int threads : {1, 2, 3}) {
      auto a = c.attrs<Conv2dGradWeightAttrs>();
      a.weight_shape = c.weight();
      const auto r = check_lowering(
          "conv2d_grad_weight", a, draw({{DType::BF16, c.x()}, {DType::BF16, c.y()}}, 17), kRounded, threads);
      EXPECT_EQ(r.kernel, "bf16:pairs") << to_string(c.weight());
    }
}

// Few output channels: columns are the vector's lanes, on every level.
TEST(CpuConv, PlanarKernelMatchesReference) {
  const std::vector<ConvCase> cases = {
      {3, 1, 28, 28, 6, 5, 5, {1, 1}, {2, 2}},  // LeNet's first layer
      {2, 3, 9, 16, 1, 3, 3, {1, 1}, {1, 1}},   // one output channel: wanted at any width
      {3, 5, 5, 35, 1, 2, 4, {1, 1}, {0, 3}},   // two blocks and a rest of columns, one-sided rest of rows
      {1, 2, 6, 32, 2, 3, 1},
      {2, 4, 7, 16, 3, 1, 1},
      {2, 2, 8, 31, 4, 3, 3, {1, 1}, {2, 2}},
      {2, 2, 4, 16, 5, 1, 3, {1, 1}, {0, 1}},
      {2, 3, 9, 32, 7, 3, 3, {1, 1}, {1, 1}},
      {2, 3, 9, 32, 8, 3, 3, {1, 1}, {1, 1}},
  };
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    const cpu::CpuLevelScope scope(level);
    int planar = 0;
    for (const ConvCase& c : cases) {
      for (int flags = 0; flags < 4; ++flags) {
        auto a = c.attrs<Conv2dAttrs>();
        std::vector<TensorType> types{{DType::F32, c.x()}, {DType::F32, c.weight()}};
        if ((a.has_bias = flags & 1)) types.push_back({DType::F32, {c.o}});
        if (flags & 2) a.activation = "relu";
        planar += check_lowering("conv2d", a, draw(types, 12)).kernel.starts_with("planar:");
      }
      // The same convolution as a data gradient: input and output change places.
      ConvCase t = c;
      std::swap(t.c, t.o);
      auto a = t.attrs<Conv2dGradInputAttrs>();
      a.input_shape = t.x();
      planar +=
          check_lowering("conv2d_grad_input", a, draw({{DType::F32, t.y()}, {DType::F32, t.weight()}}, 13))
              .kernel.starts_with("planar:");
    }
    EXPECT_GE(planar, level == cpu::CpuLevel::V4 ? 30 : 8) << cpu::name(level);
  }
}

// Few channels: the data gradient spreads each pixel, the weight gradient has columns as lanes.
TEST(CpuConv, GradientsOfFewChannelsMatchReference) {
  const std::vector<ConvCase> cases = {
      {3, 6, 14, 14, 16, 5, 5},                 // LeNet's second layer
      {3, 1, 28, 28, 6, 5, 5, {1, 1}, {2, 2}},  // and its first
      {2, 3, 9, 11, 5, 5, 5, {1, 1}, {2, 2}},
      {2, 4, 6, 10, 3, 3, 3, {1, 1}, {1, 0}},  // padding on one axis
      {1, 2, 8, 40, 7, 2, 7, {1, 1}, {1, 3}},
      {2, 5, 7, 9, 4, 3, 3, {1, 1}, {2, 2}},  // padding as wide as the window
      {2, 1, 5, 19, 8, 1, 6},
      {1, 2, 4, 33, 2, 3, 1},
      {2, 1, 12, 16, 1, 3, 3, {1, 1}, {1, 1}},
      {1, 9, 5, 8, 4, 3, 5, {1, 1}, {1, 2}},
  };
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    const cpu::CpuLevelScope scope(level);
    int spread = 0, planar = 0;
    for (const ConvCase& c : cases)
      for (const int threads : {1, 2}) {
        auto a = c.attrs<Conv2dGradInputAttrs>();
        a.input_shape = c.x();
        spread += check_lowering("conv2d_grad_input", a,
                                 draw({{DType::F32, c.y()}, {DType::F32, c.weight()}}, 21), 2e-5, threads)
                      .kernel.starts_with("spread:");
        auto w = c.attrs<Conv2dGradWeightAttrs>();
        w.weight_shape = c.weight();
        planar += check_lowering("conv2d_grad_weight", w,
                                 draw({{DType::F32, c.x()}, {DType::F32, c.y()}}, 22), 2e-5, threads)
                      .kernel.starts_with("planar:");
      }
    // Which kernel is the better choice depends on the width of a vector.
    const bool v4 = level == cpu::CpuLevel::V4, v3 = level == cpu::CpuLevel::V3;
    EXPECT_GE(spread, v4 ? 8 : v3 ? 6 : 0) << cpu::name(level);
    EXPECT_GE(planar, v4 ? 10 : 4) << cpu::name(level);
  }
}

// A weight and its gradient must lie alike, or every update would need a reorder.
TEST(CpuConv, GradWeightLiesAsTheWeight) {
  for (const ConvCase& c : conv_cases()) {
    auto a = c.attrs<Conv2dGradWeightAttrs>();
    a.weight_shape = c.weight();
    const auto x = draw({{DType::F32, c.x()}, {DType::F32, c.weight()}, {DType::F32, c.y()}}, 5);
    const auto forward = test::run_lowered("conv2d", c.attrs<Conv2dAttrs>(), {x[0], x[1]});
    const auto backward = test::run_lowered("conv2d_grad_weight", a, {x[0], x[2]});
    EXPECT_EQ(forward.layouts.inputs[1], backward.layouts.outputs[0]) << to_string(c.weight());
  }
}

TEST(CpuConv, RowMajorOperandsWorkToo) {
  const ConvCase& c = conv_cases()[4];
  const auto x = draw({{DType::F32, c.x()}, {DType::F32, c.weight()}}, 6);
  const Backend::Layouts plain{{{}, {}}, {{}}};
  const auto r = test::run_lowered("conv2d", c.attrs<Conv2dAttrs>(), x, 1, &plain);
  test::expect_near(r.outputs, test::reference_of("conv2d", c.attrs<Conv2dAttrs>(), x), 2e-5, r.kernel);
}

TEST(CpuConv, SameThreadsSameBits) {
  const ConvCase c{8, 16, 16, 16, 32, 3, 3, {1, 1}, {1, 1}};
  auto a = c.attrs<Conv2dGradWeightAttrs>();
  a.weight_shape = c.weight();
  const auto x = draw({{DType::F32, c.x()}, {DType::F32, c.y()}}, 7);
  const auto first = test::run_lowered("conv2d_grad_weight", a, x);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(bitwise_equal(first.outputs[0], test::run_lowered("conv2d_grad_weight", a, x).outputs[0]));
}

TEST(CpuMatmul, MatchesReference) {
  struct Case {
    Shape a, b;
    bool ta, tb;
  };
  const std::vector<Case> cases = {
      {{64, 120}, {84, 120}, false, true},
      {{64, 10}, {10, 84}, false, false},
      {{64, 10}, {64, 84}, true, false},
      {{3, 5}, {5, 7}, false, false},
      {{5, 3}, {7, 5}, true, true},
      {{1, 1}, {1, 1}, false, false},
      {{2, 3, 4, 5}, {3, 5, 6}, false, false},
      {{4, 1, 5}, {1, 5, 3}, false, false},
      {{2, 3, 5}, {5, 4}, false, false},
      {{2, 5, 3}, {5, 4}, true, false},
      {{2, 1, 3, 4}, {6, 2, 4}, false, true},
  };
  for (const Case& c : cases)
    for (int flags = 0; flags < 8; ++flags) {
      MatmulAttrs a;
      a.transpose_a = c.ta;
      a.transpose_b = c.tb;
      const MatmulSizes s = matmul_sizes(c.a, c.b, c.ta, c.tb);
      Shape y = s.batch;
      y.push_back(s.m);
      y.push_back(s.n);
      std::vector<TensorType> types{{DType::F32, c.a}, {DType::F32, c.b}};
      if ((a.has_bias = flags & 1)) types.push_back({DType::F32, {s.n}});
      if ((a.has_residual = flags & 2)) types.push_back({DType::F32, y});
      if (flags & 4) a.activation = "relu";
      const auto r = check_lowering("matmul", a, draw(types, 8));
      EXPECT_EQ(r.kernel.find("ref"), std::string::npos)
          << r.kernel << " for " << to_string(c.a) << to_string(c.b);
    }
}

TEST(CpuReorder, MovesEveryDtypeAndBack) {
  const Layout nhwc = Layout::channels_last(4);
  Layout blocked = nhwc;
  blocked.order = {0, 1, 2, 3};
  blocked.num_blocks = 1;
  blocked.blocks[0] = {1, 16};
  for (const DType d : {DType::F32, DType::F64, DType::BF16, DType::I64, DType::U8, DType::Bool, DType::I32})
    for (const Layout& to : {nhwc, blocked, Layout::row_major()})
      for (const Layout& from : {Layout::row_major(), nhwc, blocked}) {
        if (from == to) continue;
        Tensor x({d, {2, 19, 5, 4}});
        for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, static_cast<double>(i * 7 % 127));
        const Backend::Layouts l{{from}, {to}};
        const auto r = test::run_lowered("reorder", ReorderAttrs{to}, {x}, 2, &l);
        EXPECT_TRUE(bitwise_equal(r.outputs.at(0), x))
            << name(d) << to_string(from) << to_string(to) << r.kernel;
      }
}

TEST(CpuReorder, UnitAxesMakeAView) {
  const Tensor x = draw({{DType::F32, {4, 1, 6, 6}}}, 9)[0];
  const auto r = test::run_lowered("reorder", ReorderAttrs{Layout::channels_last(4)}, {x});
  EXPECT_EQ(r.kernel, "view");
}

}  // namespace
}  // namespace ingot
