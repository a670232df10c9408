// cuda/kernels/softmax on the simulated device against double loops: rows of every kind (in registers, over a
// block, across memory), vectors and single elements, three dtypes, results over operands.
#include <cmath>

#include "core/base/error.h"
#include "cuda/kernels/softmax.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::SoftmaxKind;
using cuda::SoftmaxShape;
using cuda::Stream;

// One rounding of the result, and in f32 the error of exp and of the sum.
template <class T>
constexpr double kTolerance = std::is_same_v<T, float> ? 4e-6
                              : std::is_same_v<T, f16> ? 1e-3
                                                       : 8e-3;

std::vector<std::size_t> row_of(const SoftmaxShape& s, std::int64_t outer, std::int64_t inner) {
  std::vector<std::size_t> at;
  for (int i = 0; i < s.length; ++i)
    at.push_back(static_cast<std::size_t>((outer * s.length + i) * s.inner + inner));
  return at;
}

template <class T>
void check(const SoftmaxShape& s, SoftmaxKind kind, std::size_t shift = 0) {
  SCOPED_TRACE(cat("outer ", s.outer, " length ", s.length, " inner ", s.inner, " shift ", shift, " ",
                   name(kType<T>), kind == SoftmaxKind::Log ? " log" : ""));
  const auto n = static_cast<std::size_t>(s.outer * s.length * s.inner);
  const auto draw = [n](unsigned seed, double scale) {
    std::vector<T> v;
    for (const float f : sequence(n, seed)) v.push_back(rounded<T>(scale * static_cast<double>(f)));
    return v;
  };
  const std::vector<T> x = draw(1, 4.0), dy = draw(2, 1.0);
  // `shift` elements in front: rows that do not start at 16 bytes.
  const auto place = [shift](const std::vector<T>& v, const Stream& stream) {
    std::vector<T> shifted(shift, T{});
    shifted.insert(shifted.end(), v.begin(), v.end());
    DeviceBuffer buffer(shifted.size() * sizeof(T));
    cuda::copy_to_device(buffer.data(), shifted.data(), buffer.bytes(), stream);
    return buffer;
  };
  const Stream stream;
  // In place: the result lies over x, the gradient over dy.
  DeviceBuffer dx_buffer = place(dy, stream), y_buffer = place(x, stream);
  T* const y_device = y_buffer.as<T>() + shift;
  T* const dx_device = dx_buffer.as<T>() + shift;
  cuda::softmax(kind, kType<T>, y_device, y_device, s, stream);
  std::vector<T> y(n), dx(n);
  cuda::copy_to_host(y.data(), y_device, n * sizeof(T), stream);
  cuda::softmax_grad(kind, kType<T>, dx_device, y_device, dx_device, s, stream);
  cuda::copy_to_host(dx.data(), dx_device, n * sizeof(T), stream);
  const bool log = kind == SoftmaxKind::Log;
  for (std::int64_t outer = 0; outer < s.outer; ++outer)
    for (std::int64_t inner = 0; inner < s.inner; ++inner) {
      const auto row = row_of(s, outer, inner);
      double most = -INFINITY, sum = 0, dot = 0;
      for (const std::size_t at : row) most = std::max(most, value(x[at]));
      for (const std::size_t at : row) sum += std::exp(value(x[at]) - most);
      for (const std::size_t at : row) dot += value(dy[at]) * (log ? 1.0 : value(y[at]));
      for (const std::size_t at : row) {
        const double e = value(x[at]) - most;
        const double want = log ? e - std::log(sum) : std::exp(e) / sum;
        ASSERT_NEAR(value(y[at]), want, kTolerance<T> * (1 + std::abs(want))) << "y at " << at;
        const double grad =
            log ? value(dy[at]) - std::exp(value(y[at])) * dot : value(y[at]) * (value(dy[at]) - dot);
        ASSERT_NEAR(value(dx[at]), grad, kTolerance<T> * (2 + std::abs(grad))) << "dx at " << at;
      }
    }
}

