// Gradients of max pooled convolutions against the references, on every vector level.
#include <gtest/gtest.h>

#include "core/ops/unpooled_conv.h"
#include "cpu/simd/level.h"
#include "tests/cpu/lowering_check.h"

namespace ingot {
namespace {

using test::check_lowering;
using test::draw;

struct UnpooledCase {
  std::int64_t n, c, h, w, o, kh, kw;
  std::array<std::int64_t, 2> padding{0, 0}, window{2, 2}, step{2, 2};

  Shape x() const { return {n, c, h, w}; }
  Shape weight() const { return {o, c, kh, kw}; }
  Shape y() const { return {n, o, h + 2 * padding[0] - kh + 1, w + 2 * padding[1] - kw + 1}; }
  Shape pooled() const {
    return {n, o, pool_output_size(y()[2], window[0], step[0], 0, 1, false),
            pool_output_size(y()[3], window[1], step[1], 0, 1, false)};
  }
  UnpooledConvAttrs attrs() const {
    UnpooledConvAttrs a;
    a.padding = padding;
    a.pool_kernel = window;
    a.pool_stride = step;
    a.pool_input_shape = y();
    return a;
  }
  std::vector<Tensor> gradient(unsigned seed, std::int64_t offsets) const {
    Tensor dy = draw({{DType::F32, pooled()}}, seed)[0], offset(TensorType{DType::U8, pooled()});
    for (std::int64_t i = 0; i < dy.numel(); ++i) {
      if (i % 5 == 3) dy.set(i, i % 2 == 0 ? 0.0 : -0.0);  // as ReLU leaves them
      offset.set(i, static_cast<double>((i * 7 + i / 5) % offsets));
    }
    return {dy, offset};
  }
};

const std::vector<UnpooledCase>& unpooled_cases() {
  static const std::vector<UnpooledCase> cases = {
      {3, 1, 28, 28, 6, 5, 5, {2, 2}},   // LeNet's first layer
      {3, 6, 14, 14, 16, 5, 5},          // its second
      {2, 3, 11, 13, 17, 3, 3, {1, 1}},  // a block of channels and one more; rows over at the end
      {2, 32, 8, 8, 20, 3, 3, {1, 1}},   // runs of more vectors than are added together
      {1, 5, 12, 9, 33, 5, 3, {2, 0}},
      {2, 2, 12, 13, 4, 3, 5, {0, 3}, {3, 3}, {3, 3}},
      {2, 4, 12, 12, 8, 3, 3, {0, 0}, {3, 2}, {4, 2}},  // pixels that no window sees
      {2, 4, 13, 13, 8, 3, 3, {0, 0}, {3, 3}, {2, 2}},  // overlapping windows
      {1, 7, 9, 9, 3, 3, 1},
  };
  return cases;
}

TEST(CpuUnpooledConv, GradInputMatchesReference) {
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    const cpu::CpuLevelScope scope(level);
    int taken = 0;
    for (const UnpooledCase& c : unpooled_cases()) {
      auto inputs = c.gradient(1, c.window[0] * c.window[1]);
      inputs.push_back(draw({{DType::F32, c.weight()}}, 2)[0]);
      const Conv2dGradInputUnpooledAttrs a{c.attrs(), c.x()};
      taken += check_lowering("conv2d_grad_input_unpooled", a, inputs).kernel.starts_with("unpooled:");
    }
    EXPECT_GE(taken, 7) << name(level);
  }
}

TEST(CpuUnpooledConv, GradWeightMatchesReference) {
  for (const cpu::CpuLevel level : cpu::available_cpu_levels()) {
    const cpu::CpuLevelScope scope(level);
    int taken = 0;
    for (const UnpooledCase& c : unpooled_cases()) {
      auto inputs = c.gradient(3, c.window[0] * c.window[1]);
      inputs.insert(inputs.begin(), draw({{DType::F32, c.x()}}, 4)[0]);
      const Conv2dGradWeightUnpooledAttrs a{c.attrs(), c.weight()};
      taken += check_lowering("conv2d_grad_weight_unpooled", a, inputs).kernel.starts_with("unpooled:");
    }
    EXPECT_GE(taken, 7) << name(level);
  }
}

// max_pool2d never writes such offsets, but a caller may; the reference gives their gradient to whatever cell
// they would name if the window were larger, or to none. Here they name none, and nothing out of bounds is
// touched.
TEST(CpuUnpooledConv, OffsetsBeyondTheWindowNameNoPixel) {
  const UnpooledCase c{2, 6, 14, 14, 16, 5, 5};
  auto given = c.gradient(5, 256), kept = given;
  kept[0] = draw({{DType::F32, c.pooled()}}, 5)[0];
  for (std::int64_t i = 0; i < kept[0].numel(); ++i) {
    kept[0].set(i, given[1].get(i) < 4 ? given[0].get(i) : 0.0);
    if (given[1].get(i) >= 4) given[0].set(i, 1.0);
  }
  kept[1] = Tensor::zeros(given[1].type());
  for (std::int64_t i = 0; i < kept[1].numel(); ++i)
    kept[1].set(i, given[1].get(i) < 4 ? given[1].get(i) : 0.0);
  const Tensor x = draw({{DType::F32, c.x()}}, 6)[0], w = draw({{DType::F32, c.weight()}}, 7)[0];
  const auto equal = [](const Tensor& a, const Tensor& b) {
    for (std::int64_t i = 0; i < a.numel(); ++i) ASSERT_EQ(a.get(i), b.get(i)) << "element " << i;
  };
  const Conv2dGradInputUnpooledAttrs input{c.attrs(), c.x()};
  equal(test::run_lowered("conv2d_grad_input_unpooled", input, {given[0], given[1], w}).outputs[0],
        test::run_lowered("conv2d_grad_input_unpooled", input, {kept[0], kept[1], w}).outputs[0]);
  const Conv2dGradWeightUnpooledAttrs weight{c.attrs(), c.weight()};
  equal(test::run_lowered("conv2d_grad_weight_unpooled", weight, {x, given[0], given[1]}).outputs[0],
        test::run_lowered("conv2d_grad_weight_unpooled", weight, {x, kept[0], kept[1]}).outputs[0]);
}

}  // namespace
}  // namespace ingot
