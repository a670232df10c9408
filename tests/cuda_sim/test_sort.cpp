// cuda/kernels/sort and along_axis on the simulated device against the references: every dtype, lines that
// share a block, fill one, and are merged from several, in rows and in columns; NaN, both zeros and ties.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/gather.h"
#include "core/ops/sort.h"
#include "cuda/kernels/along_axis.h"
#include "cuda/kernels/sort.h"
#include "cuda/libs/thrust.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::SortShape;
using cuda::Stream;

constexpr DType kTypes[] = {DType::F32, DType::F16, DType::BF16, DType::F64,
                            DType::I32, DType::I64, DType::U8};

Bytes raw_of(const Tensor& t) {
  Bytes b(t.bytes());
  if (!b.empty()) std::memcpy(b.data(), t.raw(), b.size());
  return b;
}
Tensor tensor_of(const TensorType& type, const Bytes& b) {
  Tensor t(type);
  if (!b.empty()) std::memcpy(t.raw(), b.data(), b.size());
  return t;
}

// Few different numbers, so that many are equal, with everything that has a place of its own in the order.
Tensor operand(DType dtype, const SortShape& s) {
  Tensor t({dtype, {s.outer, s.length, s.inner}});
  const std::vector<float> v = sequence(static_cast<std::size_t>(t.numel()), 3);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const double x = static_cast<double>(v[static_cast<std::size_t>(i)]);
    if (!is_floating(dtype)) {
      t.set(i, dtype == DType::U8 ? std::floor(128 * (x + 1)) : std::floor(200 * x));
      continue;
    }
    const int kind = static_cast<int>(std::floor((x + 1) * 1000)) % 40;
    const double inf = std::numeric_limits<double>::infinity();
    t.set(i, kind == 0   ? std::nan("")
             : kind == 1 ? -std::nan("")
             : kind == 2 ? inf
             : kind == 3 ? -inf
             : kind == 4 ? -0.0
             : kind == 5 ? 0.0
                         : std::floor(64 * x) / 16);
  }
  return t;
}

std::vector<Tensor> reference_of(const Tensor& x, std::int64_t keep, bool descending) {
  const Tensor wide = x.dtype() == DType::F16 || x.dtype() == DType::BF16 ? x.to(DType::F32) : x;
  return run_reference(op("topk"), TopkAttrs{keep, 1, descending}, std::array{wide});
}

// Values must be the operand's very bits, at the indices that the reference gives.
void expect_sorted(const Tensor& x, const SortShape& s, bool descending, const Bytes& values,
                   const Bytes& indices) {
  const Tensor want = reference_of(x, s.keep, descending)[1];
  const Tensor got = tensor_of(want.type(), indices);
  const std::size_t e = size_of(x.dtype());
  const Bytes from = raw_of(x);
  for (std::int64_t k = 0; k < want.numel(); ++k) {
    const std::int64_t at = want.data<std::int64_t>()[k];
    const std::string where = cat(name(x.dtype()), " [", s.outer, ", ", s.length, ", ", s.inner, "] keep ",
                                  s.keep, descending ? " falling" : " rising", ", element ", k);
    ASSERT_EQ(got.data<std::int64_t>()[k], at) << where;
    const std::int64_t o = k / (s.keep * s.inner), i = k % s.inner;
    const auto place = static_cast<std::size_t>((o * s.length + at) * s.inner + i) * e;
    ASSERT_EQ(std::memcmp(values.data() + static_cast<std::size_t>(k) * e, from.data() + place, e), 0)
        << where;
  }
}

class Sort : public SimTest {
 protected:
  static void check(DType dtype, const SortShape& s, bool descending, std::size_t shift = 0) {
    const Stream stream;
    const Tensor x = operand(dtype, s);
    const auto results = static_cast<std::size_t>(s.lines() * s.keep);
    const std::size_t e = size_of(dtype);
    const Placed dx(raw_of(x), shift * e, stream), values(results * e, shift * e), indices(results * 8, 0);
    const DeviceBuffer workspace(std::max<std::size_t>(cuda::sort_workspace(dtype, s), 16));
    cuda::sort(dtype, dx.data(), values.data(), static_cast<std::int64_t*>(indices.data()), s, descending,
               workspace.data(), stream);
    expect_sorted(x, s, descending, values.bytes(stream), indices.bytes(stream));
  }
};

TEST_F(Sort, LinesThatShareABlock) {
  for (const DType dtype : kTypes)
    for (const bool descending : {false, true}) {
      check(dtype, {3, 7, 1, 7}, descending, 1);
      check(dtype, {2, 33, 5, 33}, descending);
      check(dtype, {130, 17, 1, 4}, descending);
      check(dtype, {5, 1, 3, 1}, descending);
    }
  check(DType::F32, {3, 2048, 1, 2048}, false);
  check(DType::F32, {2, 1025, 2, 3}, true);
  EXPECT_EQ(cuda::sort_workspace(DType::F32, {3, 2048, 1, 2048}), 0u);
}

