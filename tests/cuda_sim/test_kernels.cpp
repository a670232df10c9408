// Correct kernels give correct results on the simulated device, whatever the order of threads.
#include <cmath>
#include <numeric>

#include "core/base/half.h"
#include "tests/cuda_sim/bugs.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::Stream;

class Kernels : public SimTest {};

TEST_F(Kernels, RowSumWithAndWithoutVectorLoads) {
  for (const int columns : {1, 4, 33, 512, 1000}) {
    const int rows = 3;
    const Stream stream;
    const auto values = sequence(static_cast<std::size_t>(rows * columns));
    const DeviceBuffer x = to_device(values, stream), y(rows * sizeof(float));
    samples::row_sum(x.as<float>(), y.as<float>(), rows, columns, stream);
    const auto sums = to_host<float>(y, stream);
    for (int r = 0; r < rows; ++r) {
      const auto first = values.begin() + r * columns;
      EXPECT_NEAR(sums[static_cast<std::size_t>(r)], std::accumulate(first, first + columns, 0.0), 1e-4)
          << columns;
    }
  }
}

TEST_F(Kernels, TransposeOfOddShapes) {
  for (const auto& [rows, columns] : std::vector<std::pair<int, int>>{{1, 1}, {32, 32}, {33, 65}, {7, 100}}) {
    const Stream stream;
    const auto values = sequence(static_cast<std::size_t>(rows * columns));
    const DeviceBuffer x = to_device(values, stream), y(x.bytes());
    samples::transpose(x.as<float>(), y.as<float>(), rows, columns, stream);
    const auto turned = to_host<float>(y, stream);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c)
        ASSERT_EQ(turned[static_cast<std::size_t>(c * rows + r)],
                  values[static_cast<std::size_t>(r * columns + c)]);
  }
}

// Against a double loop over the rounded operands: products are exact, so only the sum's rounding differs.
template <class T, class Launch>
void check_matmul(Launch launch, int m, int n, int k, const Stream& stream) {
  const auto round_all = [](const std::vector<float>& v) {
    std::vector<T> r;
    for (const float f : v) r.push_back(T::from(f));
    return r;
  };
  const auto a = round_all(sequence(static_cast<std::size_t>(m * k), 1));
  const auto b = round_all(sequence(static_cast<std::size_t>(k * n), 2));
  DeviceBuffer da(a.size() * sizeof(T)), db(b.size() * sizeof(T)),
      dc(static_cast<std::size_t>(m * n) * sizeof(float));
  cuda::copy_to_device(da.data(), a.data(), da.bytes(), stream);
  cuda::copy_to_device(db.data(), b.data(), db.bytes(), stream);
  launch(da.data(), db.data(), dc.as<float>(), m, n, k, stream);
  std::vector<float> c(static_cast<std::size_t>(m * n));
  cuda::copy_to_host(c.data(), dc.data(), dc.bytes(), stream);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += static_cast<double>(a[static_cast<std::size_t>(i * k + l)].to_float()) *
               static_cast<double>(b[static_cast<std::size_t>(l * n + j)].to_float());
      ASSERT_NEAR(c[static_cast<std::size_t>(i * n + j)], sum, 1e-5 * k) << "at " << i << ", " << j;
    }
}

TEST_F(Kernels, MatmulOnTensorCores) {
  const Stream stream;
  check_matmul<f16>(samples::matmul_f16, 32, 32, 16, stream);
  check_matmul<f16>(samples::matmul_f16, 50, 40, 72, stream);
  check_matmul<bf16>(samples::matmul_bf16, 33, 64, 48, stream);
}

TEST_F(Kernels, Tf32Tile) {
  const Stream stream;
  const auto a = sequence(16 * 8, 3), b = sequence(8 * 8, 4), d = sequence(16 * 8, 5);
  const DeviceBuffer da = to_device(a, stream), db = to_device(b, stream), dd = to_device(d, stream);
  samples::tf32_tile(da.as<float>(), db.as<float>(), dd.as<float>(), stream);
  const auto result = to_host<float>(dd, stream);
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 8; ++j) {
      double sum = static_cast<double>(d[i * 8 + j]);
      for (std::size_t l = 0; l < 8; ++l)
        sum += static_cast<double>(a[i * 8 + l]) * static_cast<double>(b[l * 8 + j]);
      // 11 bits of each operand stay.
      EXPECT_NEAR(result[i * 8 + j], sum, 8 * 2 * std::ldexp(1.0, -11));
      EXPECT_NE(result[i * 8 + j], static_cast<float>(sum)) << "the operands were not rounded";
    }
}

