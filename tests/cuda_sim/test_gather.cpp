// cuda/kernels/gather, index_sort and scatter on the simulated device against plain loops: rows of every
// width, indices of both types, repeated, negative and out of range ones; sums by search and by sort, whose
// bits are those of sums in f64.
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/kernels/gather.h"
#include "cuda/kernels/scatter.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::GatherShape;
using cuda::ScatterRule;
using cuda::ScatterShape;
using cuda::Stream;

// n indices in [low, high), each as often as the seed wants it.
std::vector<std::int64_t> drawn(std::int64_t n, std::int64_t low, std::int64_t high, unsigned seed) {
  std::vector<std::int64_t> v;
  unsigned state = seed;
  for (std::int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    v.push_back(low + static_cast<std::int64_t>(state >> 8) % (high - low));
  }
  return v;
}

DeviceBuffer upload(DType dtype, const std::vector<std::int64_t>& v, const Stream& stream) {
  Tensor t({dtype, {static_cast<std::int64_t>(v.size())}});
  for (std::size_t i = 0; i < v.size(); ++i)
    if (dtype == DType::I64)
      t.data<std::int64_t>()[i] = v[i];
    else
      t.data<std::int32_t>()[i] = static_cast<std::int32_t>(v[i]);
  DeviceBuffer buffer(std::max<std::size_t>(t.bytes(), 1));
  cuda::copy_to_device(buffer.data(), t.raw(), t.bytes(), stream);
  return buffer;
}

constexpr DType kIndexTypes[] = {DType::I32, DType::I64};

class Gather : public SimTest {};

void check_gather(DType dtype, const GatherShape& s, std::size_t shift = 0) {
  const std::size_t e = size_of(dtype), row = static_cast<std::size_t>(s.inner) * e;
  const Bytes x = numbered(s.outer * s.dim * s.inner, e);
  for (const DType index : kIndexTypes)
    for (const bool negative : {false, true}) {
      auto indices = drawn(s.count, negative ? -s.dim : 0, s.dim, 5);
      if (s.count > 3) {
        indices[1] = s.dim;  // neither of these names a row
        indices[3] = negative ? -s.dim - 1 : -1;
      }
      Bytes want(static_cast<std::size_t>(s.outer * s.count) * row);
      for (std::int64_t o = 0; o < s.outer; ++o)
        for (std::int64_t k = 0; k < s.count; ++k) {
          std::int64_t i = indices[static_cast<std::size_t>(k)];
          if (negative && i < 0) i += s.dim;
          unsigned char* const to = want.data() + static_cast<std::size_t>(o * s.count + k) * row;
          if (row == 0) continue;
          if (i < 0 || i >= s.dim)
            std::memset(to, dtype == DType::Bool ? 1 : 255, row);
          else
            std::memcpy(to, x.data() + static_cast<std::size_t>(o * s.dim + i) * row, row);
        }
      const Stream stream;
      const Placed dx(x, shift * e, stream), dy(want.size(), shift * e);
      const DeviceBuffer di = upload(index, indices, stream);
      cuda::gather(dtype, dx.data(), index, di.data(), dy.data(), s, negative, stream);
      EXPECT_EQ(dy.bytes(stream), want)
          << name(dtype) << " by " << name(index) << " outer " << s.outer << " dim " << s.dim << " count "
          << s.count << " inner " << s.inner << " shift " << shift;
    }
}

TEST_F(Gather, RowsOfEveryWidth) {
  for (const DType dtype : {DType::U8, DType::Bool, DType::F16, DType::F32, DType::F64})
    for (const std::int64_t inner : {1, 2, 3, 4, 8, 16, 100, 1040}) {
      check_gather(dtype, {1, 7, 9, inner});
      check_gather(dtype, {3, 5, 4, inner}, 1);
    }
}

TEST_F(Gather, NothingAndOtherIndices) {
  check_gather(DType::F32, {2, 4, 0, 5});
  check_gather(DType::F32, {2, 4, 3, 0});
  const Stream stream;
  EXPECT_THROW(cuda::gather(DType::F32, nullptr, DType::U8, nullptr, nullptr, {}, false, stream), UsageError);
}

