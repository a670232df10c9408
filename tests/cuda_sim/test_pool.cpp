// cuda/kernels/pool on the simulated device against the ops' references: every attribute, channels that fill
// vectors and that do not, windows of a thread and of a block, three dtypes.
#include <cmath>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/pool.h"
#include "cuda/kernels/pool.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::PoolAxis;
using cuda::PoolShape;
using cuda::Stream;

// Logical NCHW of what lies channels-last.
Tensor image(const std::vector<double>& v, const Shape& nchw) {
  const Tensor t = Tensor::zeros({DType::F64, nchw, Layout::channels_last(4)});
  std::copy(v.begin(), v.end(), static_cast<double*>(t.raw()));
  return t;
}
Shape shape_of(const PoolShape& s, bool pooled) {
  return {s.images, s.channels, pooled ? s.h.out : s.h.in, pooled ? s.w.out : s.w.in};
}
// A result of the reference, channels-last again.
Tensor in_memory(const Tensor& nchw) {
  const Tensor t = nchw.to(Layout::channels_last(4));
  return Tensor({nchw.dtype(), Shape{nchw.numel()}}, t.raw(), std::make_shared<Tensor>(t));
}
std::size_t count(const Shape& s) {
  return static_cast<std::size_t>(s.numel());
}

PoolAxis axis(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding = 0,
              std::int64_t dilation = 1, bool ceil_mode = false) {
  return {in,      pool_output_size(in, kernel, stride, padding, dilation, ceil_mode),
          kernel,  stride,
          padding, dilation};
}
PoolAxis adaptive(std::int64_t in, std::int64_t out) {
  return {.in = in, .out = out};
}

template <class A>
A attrs_of(const PoolShape& s, bool ceil_mode) {
  A a;
  a.kernel = {s.h.kernel, s.w.kernel};
  a.stride = {s.h.stride, s.w.stride};
  a.padding = {s.h.padding, s.w.padding};
  a.ceil_mode = ceil_mode;
  if constexpr (requires { a.dilation; }) a.dilation = {s.h.dilation, s.w.dilation};
  if constexpr (requires { a.count_include_pad; }) a.count_include_pad = s.count_include_pad;
  if constexpr (requires { a.input_shape; }) a.input_shape = shape_of(s, false);
  return a;
}

template <class T>
void check_max(const PoolShape& s, bool ceil_mode, std::size_t shift = 0, bool with_nan = false) {
  const DType dtype = kType<T>;
  const Shape in = shape_of(s, false), out = shape_of(s, true);
  SCOPED_TRACE(cat(name(dtype), " ", to_string(in), " to ", to_string(out), " shift ", shift));
  const Stream stream;
  Operand x = operand_of<T>(count(in), 1, 0, 2, shift, stream);
  const Operand dy = operand_of<T>(count(out), 2, 0, 1, shift, stream),
                y = operand_of<T>(count(out), 3, 0, 0, shift, stream),
                dx = operand_of<T>(count(in), 3, 0, 0, shift, stream);
  if (with_nan) {
    std::vector<T> host(shift, T{});
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      if (i % 11 == 3) x.values[i] = NAN;
      if (i % 7 == 1) x.values[i] = -INFINITY;
      host.push_back(rounded<T>(x.values[i]));
    }
    cuda::copy_to_device(x.buffer.data(), host.data(), host.size() * sizeof(T), stream);
  }
  const bool wide = s.h.kernel * s.w.kernel > 256;
  const DeviceBuffer offset(std::max<std::size_t>(count(out) * (wide ? 4 : 1), 1));
  cuda::max_pool(dtype, s, x.data(), y.data(), offset.data(), stream);
  cuda::max_pool_grad(dtype, s, dy.data(), offset.data(), dx.data(), stream);

  const std::vector<Tensor> operands{image(x.values, in)};
  const auto want = run_reference(op("max_pool2d"), attrs_of<MaxPool2dAttrs>(s, ceil_mode), operands);
  const auto got = read(dtype, y.data(), count(out), stream);
  const Tensor want_y = in_memory(want[0]), want_offset = in_memory(want[1]);
  std::vector<std::uint8_t> narrow(wide ? 0 : count(out));
  std::vector<std::int32_t> offsets(wide ? count(out) : 0);
  if (wide)
    cuda::copy_to_host(offsets.data(), offset.data(), offset.bytes(), stream);
  else
    cuda::copy_to_host(narrow.data(), offset.data(), narrow.size(), stream);
  stream.synchronize();
  if (!wide) offsets.assign(narrow.begin(), narrow.end());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double w = want_y.get(static_cast<std::int64_t>(i));
    ASSERT_TRUE(got[i] == w || (std::isnan(got[i]) && std::isnan(w)))
        << "y " << got[i] << " not " << w << " at " << i;
    ASSERT_EQ(offsets[i], want_offset.get(static_cast<std::int64_t>(i))) << "offset at " << i;
  }
  const std::vector<Tensor> grad_operands{image(dy.values, out), want[1]};
  const auto grad =
      run_reference(op("max_pool2d_grad"), attrs_of<MaxPool2dGradAttrs>(s, ceil_mode), grad_operands);
  expect_near("dx", read(dtype, dx.data(), count(in), stream), in_memory(grad[0]), dtype, 1e-6);
}

