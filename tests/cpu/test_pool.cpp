// Channels-last pooling and its gradients against the references.
#include <gtest/gtest.h>

#include <limits>

#include "core/ops/pool.h"
#include "cpu/simd/level.h"
#include "tests/cpu/lowering_check.h"

namespace ingot {
namespace {

using test::check_lowering;
using test::draw;

struct PoolCase {
  Shape x;
  std::array<std::int64_t, 2> kernel, stride, padding;
  bool ceil = false;
};

const std::vector<PoolCase>& pool_cases() {
  static const std::vector<PoolCase> cases = {
      {{2, 6, 28, 28}, {2, 2}, {2, 2}, {0, 0}},
      {{3, 64, 14, 14}, {3, 3}, {2, 2}, {1, 1}},
      {{2, 70, 9, 7}, {3, 2}, {2, 1}, {1, 0}},
      {{1, 5, 10, 11}, {3, 3}, {2, 2}, {0, 0}, true},
      {{2, 3, 7, 8}, {3, 3}, {2, 2}, {1, 1}, true},
      {{1, 130, 5, 5}, {2, 2}, {1, 1}, {1, 1}},
      {{1, 2, 40, 40}, {20, 20}, {3, 3}, {0, 0}},  // more than 256 cells: i32 offsets
      {{2, 4, 9, 9}, {1, 1}, {3, 3}, {0, 0}},      // pixels that no window covers
      // Channels that do not fill a vector, rows long enough to be read as one run of floats.
      {{2, 16, 10, 10}, {2, 2}, {2, 2}, {0, 0}},
      {{2, 7, 17, 19}, {3, 3}, {2, 2}, {1, 1}},
      {{1, 3, 30, 31}, {2, 3}, {1, 1}, {0, 1}},
      {{1, 20, 12, 13}, {2, 2}, {3, 3}, {0, 0}},
      {{1, 33, 9, 9}, {3, 3}, {2, 2}, {1, 1}, true},
  };
  return cases;
}

template <class A>
A attrs_of(const PoolCase& c) {
  A a;
  a.kernel = c.kernel;
  a.stride = c.stride;
  a.padding = c.padding;
  a.ceil_mode = c.ceil;
  return a;
}

TEST(CpuPool, MaximaAndTheirGradient) {
  for (const PoolCase& c : pool_cases()) {
    auto x = draw({{DType::F32, c.x}}, 11);
    // Ties: the first must win.
    for (std::int64_t i = 0; i < x[0].numel(); i += 3) x[0].set(i, 0.5);
    const auto attrs = attrs_of<MaxPool2dAttrs>(c);
    const auto r = check_lowering("max_pool2d", attrs, x, 0.0);
    EXPECT_EQ(r.kernel.rfind("max_pool2d:", 0), 0u) << r.kernel;
    const auto forward = test::reference_of("max_pool2d", attrs, x);
    auto grad = attrs_of<MaxPool2dGradAttrs>(c);
    grad.input_shape = c.x;
    const auto g = check_lowering("max_pool2d_grad", grad,
                                  {draw({{DType::F32, forward[0].shape()}}, 12)[0], forward[1]}, 1e-6);
    EXPECT_EQ(g.kernel.rfind("max_pool2d_grad:", 0), 0u) << g.kernel;
  }
}

TEST(CpuPool, MaximaAndTheirGradientInBf16) {
  const bool vectors = cpu::cpu_level() == cpu::CpuLevel::V4;
  for (const PoolCase& c : pool_cases()) {
    const bool bytes = c.kernel[0] * c.kernel[1] <= 256;  // offsets
    auto x = draw({{DType::BF16, c.x}}, 11);
    for (std::int64_t i = 0; i < x[0].numel(); i += 3) x[0].set(i, 0.5);
    const auto attrs = attrs_of<MaxPool2dAttrs>(c);
    const auto r = check_lowering("max_pool2d", attrs, x, 0.0);
    EXPECT_EQ(r.kernel.starts_with("bf16:max_pool2d:"), vectors && bytes) << r.kernel;
    auto grad = attrs_of<MaxPool2dGradAttrs>(c);
    grad.input_shape = c.x;
    const Tensor dy = draw({{DType::BF16, r.outputs[0].shape()}}, 12)[0];
    const auto g = check_lowering("max_pool2d_grad", grad, {dy, r.outputs[1]}, 1.0 / 256);
    EXPECT_EQ(g.kernel.starts_with("bf16:max_pool2d_grad:"), vectors && bytes) << g.kernel;
  }
}

// Over one vector per pixel, and over rows as one run of floats.
TEST(CpuPool, NanWinsOverAll) {
  for (const Shape& shape : {Shape{1, 3, 4, 4}, Shape{1, 6, 28, 28}}) {
    Tensor x = draw({{DType::F32, shape}}, 13)[0];
    x.set(5, std::numeric_limits<double>::quiet_NaN());
    x.set(0, std::numeric_limits<double>::quiet_NaN());
    const auto r = test::run_lowered("max_pool2d", MaxPool2dAttrs{}, {x});
    const auto want = test::reference_of("max_pool2d", MaxPool2dAttrs{}, {x});
    EXPECT_EQ(r.kernel.rfind("max_pool2d:", 0), 0u) << r.kernel;
    EXPECT_TRUE(std::isnan(r.outputs[0].get(0)));
    EXPECT_TRUE(bitwise_equal(r.outputs[1], want[1]));
  }
}

TEST(CpuPool, AveragesAndTheirGradient) {
  for (const PoolCase& c : pool_cases())
    for (const bool include : {true, false}) {
      auto attrs = attrs_of<AvgPool2dAttrs>(c);
      attrs.count_include_pad = include;
      const auto x = draw({{DType::F32, c.x}}, 14);
      const auto r = check_lowering("avg_pool2d", attrs, x, 1e-5);
      EXPECT_EQ(r.kernel, "avg_pool2d:nhwc");
      auto grad = attrs_of<AvgPool2dGradAttrs>(c);
      grad.count_include_pad = include;
      grad.input_shape = c.x;
      check_lowering("avg_pool2d_grad", grad, draw({{DType::F32, r.outputs[0].shape()}}, 15), 1e-5);
    }
}

TEST(CpuPool, AdaptiveAveragesAndTheirGradient) {
  for (const auto& [x, out] :
       std::vector<std::pair<Shape, std::array<std::int64_t, 2>>>{{{4, 64, 8, 8}, {1, 1}},
                                                                  {{2, 5, 7, 9}, {3, 4}},
                                                                  {{1, 3, 4, 4}, {6, 5}},
                                                                  {{2, 33, 6, 6}, {3, 3}}}) {
    AdaptiveAvgPool2dAttrs a;
    a.output_size = out;
    const auto r = check_lowering("adaptive_avg_pool2d", a, draw({{DType::F32, x}}, 16), 1e-5);
    EXPECT_EQ(r.kernel, "adaptive_avg_pool2d:nhwc");
    AdaptiveAvgPool2dGradAttrs g;
    g.output_size = out;
    g.input_shape = x;
    check_lowering("adaptive_avg_pool2d_grad", g, draw({{DType::F32, r.outputs[0].shape()}}, 17), 1e-5);
  }
}

TEST(CpuPool, DilationIsLeftToTheReference) {
  MaxPool2dAttrs a;
  a.kernel = {2, 2};
  a.dilation = {2, 2};
  const auto r = check_lowering("max_pool2d", a, draw({{DType::F32, {1, 2, 7, 7}}}, 18), 0.0);
  EXPECT_EQ(r.kernel, "reference");
}

}  // namespace
}  // namespace ingot