TEST_F(Kernels, ShufflesAndVotes) {
  const Stream stream;
  const DeviceBuffer out(9 * 32 * sizeof(int));
  samples::warp_functions(out.as<int>(), stream);
  const auto got = to_host<int>(out, stream);
  int ballot = 0;
  for (int i = 0; i < 32; i += 3) ballot |= 1 << i;
  for (int lane = 0; lane < 32; ++lane) {
    const auto at = [&](int kind) { return got[static_cast<std::size_t>(kind * 32 + lane)]; };
    EXPECT_EQ(at(0), 50);
    EXPECT_EQ(at(1), (lane ^ 3) * 10);
    EXPECT_EQ(at(2), (lane < 2 ? lane : lane - 2) * 10);
    EXPECT_EQ(at(3), (lane > 29 ? lane : lane + 2) * 10);
    EXPECT_EQ(at(4), ballot);
    EXPECT_EQ(at(5), 1);
    EXPECT_EQ(at(6), 0);
    EXPECT_EQ(at(7), lane / 8 * 8 + 3);
    EXPECT_EQ(at(8), lane < 16 ? 120 : 376);
  }
}

TEST_F(Kernels, Atomics) {
  const Stream stream;
  const DeviceBuffer sums = to_device(std::vector<int>(3, 0), stream),
                     floats = to_device(std::vector<float>{0}, stream);
  samples::atomics(sums.as<int>(), floats.as<float>(), 5, 96, stream);
  EXPECT_EQ(to_host<int>(sums, stream), (std::vector<int>{480, 479, 7}));
  EXPECT_EQ(to_host<float>(floats, stream)[0], 479 * 480 / 2);
}

TEST_F(Kernels, LastBlockSeesAllPartialSums) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    sim::reset({.seed = seed});
    const Stream stream;
    const DeviceBuffer x = to_device(std::vector<float>(1000, 1.0f), stream), partial(7 * sizeof(float)),
                       count = to_device(std::vector<unsigned>{0}, stream), total(sizeof(float));
    for (int i = 0; i < 2; ++i)
      samples::sum_by_last_block(x.as<float>(), partial.as<float>(), count.as<unsigned>(), total.as<float>(),
                                 1000, 7, stream);
    EXPECT_EQ(to_host<float>(total, stream)[0], 1000);
  }
}

TEST_F(Kernels, ResultsDoNotDependOnTheOrderOfThreads) {
  std::vector<std::vector<float>> results;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    sim::reset({.seed = seed, .shuffle_threads = seed != 0});
    const Stream stream;
    const DeviceBuffer x = to_device(sequence(5 * 777), stream), y(5 * sizeof(float));
    samples::row_sum(x.as<float>(), y.as<float>(), 5, 777, stream);
    results.push_back(to_host<float>(y, stream));
    EXPECT_EQ(results.back(), results.front()) << "seed " << seed;
  }
}

// Every corrected twin of a seeded bug runs clean (the fixture sees to that) and right.
TEST_F(Kernels, CorrectedTwinsAreClean) {
  using bugs::Variant;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    sim::reset({.seed = seed});
    const Stream stream;
    const auto values = sequence(bugs::kSize);
    const DeviceBuffer x = to_device(values, stream), y(bugs::kSize * sizeof(float)),
                       counts = to_device(std::vector<int>(2, 0), stream);
    const auto run = [&](auto kernel) {
      cuda::fill_bytes(y.data(), 0, y.bytes(), stream);
      kernel(x.as<float>(), y.as<float>(), Variant::Right, stream);
      return to_host<float>(y, stream);
    };
    std::vector<float> reversed(values.rbegin(), values.rend());
    EXPECT_EQ(run(bugs::missing_barrier), reversed);
    EXPECT_EQ(run(bugs::two_barriers), reversed);
    EXPECT_EQ(run(bugs::missing_wait), reversed);
    EXPECT_EQ(run(bugs::out_of_bounds), values);
    EXPECT_EQ(run(bugs::divergent_barrier), values);
    EXPECT_EQ(run(bugs::missing_warp_barrier)[0], values[31]);
    EXPECT_EQ(run(bugs::half_warp_barrier)[0], values[31]);
    EXPECT_EQ(run(bugs::early_overwrite), reversed);
    EXPECT_EQ(run(bugs::divergent_shuffle)[0], values[1]);
    EXPECT_EQ(run(bugs::shared_out_of_bounds)[1], values[0]);
    EXPECT_NEAR(run(bugs::uninitialised)[0], std::accumulate(values.begin(), values.end(), 0.0), 1e-4);
    EXPECT_EQ(run(bugs::misaligned)[0], values[4]);
    EXPECT_EQ(run(bugs::misaligned_float4)[0], values[4]);
    EXPECT_EQ(run(bugs::deep_stack)[0], values[0]);
    bugs::race(x.as<float>(), counts.as<int>(), Variant::Right, stream);
    const auto counted = to_host<int>(counts, stream);
    EXPECT_EQ(counted[0] + counted[1], bugs::kSize);
    bugs::race_between_blocks(y.as<float>(), Variant::Right, stream);
    cuda::fill_bytes(counts.data(), 0, counts.bytes(), stream);
    bugs::missing_fence(y.as<float>(), counts.as<unsigned>(), y.as<float>() + 10, Variant::Right, stream);
    EXPECT_EQ(to_host<float>(y, stream)[10], 4);
  }
}

}  // namespace
}  // namespace ingot