template <class T>
void check_average(const PoolShape& s, bool ceil_mode = false, std::size_t shift = 0) {
  const DType dtype = kType<T>;
  const Shape in = shape_of(s, false), out = shape_of(s, true);
  SCOPED_TRACE(cat(name(dtype), " ", to_string(in), " to ", to_string(out), s.adaptive ? " adaptive" : "",
                   " include ", s.count_include_pad, " shift ", shift));
  const Stream stream;
  const Operand x = operand_of<T>(count(in), 1, 0.2, 1, shift, stream),
                dy = operand_of<T>(count(out), 2, 0, 1, shift, stream),
                y = operand_of<T>(count(out), 3, 0, 0, shift, stream),
                dx = operand_of<T>(count(in), 3, 0, 0, shift, stream);
  cuda::average_pool(dtype, s, x.data(), y.data(), stream);
  cuda::average_pool_grad(dtype, s, dy.data(), dx.data(), stream);
  const std::vector<Tensor> operands{image(x.values, in)}, grad_operands{image(dy.values, out)};
  std::vector<Tensor> want, grad;
  if (s.adaptive) {
    want = run_reference(op("adaptive_avg_pool2d"), AdaptiveAvgPool2dAttrs{{s.h.out, s.w.out}}, operands);
    grad = run_reference(op("adaptive_avg_pool2d_grad"), AdaptiveAvgPool2dGradAttrs{{s.h.out, s.w.out}, in},
                         grad_operands);
  } else {
    want = run_reference(op("avg_pool2d"), attrs_of<AvgPool2dAttrs>(s, ceil_mode), operands);
    grad = run_reference(op("avg_pool2d_grad"), attrs_of<AvgPool2dGradAttrs>(s, ceil_mode), grad_operands);
  }
  expect_near("y", read(dtype, y.data(), count(out), stream), in_memory(want[0]), dtype, 1e-6);
  // As many terms as windows cover a pixel.
  expect_near("dx", read(dtype, dx.data(), count(in), stream), in_memory(grad[0]), dtype, 2e-6);
}

class Pool : public SimTest {};

const std::int64_t kChannels[] = {1, 3, 8, 12, 40};

TEST_F(Pool, MaxOfEveryWindow) {
  for (const std::int64_t channels : kChannels)
    for (const bool ceil_mode : {false, true}) {
      const PoolShape shapes[] = {
          {2, channels, axis(6, 2, 2, 0, 1, ceil_mode), axis(7, 2, 2, 0, 1, ceil_mode)},
          {1, channels, axis(8, 3, 2, 1, 1, ceil_mode), axis(5, 3, 2, 1, 1, ceil_mode)},  // overlapping
          {2, channels, axis(5, 3, 1, 1, 1, ceil_mode), axis(4, 1, 3, 0, 1, ceil_mode)},
          {1, channels, axis(9, 2, 2, 1, 3, ceil_mode), axis(10, 3, 1, 2, 2, ceil_mode)}};  // dilated
      for (const PoolShape& s : shapes) {
        check_max<float>(s, ceil_mode);
        if (ceil_mode) check_max<f16>(s, ceil_mode);
        if (!ceil_mode) check_max<bf16>(s, ceil_mode);
      }
    }
}

// Two cells, three apart, over one pixel padded by two: they lie at -2 and 1, both in padding.
TEST_F(Pool, MaxOfPaddingAlone) {
  for (const std::int64_t channels : {1, 8})
    check_max<float>({1, channels, axis(1, 2, 1, 2, 3), axis(3, 2, 1, 2, 3)}, false);
}

