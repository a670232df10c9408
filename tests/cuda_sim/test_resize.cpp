// cuda/kernels/resize on the simulated device against the op's reference: both modes and every coordinate
// rule, channels that fill vectors and that do not, three dtypes.
#include <cmath>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/resize.h"
#include "cuda/kernels/resize.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::ResizeShape;
using cuda::ResizeSide;
using cuda::Stream;

struct Rule {
  const char *mode, *coordinates;
  double scale = 0.0;
};

// Logical NCHW of what lies channels-last, and a result of the reference as it lies.
Tensor image(const std::vector<double>& v, const Shape& nchw) {
  const Tensor t = Tensor::zeros({DType::F64, nchw, Layout::channels_last(4)});
  std::copy(v.begin(), v.end(), static_cast<double*>(t.raw()));
  return t;
}
Tensor in_memory(const Tensor& nchw) {
  const Tensor t = nchw.to(Layout::channels_last(4));
  return Tensor({nchw.dtype(), Shape{nchw.numel()}}, t.raw(), std::make_shared<Tensor>(t));
}
std::size_t count(const Shape& s) {
  return static_cast<std::size_t>(s.numel());
}

template <class T>
void check(const Shape& in, const Shape& out, const Rule& rule, std::size_t shift = 0) {
  const DType dtype = kType<T>;
  SCOPED_TRACE(cat(name(dtype), " ", to_string(in), " to ", to_string(out), " ", rule.mode, " ",
                   rule.coordinates, " shift ", shift));
  const Resize2dAttrs attrs{{out[2], out[3]}, rule.mode, rule.coordinates, rule.scale, rule.scale};
  const Resize2dGradAttrs grad_attrs{in, rule.mode, rule.coordinates, rule.scale, rule.scale};
  const auto side = [](const ResizeAxis& a) { return ResizeSide{a.in, a.out, a.scale, a.offset}; };
  const auto [h, w] = resize_axes(attrs, in, out);
  const ResizeShape s{in[0], in[1], side(h), side(w), h.nearest};
  const Stream stream;
  const Operand x = operand_of<T>(count(in), 1, 0.2, 1, shift, stream),
                dy = operand_of<T>(count(out), 2, 0, 1, shift, stream),
                y = operand_of<T>(count(out), 3, 0, 0, shift, stream),
                dx = operand_of<T>(count(in), 3, 0, 0, shift, stream);
  cuda::resize(dtype, s, x.data(), y.data(), stream);
  cuda::resize_grad(dtype, s, dy.data(), dx.data(), stream);
  const std::vector<Tensor> operands{image(x.values, in)}, grad_operands{image(dy.values, out)};
  const auto want = run_reference(op("resize2d"), attrs, operands);
  const auto grad = run_reference(op("resize2d_grad"), grad_attrs, grad_operands);
  // Nearest moves values, so not a bit may change.
  expect_near("y", read(dtype, y.data(), count(out), stream), in_memory(want[0]), dtype,
              h.nearest ? 0 : 2e-6);
  // As many terms as pixels read one.
  const double terms = 4.0 * std::ceil(static_cast<double>(count(out)) / static_cast<double>(count(in)));
  expect_near("dx", read(dtype, dx.data(), count(in), stream), in_memory(grad[0]), dtype,
              4e-6 + 3e-8 * terms);
}

class Resize : public SimTest {};

const Rule kRules[] = {{"nearest", "asymmetric"},       {"nearest", "half_pixel"},
                       {"nearest", "asymmetric", 0.7},  {"bilinear", "half_pixel"},
                       {"bilinear", "align_corners"},   {"bilinear", "asymmetric"},
                       {"bilinear", "half_pixel", 0.3}, {"bilinear", "half_pixel", 1.7}};

TEST_F(Resize, EveryRule) {
  for (const Rule& rule : kRules)
    for (const std::int64_t channels : {1, 3, 8, 12}) {
      check<float>({2, channels, 4, 5}, {2, channels, 7, 9}, rule);
      check<f16>({1, channels, 9, 6}, {1, channels, 4, 2}, rule);
      check<bf16>({1, channels, 3, 1}, {1, channels, 5, 3}, rule);
    }
}

// Long sides: thirds and sevenths whose multiples round, far from the origin.
TEST_F(Resize, LongSides) {
  for (const Rule& rule : kRules) {
    check<float>({1, 1, 1, 700}, {1, 1, 1, 300}, rule);
    check<float>({1, 1, 1, 210}, {1, 1, 1, 490}, rule);
    check<float>({1, 1, 333, 1}, {1, 1, 37, 1}, rule);
    check<float>({1, 1, 3, 1}, {1, 1, 400, 1}, rule);
  }
}

TEST_F(Resize, ManyChannelsAndUnaligned) {
  check<float>({1, 1040, 2, 3}, {1, 1040, 3, 2}, kRules[3]);
  check<bf16>({1, 2064, 2, 2}, {1, 2064, 3, 4}, kRules[0]);
  for (const Rule& rule : {kRules[0], kRules[3]}) {
    check<float>({1, 8, 3, 4}, {1, 8, 6, 8}, rule, 1);
    check<f16>({1, 8, 3, 4}, {1, 8, 6, 8}, rule, 3);
  }
}

TEST_F(Resize, NothingToDoAndErrors) {
  const Stream stream;
  const ResizeSide side{4, 8, 0.5, 0.5};
  cuda::resize(DType::F32, {0, 8, side, side, false}, nullptr, nullptr, stream);
  cuda::resize_grad(DType::F32, {1, 0, side, side, true}, nullptr, nullptr, stream);
  EXPECT_THROW(cuda::resize(DType::F64, {1, 1, side, side, false}, nullptr, nullptr, stream), UsageError);
  const ResizeSide long_side{4, std::int64_t{1} << 23, 0.5, 0.5};
  EXPECT_THROW(cuda::resize(DType::F32, {1, 1, long_side, side, false}, nullptr, nullptr, stream),
               ShapeError);
}

}  // namespace
}  // namespace ingot