TEST_F(Gather, OneHot) {
  for (const DType dtype :
       {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Bool})
    for (const DType index : kIndexTypes)
      for (const auto& [count, depth] :
           {std::pair<std::int64_t, std::int64_t>{5, 3}, {1, 1}, {33, 10}, {3, 700}, {9, 16}, {0, 4}})
        for (const std::size_t shift : {0u, 1u}) {
          auto indices = drawn(count, -depth, depth, 11);
          if (count > 2) indices[2] = depth;
          if (count > 4) indices[4] = -depth - 1;
          Tensor want = Tensor::zeros({dtype, {count, depth}});
          for (std::int64_t k = 0; k < count; ++k) {
            const std::int64_t i = indices[static_cast<std::size_t>(k)];
            if (i >= -depth && i < depth) want.set(k * depth + (i < 0 ? i + depth : i), 1.0);
          }
          const Stream stream;
          const Placed dy(want.bytes(), shift * size_of(dtype));
          const DeviceBuffer di = upload(index, indices, stream);
          cuda::one_hot(dtype, index, di.data(), count, depth, dy.data(), stream);
          const Bytes got = dy.bytes(stream);
          EXPECT_TRUE(want.bytes() == 0 || std::memcmp(got.data(), want.raw(), want.bytes()) == 0)
              << name(dtype) << " " << count << " of " << depth << " shift " << shift;
        }
}

class Scatter : public SimTest {};

// Sums as core/ops/gather.cpp forms them: f64 or i64, in the order of the indices; half types round f32.
Tensor plain_sums(const Tensor& u, const std::vector<std::int64_t>& indices, const ScatterShape& s,
                  const ScatterRule& rule) {
  Tensor y = Tensor::zeros({u.dtype(), {s.outer, s.dim, s.inner}});
  std::vector<double> sums(static_cast<std::size_t>(y.numel()), 0.0);
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t k = 0; k < s.count; ++k) {
      std::int64_t r = indices[static_cast<std::size_t>(k)];
      if (rule.negative && r < 0) r += s.dim;
      if (r < 0 || r >= s.dim || r == rule.skip) continue;
      for (std::int64_t i = 0; i < s.inner; ++i)
        sums[static_cast<std::size_t>((o * s.dim + r) * s.inner + i)] +=
            u.get((o * s.count + k) * s.inner + i);
    }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const bool half = u.dtype() == DType::F16 || u.dtype() == DType::BF16;
    double sum = half ? static_cast<double>(static_cast<float>(sums[i])) : sums[i];
    if (u.dtype() == DType::U8) sum = static_cast<double>(static_cast<std::int64_t>(sum) & 255);
    y.set(static_cast<std::int64_t>(i), sum);
  }
  return y;
}

void check_scatter(DType dtype, DType index, const ScatterShape& s, const ScatterRule& rule,
                   const std::vector<std::int64_t>& indices, std::size_t shift = 0) {
  Tensor u({dtype, {s.outer, s.count, s.inner}});
  const auto draws = sequence(static_cast<std::size_t>(u.numel()), 9);
  for (std::int64_t i = 0; i < u.numel(); ++i) {
    const double v = static_cast<double>(draws[static_cast<std::size_t>(i)]);
    u.set(i, is_floating(dtype) ? v : std::floor((v + 1.0) * 100));
  }
  const Tensor want = plain_sums(u, indices, s, rule);
  const Stream stream;
  Bytes raw(u.bytes());
  if (u.bytes() != 0) std::memcpy(raw.data(), u.raw(), u.bytes());
  const Placed du(raw, shift * size_of(dtype), stream), dy(want.bytes(), shift * size_of(dtype));
  const DeviceBuffer di = upload(index, indices, stream);
  const std::size_t bytes = cuda::scatter_add_workspace(s);
  const DeviceBuffer workspace(std::max<std::size_t>(bytes, 16));
  cuda::scatter_add(dtype, du.data(), index, di.data(), dy.data(), s, rule, workspace.data(), stream);
  const Bytes got = dy.bytes(stream);
  Tensor y(want.type());
  if (y.bytes() != 0) std::memcpy(y.raw(), got.data(), y.bytes());
  for (std::int64_t i = 0; i < y.numel(); ++i)
    ASSERT_EQ(y.get(i), want.get(i)) << name(dtype) << " outer " << s.outer << " dim " << s.dim << " count "
                                     << s.count << " inner " << s.inner << " at " << i;
}