TEST_F(Pool, MaxOfWindowsBeyondAByte) {
  for (const std::int64_t channels : {3, 8}) {
    const PoolShape s{1, channels, axis(20, 17, 2, 8), axis(19, 16, 3, 2)};
    check_max<float>(s, false);
    check_max<f16>(s, false);
    check_max<bf16>(s, false);
  }
  check_max<float>({1, 8, axis(17, 16, 2, 8), axis(18, 16, 3, 2)}, false);  // 256: the last in a byte
}

TEST_F(Pool, NanWinsAndMinusInfinityCounts) {
  for (const std::int64_t channels : {1, 8}) {
    check_max<float>({2, channels, axis(8, 3, 2, 1), axis(9, 3, 2, 1)}, false, 0, true);
    check_max<f16>({2, channels, axis(8, 3, 2, 1), axis(9, 3, 2, 1)}, false, 0, true);
  }
}

TEST_F(Pool, AverageOfEveryWindow) {
  for (const std::int64_t channels : kChannels)
    for (const bool ceil_mode : {false, true})
      for (const bool include : {false, true}) {
        const PoolShape shapes[] = {
            {2, channels, axis(6, 2, 2, 0, 1, ceil_mode), axis(7, 2, 2, 0, 1, ceil_mode), include},
            {1, channels, axis(8, 3, 2, 1, 1, ceil_mode), axis(5, 3, 2, 1, 1, ceil_mode), include},
            {1, channels, axis(9, 4, 1, 2, 1, ceil_mode), axis(4, 1, 3, 0, 1, ceil_mode), include},
            {1, channels, axis(9, 7, 3, 3, 1, ceil_mode), axis(8, 6, 2, 3, 1, ceil_mode),
             include}};  // of a block
        for (const PoolShape& s : shapes) {
          check_average<float>(s, ceil_mode);
          if (include) check_average<f16>(s, ceil_mode);
          if (!include) check_average<bf16>(s, ceil_mode);
        }
      }
}

TEST_F(Pool, AdaptiveAverage) {
  for (const std::int64_t channels : kChannels) {
    const PoolShape shapes[] = {
        {2, channels, adaptive(7, 1), adaptive(7, 1), true, true},
        {1, channels, adaptive(7, 3), adaptive(5, 4), true, true},
        {1, channels, adaptive(3, 5), adaptive(2, 7), true, true},  // more out than in
        {1, channels, adaptive(13, 2), adaptive(12, 1), true, true}};
    for (const PoolShape& s : shapes) {
      check_average<float>(s);
      check_average<f16>(s);
      check_average<bf16>(s);
    }
  }
}

// More channels than a block is wide.
TEST_F(Pool, ManyChannels) {
  check_max<float>({1, 1040, axis(3, 2, 1), axis(3, 2, 1)}, false);
  check_max<f16>({1, 301, axis(3, 2, 1), axis(3, 2, 1)}, false);
  check_average<bf16>({1, 2064, axis(2, 2, 1), axis(3, 2, 1)});
  check_average<float>({2, 300, adaptive(7, 1), adaptive(7, 1), true, true});
}

TEST_F(Pool, ImagesThatDoNotStartAtSixteenBytes) {
  const PoolShape s{2, 8, axis(6, 3, 2, 1), axis(5, 2, 2)};
  check_max<float>(s, false, 1);
  check_max<bf16>(s, false, 3);
  check_average<f16>(s, false, 5);
  check_average<float>({2, 8, adaptive(7, 1), adaptive(7, 1), true, true}, false, 2);
}

TEST_F(Pool, NothingToDoAndErrors) {
  const Stream stream;
  const PoolShape none{0, 8, axis(6, 2, 2), axis(6, 2, 2)};
  cuda::max_pool(DType::F32, none, nullptr, nullptr, nullptr, stream);
  cuda::max_pool_grad(DType::F32, none, nullptr, nullptr, nullptr, stream);
  cuda::average_pool(DType::F32, none, nullptr, nullptr, stream);
  cuda::average_pool_grad(DType::F32, {1, 0, axis(6, 2, 2), axis(6, 2, 2)}, nullptr, nullptr, stream);
  EXPECT_THROW(cuda::max_pool(DType::I32, none, nullptr, nullptr, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::average_pool(DType::F64, none, nullptr, nullptr, stream), UsageError);
  const PoolShape large{1, 1, axis(std::int64_t{1} << 31, 2, 2), axis(1, 1, 1)};
  EXPECT_THROW(cuda::average_pool_grad(DType::F32, large, nullptr, nullptr, stream), ShapeError);
}

}  // namespace
}  // namespace ingot