class Softmax : public SimTest {};

TEST_F(Softmax, EveryKindOfRowInEveryDtype) {
  const SoftmaxShape shapes[] = {{5, 1, 1},    {9, 7, 1},    {3, 32, 1},   {2, 100, 1},
                                 {1, 129, 1},  {2, 512, 1},  {1, 1000, 1}, {1, 1024, 1},
                                 {2, 1025, 1}, {1, 2304, 1}, {3, 5, 4},    {2, 33, 70}};
  for (const SoftmaxShape& s : shapes)
    for (const SoftmaxKind kind : {SoftmaxKind::Plain, SoftmaxKind::Log}) {
      check<float>(s, kind);
      check<f16>(s, kind);
      check<bf16>(s, kind);
    }
}

TEST_F(Softmax, RowsThatDoNotStartAtSixteenBytes) {
  for (const SoftmaxShape& s : {SoftmaxShape{3, 64, 1}, SoftmaxShape{1, 2048, 1}}) {
    check<float>(s, SoftmaxKind::Plain, 1);
    check<f16>(s, SoftmaxKind::Log, 3);
  }
}

// What PyTorch gives: a row of minus infinities or with a NaN is NaN, one plus infinity too; a row that has
// minus infinities beside numbers is not.
TEST_F(Softmax, InfinitiesAndNan) {
  constexpr float kInf = INFINITY;
  for (const int length : {8, 1032}) {
    const Stream stream;
    const auto n = static_cast<std::size_t>(length);
    std::vector<float> x(4 * n, 0.0f);
    for (std::size_t i = 0; i < n; ++i) x[i] = -kInf;  // row 0
    x[n + 3] = NAN;                                    // row 1
    x[2 * n + 5] = kInf;                               // row 2
    x[3 * n + 1] = -kInf;                              // row 3
    const DeviceBuffer buffer = to_device(x, stream);
    cuda::softmax(SoftmaxKind::Plain, DType::F32, buffer.data(), buffer.data(), {4, length, 1}, stream);
    const auto y = to_host<float>(buffer, stream);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_TRUE(std::isnan(y[n]) && std::isnan(y[n + 3]));
    EXPECT_TRUE(std::isnan(y[2 * n + 5]));
    EXPECT_EQ(y[3 * n + 1], 0.0f);
    EXPECT_NEAR(static_cast<double>(y[3 * n]), 1.0 / (length - 1), 1e-6);
  }
}

// A causal mask: numbers follow after minus infinities, in the elements of one thread too.
TEST_F(Softmax, MinusInfinitiesFirst) {
  for (const SoftmaxShape& s : {SoftmaxShape{1, 8, 1}, {1, 4096, 1}, {1, 9, 3}}) {
    const Stream stream;
    const auto length = static_cast<std::size_t>(s.length), inner = static_cast<std::size_t>(s.inner);
    std::vector<float> x(length * inner, 0.0f);
    for (std::size_t i = 0; i < length / 2; ++i) x[i * inner] = -INFINITY;
    const DeviceBuffer buffer = to_device(x, stream);
    cuda::softmax(SoftmaxKind::Plain, DType::F32, buffer.data(), buffer.data(), s, stream);
    const auto y = to_host<float>(buffer, stream);
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_NEAR(static_cast<double>(y[(length - 1) * inner]), 1.0 / static_cast<double>(length - length / 2),
                1e-6);
  }
}

TEST_F(Softmax, NothingToDoAndOtherTypes) {
  const Stream stream;
  cuda::softmax(SoftmaxKind::Plain, DType::F32, nullptr, nullptr, {0, 10, 1}, stream);
  cuda::softmax(SoftmaxKind::Plain, DType::F32, nullptr, nullptr, {3, 0, 1}, stream);
  EXPECT_THROW(cuda::softmax(SoftmaxKind::Plain, DType::I32, nullptr, nullptr, {1, 1, 1}, stream),
               UsageError);
}

}  // namespace
}  // namespace ingot