void check_scatter(DType dtype, const ScatterShape& s, const ScatterRule& rule, std::size_t shift = 0) {
  for (const DType index : kIndexTypes)
    check_scatter(dtype, index, s, rule, drawn(s.count, rule.negative ? -s.dim : 0, s.dim, 3), shift);
}

constexpr DType kTypes[] = {DType::F32, DType::F64, DType::F16, DType::BF16,
                            DType::I32, DType::I64, DType::U8};

TEST_F(Scatter, SmallProblemsSearch) {
  for (const DType dtype : kTypes)
    for (const std::int64_t inner : {1, 3, 8, 40}) {
      EXPECT_EQ(cuda::scatter_add_workspace({2, 5, 60, inner}), 0u);
      check_scatter(dtype, {2, 5, 60, inner}, {});
      check_scatter(dtype, {1, 70, 33, inner}, {.negative = false, .skip = 3}, 1);
    }
  check_scatter(DType::F32, {1, 4, 0, 3}, {});
}

TEST_F(Scatter, LargeOnesSort) {
  for (const DType dtype : kTypes) {
    EXPECT_GT(cuda::scatter_add_workspace({1, 9, 4500, 1}), 0u);
    check_scatter(dtype, {1, 9, 4500, 1}, {});
    check_scatter(dtype, {1, 300, 2500, 8}, {.negative = false, .skip = 3});
    check_scatter(dtype, {2, 40, 2100, 3}, {}, 1);
  }
  check_scatter(DType::F32, {1, 70000, 2300, 4}, {});  // three digits
}

// One row takes nearly all, over many pieces; rows that begin and end at the edges of pieces; only padding.
TEST_F(Scatter, RowsThatSpanPieces) {
  constexpr std::int64_t kCount = 4200;
  std::vector<std::int64_t> heavy(kCount, 2), edges, none(kCount, 9), ordered;
  heavy[5] = 0;
  heavy[4000] = 7;
  for (std::int64_t k = 0; k < kCount; ++k) edges.push_back(k / 32 % 200);
  for (std::int64_t k = 0; k < kCount; ++k) ordered.push_back(k / 48 % 200);
  for (const DType dtype : {DType::F32, DType::BF16, DType::I64}) {
    check_scatter(dtype, DType::I64, {1, 8, kCount, 8}, {}, heavy);
    check_scatter(dtype, DType::I32, {1, 200, kCount, 2}, {}, edges);
    check_scatter(dtype, DType::I32, {1, 200, kCount, 2}, {}, ordered);
    check_scatter(dtype, DType::I32, {1, 9, kCount, 2}, {}, none);  // out of range: nothing is added
    check_scatter(dtype, DType::I32, {1, 10, kCount, 2}, {.negative = false, .skip = 9}, none);
    check_scatter(dtype, DType::I64, {1, 8, kCount, 8}, {.negative = false, .skip = 2}, heavy);
  }
}

TEST_F(Scatter, Refusals) {
  const Stream stream;
  EXPECT_THROW(cuda::scatter_add(DType::Bool, nullptr, DType::I32, nullptr, nullptr, {}, {}, nullptr, stream),
               UsageError);
  EXPECT_THROW(cuda::scatter_add(DType::F32, nullptr, DType::F32, nullptr, nullptr, {}, {}, nullptr, stream),
               UsageError);
  EXPECT_THROW(cuda::scatter_add_workspace({1, std::int64_t{1} << 33, 5000, 1}), UsageError);
}

}  // namespace
}  // namespace ingot