TEST_F(Sort, LongLinesAreMerged) {
  for (const DType dtype : {DType::F32, DType::BF16, DType::I64})
    for (const bool descending : {false, true}) {
      check(dtype, {2, 2049, 1, 2049}, descending);
      check(dtype, {1, 7000, 1, 7000}, descending);  // four runs, the last one short
      check(dtype, {1, 4500, 3, 4500}, descending);  // three runs
      check(dtype, {2, 9000, 1, 5}, descending);     // runs that do not grow
      check(dtype, {1, 9000, 2, 3000}, descending);  // runs that stop growing
    }
  EXPECT_GT(cuda::sort_workspace(DType::F32, {2, 2049, 1, 2049}), 0u);
}

TEST_F(Sort, NothingToDo) {
  check(DType::F32, {0, 5, 1, 5}, false);
  check(DType::F32, {3, 5, 1, 0}, false);
  check(DType::F32, {3, 0, 2, 0}, false);
}

TEST_F(Sort, Refusals) {
  const Stream stream;
  EXPECT_THROW(cuda::sort(DType::Bool, nullptr, nullptr, nullptr, {}, false, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::sort(DType::U8, nullptr, nullptr, nullptr, {.length = std::int64_t{1} << 32}, false,
                          nullptr, stream),
               UsageError);
}

// Thrust sorts what our kernels make of the operand; every shape goes, though lowerings keep short lines.
TEST_F(Sort, ByThrust) {
  for (const DType dtype : kTypes)
    for (const SortShape& s : {SortShape{1, 500, 1, 500}, SortShape{3, 70, 1, 9}, SortShape{2, 41, 5, 41}})
      for (const bool descending : {false, true}) {
        const Stream stream;
        const Tensor x = operand(dtype, s);
        const std::int64_t n = s.elements();
        const auto results = static_cast<std::size_t>(s.lines() * s.keep);
        const Placed dx(raw_of(x), 0, stream), values(results * size_of(dtype), 0), indices(results * 8, 0);
        const DeviceBuffer keys(static_cast<std::size_t>(n) * 8), places(static_cast<std::size_t>(n) * 4);
        const DeviceBuffer workspace(cuda::thrust_sort_workspace(n));
        cuda::make_sort_keys(dtype, dx.data(), s, descending, keys.as<unsigned long long>(),
                             places.as<unsigned>(), stream);
        cuda::thrust_sort(keys.as<unsigned long long>(), places.as<unsigned>(), n, workspace.data(), stream);
        if (cuda::has_wide_keys(dtype)) {
          cuda::sort_keys_by_line(places.as<unsigned>(), s, keys.as<unsigned long long>(), stream);
          cuda::thrust_sort(keys.as<unsigned long long>(), places.as<unsigned>(), n, workspace.data(),
                            stream);
        }
        cuda::take_sorted(dtype, dx.data(), places.as<unsigned>(), s, values.data(),
                          static_cast<std::int64_t*>(indices.data()), stream);
        expect_sorted(x, s, descending, values.bytes(stream), indices.bytes(stream));
      }
}

// ---- Elements along an axis -----------------------------------------------------------------------------

class AlongAxis : public SimTest {};

TEST_F(AlongAxis, TakeAndPut) {
  const Stream stream;
  for (const DType dtype : {DType::F64, DType::F32, DType::BF16, DType::U8, DType::Bool})
    for (const bool wide : {false, true}) {
      const cuda::AlongShape s{.outer = 3, .dim = 11, .count = 5, .inner = 4};
      const std::size_t e = size_of(dtype);
      const Bytes x = numbered(s.outer * s.dim * s.inner, e), u = numbered(s.outer * s.count * s.inner, e, 9);
      const std::int64_t n = s.outer * s.count * s.inner;
      // Different along the axis; one counts from the end, two name nothing.
      Tensor index({wide ? DType::I64 : DType::I32, {s.outer, s.count, s.inner}});
      for (std::int64_t k = 0; k < n; ++k)
        index.set(k, static_cast<double>((k / s.inner % s.count * 2 + k % s.inner) % s.dim));
      index.set(0, -1);
      index.set(1, static_cast<double>(s.dim));
      index.set(2, static_cast<double>(-s.dim - 1));
      const Placed di(raw_of(index), 0, stream), dx(x, e, stream), du(u, 0, stream), taken(u.size(), e),
          put(x.size(), e);
      cuda::take_along_axis(dtype, dx.data(), index.dtype(), di.data(), taken.data(), s, stream);
      cuda::put_along_axis(dtype, du.data(), index.dtype(), di.data(), put.data(), s, stream);
      Bytes want_taken(u.size()), want_put(x.size(), 0);
      for (std::int64_t k = 0; k < n; ++k) {
        auto at = static_cast<std::int64_t>(index.get(k));
        if (at < 0) at += s.dim;
        const auto to = static_cast<std::size_t>(k) * e;
        if (at < 0 || at >= s.dim) {
          std::memset(want_taken.data() + to, dtype == DType::Bool ? 1 : 0xff, e);
          continue;
        }
        const std::int64_t o = k / (s.count * s.inner);
        const auto from = static_cast<std::size_t>((o * s.dim + at) * s.inner + k % s.inner) * e;
        std::memcpy(want_taken.data() + to, x.data() + from, e);
        std::memcpy(want_put.data() + from, u.data() + to, e);
      }
      EXPECT_EQ(taken.bytes(stream), want_taken) << name(dtype) << wide;
      EXPECT_EQ(put.bytes(stream), want_put) << name(dtype) << wide;
    }
}

}  // namespace
}  // namespace ingot
