// cuda/kernels/reduce on the simulated device against double loops: rows of a warp, of a block, in parts;
// columns few and many, in parts; three dtypes.
#include <cmath>

#include "core/base/error.h"
#include "cuda/kernels/reduce.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::reduce_workspace;
using cuda::ReduceKind;
using cuda::ReduceShape;
using cuda::Stream;

// The workspace starts as NaN, as all memory of the simulated device does.
template <class T>
std::vector<T> reduced(ReduceKind kind, const std::vector<T>& x, const ReduceShape& s,
                       std::size_t shift = 0) {
  std::vector<T> shifted(shift, T{});
  shifted.insert(shifted.end(), x.begin(), x.end());
  const Stream stream;
  DeviceBuffer dx(shifted.size() * sizeof(T)), dy(static_cast<std::size_t>(s.outer * s.inner) * sizeof(T));
  DeviceBuffer workspace(std::max<std::size_t>(reduce_workspace(s), 16));
  cuda::copy_to_device(dx.data(), shifted.data(), dx.bytes(), stream);
  cuda::reduce(kind, kType<T>, dx.as<T>() + shift, dy.data(), s, workspace.data(), stream);
  std::vector<T> y(static_cast<std::size_t>(s.outer * s.inner));
  cuda::copy_to_host(y.data(), dy.data(), dy.bytes(), stream);
  return y;
}

template <class T>
void check(const ReduceShape& s, std::size_t shift = 0) {
  std::vector<T> x;
  for (const float f : sequence(static_cast<std::size_t>(s.outer * s.length * s.inner), 3))
    x.push_back(rounded<T>(static_cast<double>(f)));
  for (const ReduceKind kind : {ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min}) {
    const auto y = reduced(kind, x, s, shift);
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t i = 0; i < s.inner; ++i) {
        double sum = 0, most = -INFINITY, least = INFINITY, size = 0;
        for (std::int64_t l = 0; l < s.length; ++l) {
          const double v = value(x[static_cast<std::size_t>((o * s.length + l) * s.inner + i)]);
          sum += v;
          size += std::abs(v);
          most = std::max(most, v);
          least = std::min(least, v);
        }
        const auto n = static_cast<double>(s.length);
        const double want = kind == ReduceKind::Sum    ? sum
                            : kind == ReduceKind::Mean ? sum / n
                            : kind == ReduceKind::Max  ? most
                                                       : least;
        // Sums round once per element at most, relative to what was added; half types round the result.
        const double scale = kind == ReduceKind::Sum ? size : size / n;
        const double unit = std::is_same_v<T, float> ? 0 : std::is_same_v<T, f16> ? 1e-3 : 8e-3;
        const double bound =
            kind == ReduceKind::Sum || kind == ReduceKind::Mean ? 1e-6 * scale + unit * std::abs(want) : 0;
        ASSERT_NEAR(value(y[static_cast<std::size_t>(o * s.inner + i)]), want, bound)
            << "outer " << s.outer << " length " << s.length << " inner " << s.inner << " " << name(kType<T>)
            << " kind " << static_cast<int>(kind) << " at " << o << ", " << i;
      }
  }
}

class Reduce : public SimTest {};

const ReduceShape kShapes[] = {{5, 1, 1},     {9, 7, 1},     {3, 128, 1},   {1, 1024, 1}, {600, 3, 1},
                               {2, 1030, 1},  {1, 20000, 1}, {1, 20001, 1}, {1, 5, 3},    {2, 300, 33},
                               {1, 1000, 64}, {3, 129, 2},   {40, 9, 10},   {1, 64, 1},   {1, 8193, 4}};

TEST_F(Reduce, EveryKindOfShapeInF32) {
  for (const ReduceShape& s : kShapes) check<float>(s);
}
TEST_F(Reduce, HalfTypes) {
  for (const ReduceShape& s : {kShapes[2], kShapes[5], kShapes[6], kShapes[9], kShapes[10]}) {
    check<f16>(s);
    check<bf16>(s);
  }
}
TEST_F(Reduce, RowsThatDoNotStartAtSixteenBytes) {
  check<float>({2, 64, 1}, 1);
  check<f16>({1, 20000, 1}, 3);
}

// Shapes that would keep few blocks busy are cut; others are read in one go and need no workspace.
TEST_F(Reduce, PartsOnlyWhereBlocksAreFew) {
  EXPECT_GT(reduce_workspace({1, 100352, 64}), 0u);   // a bias gradient
  EXPECT_GT(reduce_workspace({1, 1 << 20, 1}), 0u);   // a sum of everything
  EXPECT_EQ(reduce_workspace({16384, 1024, 1}), 0u);  // many rows
  EXPECT_EQ(reduce_workspace({64, 49, 2048}), 0u);    // many columns
  EXPECT_EQ(reduce_workspace({1, 10, 1}), 0u);
  EXPECT_LE(reduce_workspace({1, std::int64_t{1} << 32, 64}), std::size_t{1} << 20);
}

TEST_F(Reduce, NanWinsAndNothingIsRefused) {
  for (const ReduceShape& s : {ReduceShape{1, 40, 1}, ReduceShape{1, 9000, 1}, ReduceShape{1, 300, 2}}) {
    auto x = sequence(static_cast<std::size_t>(s.length * s.inner), 4);
    x[static_cast<std::size_t>(17 * s.inner)] = NAN;
    for (const ReduceKind kind : {ReduceKind::Max, ReduceKind::Min, ReduceKind::Sum}) {
      const auto y = reduced(kind, x, s);
      EXPECT_TRUE(std::isnan(y[0]));
      if (s.inner == 2) {
        EXPECT_FALSE(std::isnan(y[1]));
      }
    }
  }
  const Stream stream;
  EXPECT_THROW(cuda::reduce(ReduceKind::Max, DType::F32, nullptr, nullptr, {1, 0, 1}, nullptr, stream),
               UsageError);
  EXPECT_THROW(cuda::reduce(ReduceKind::Sum, DType::Bool, nullptr, nullptr, {1, 1, 1}, nullptr, stream),
               UsageError);
  cuda::reduce(ReduceKind::Sum, DType::F32, nullptr, nullptr, {0, 5, 1}, nullptr, stream);
  const DeviceBuffer zero(sizeof(float));
  cuda::reduce(ReduceKind::Sum, DType::F32, zero.data(), zero.data(), {1, 0, 1}, nullptr, stream);
  EXPECT_EQ(to_host<float>(zero, stream)[0], 0.0f);
}

}  // namespace
}  // namespace ingot
