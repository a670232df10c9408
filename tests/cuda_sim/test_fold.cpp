// cuda/kernels/argmax, variance and the exact reductions on the simulated device against plain loops: rows of
// a warp, of a block, in parts; columns, in parts; every dtype.
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/kernels/argmax.h"
#include "cuda/kernels/variance.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::ReduceKind;
using cuda::ReduceShape;
using cuda::Stream;

const ReduceShape kShapes[] = {{5, 1, 1},    {9, 7, 1},     {3, 128, 1},  {70, 1024, 1},
                               {2, 1030, 1}, {1, 20000, 1}, {1, 8193, 1}, {1, 5, 3},
                               {2, 300, 33}, {1, 1000, 64}, {40, 9, 10},  {1, 8193, 4}};

class Fold : public SimTest {};

Tensor shaped(DType dtype, const ReduceShape& s) {
  return Tensor({dtype, {s.outer, s.length, s.inner}});
}

template <class Launch>
Tensor run(const Tensor& x, const TensorType& type, std::size_t workspace, std::size_t shift, Launch launch) {
  const Stream stream;
  Bytes raw(x.bytes());
  if (!raw.empty()) std::memcpy(raw.data(), x.raw(), raw.size());
  const Placed dx(raw, shift * size_of(x.dtype()), stream), dy(type.bytes(), 0);
  const DeviceBuffer scratch(std::max<std::size_t>(workspace, 16));
  launch(dx.data(), dy.data(), scratch.data(), stream);
  Tensor y(type);
  const Bytes got = dy.bytes(stream);
  if (!got.empty()) std::memcpy(y.raw(), got.data(), got.size());
  return y;
}

void check_argmax(const Tensor& x, const ReduceShape& s, std::size_t shift = 0) {
  const Tensor y = run(x, {DType::I64, {s.outer, s.inner}}, cuda::argmax_workspace(s), shift,
                       [&](const void* in, void* out, void* workspace, const Stream& stream) {
                         cuda::argmax(x.dtype(), in, static_cast<std::int64_t*>(out), s, workspace, stream);
                       });
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      std::int64_t best = 0;
      const auto value = [&](std::int64_t l) { return x.get((o * s.length + l) * s.inner + i); };
      for (std::int64_t l = 1; l < s.length; ++l)
        if (value(l) > value(best) || (std::isnan(value(l)) && !std::isnan(value(best)))) best = l;
      ASSERT_EQ(y.data<std::int64_t>()[o * s.inner + i], best)
          << name(x.dtype()) << " outer " << s.outer << " length " << s.length << " inner " << s.inner;
    }
}

TEST_F(Fold, ArgmaxOfEveryDtype) {
  for (const DType dtype :
       {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8})
    for (const ReduceShape& s : kShapes) {
      Tensor x = shaped(dtype, s);
      const auto draws = sequence(static_cast<std::size_t>(x.numel()), 5);
      // Few values, so that ties are the rule.
      for (std::int64_t i = 0; i < x.numel(); ++i)
        x.set(i, std::floor(static_cast<double>(draws[static_cast<std::size_t>(i)]) * 9) +
                     (dtype == DType::U8 ? 9 : 0));
      check_argmax(x, s);
      check_argmax(x, s, 1);
    }
}

TEST_F(Fold, ArgmaxOfInfinitiesAndNan) {
  for (const DType dtype : {DType::F32, DType::F16, DType::F64})
    for (const ReduceShape& s : {ReduceShape{2, 40, 1}, {1, 9000, 1}, {1, 300, 2}}) {
      Tensor x = shaped(dtype, s);
      for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, -INFINITY);
      check_argmax(x, s);
      x.set(17 * s.inner, INFINITY);
      check_argmax(x, s);
      x.set(31 * s.inner, NAN);
      x.set(33 * s.inner, NAN);
      check_argmax(x, s);
    }
  Tensor large({DType::I64, {3}});  // differ beyond f64's digits
  large.data<std::int64_t>()[0] = (std::int64_t{1} << 60);
  large.data<std::int64_t>()[1] = (std::int64_t{1} << 60) + 1;
  large.data<std::int64_t>()[2] = (std::int64_t{1} << 60) - 1;
  const Tensor y = run(
      large, {DType::I64, {1}}, 0, 0, [](const void* in, void* out, void* workspace, const Stream& stream) {
        cuda::argmax(DType::I64, in, static_cast<std::int64_t*>(out), {1, 3, 1}, workspace, stream);
      });
  EXPECT_EQ(y.get(0), 1.0);
  const Stream stream;
  EXPECT_THROW(cuda::argmax(DType::F32, nullptr, nullptr, {1, 0, 1}, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::argmax(DType::Bool, nullptr, nullptr, {1, 1, 1}, nullptr, stream), UsageError);
  cuda::argmax(DType::F32, nullptr, nullptr, {0, 4, 1}, nullptr, stream);
}

void check_variance(DType dtype, const ReduceShape& s, double mean, double correction,
                    std::size_t shift = 0) {
  Tensor x = shaped(dtype, s);
  const auto draws = sequence(static_cast<std::size_t>(x.numel()), 7);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.set(i, static_cast<double>(draws[static_cast<std::size_t>(i)]) + mean);
  const Tensor y = run(x, {dtype, {s.outer, s.inner}}, cuda::variance_workspace(s), shift,
                       [&](const void* in, void* out, void* workspace, const Stream& stream) {
                         cuda::variance(dtype, in, out, s, correction, workspace, stream);
                       });
  const double unit = dtype == DType::F32 ? 1e-5 : dtype == DType::F16 ? 1e-3 : 8e-3;
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      const auto value = [&](std::int64_t l) { return x.get((o * s.length + l) * s.inner + i); };
      double centre = 0, squares = 0;
      const auto n = static_cast<double>(s.length);
      for (std::int64_t l = 0; l < s.length; ++l) centre += value(l) / n;
      for (std::int64_t l = 0; l < s.length; ++l) squares += (value(l) - centre) * (value(l) - centre);
      const double want = squares / std::max(0.0, n - correction), got = y.get(o * s.inner + i);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got));
        continue;
      }
      ASSERT_NEAR(got, want, unit * want) << name(dtype) << " outer " << s.outer << " length " << s.length
                                          << " inner " << s.inner << " mean " << mean;
    }
}

TEST_F(Fold, VarianceFarFromZeroToo) {
  for (const ReduceShape& s : kShapes) {
    if (s.length == 1) continue;
    for (const double mean : {0.0, 1000.0, -1e5}) check_variance(DType::F32, s, mean, 1.0);
    check_variance(DType::F32, s, 3.0, 0.0, 1);
    check_variance(DType::F16, s, 2.0, 1.0);
    check_variance(DType::BF16, s, -1.0, 1.0);
  }
  check_variance(DType::F32, {5, 1, 1}, 2.0, 1.0);  // 0 / 0
  check_variance(DType::F32, {5, 0, 3}, 2.0, 1.0);
  const Stream stream;
  EXPECT_THROW(cuda::variance(DType::F64, nullptr, nullptr, {1, 1, 1}, 1.0, nullptr, stream), UsageError);
  cuda::variance(DType::F32, nullptr, nullptr, {0, 4, 1}, 1.0, nullptr, stream);
}

TEST_F(Fold, VarianceOfNanAndInfinity) {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)})
    for (const std::int64_t at : {0, 700}) {
      Tensor x = Tensor::full({DType::F32, {2, 1000}}, 0.5);
      x.set(at, bad);
      const Tensor y = run(x, {DType::F32, {2}}, 0, 0,
                           [](const void* in, void* out, void* workspace, const Stream& stream) {
                             cuda::variance(DType::F32, in, out, {2, 1000, 1}, 1.0, workspace, stream);
                           });
      EXPECT_TRUE(std::isnan(y.get(0)));
      EXPECT_EQ(y.get(1), 0.0);
    }
}

TEST_F(Fold, ExactReductions) {
  for (const DType dtype : {DType::F64, DType::I32, DType::I64, DType::U8})
    for (const ReduceShape& s : kShapes) {
      Tensor x = shaped(dtype, s);
      const auto draws = sequence(static_cast<std::size_t>(x.numel()), 6);
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        const double v = std::floor(static_cast<double>(draws[static_cast<std::size_t>(i)]) * 100);
        x.set(i, dtype == DType::U8 ? v + 100 : dtype == DType::I64 ? v + 4e9 : v);
      }
      for (const ReduceKind kind : {ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min}) {
        if (kind == ReduceKind::Mean && dtype != DType::F64) continue;
        const Tensor y = run(x, {dtype, {s.outer, s.inner}}, cuda::reduce_workspace(s, dtype), 0,
                             [&](const void* in, void* out, void* workspace, const Stream& stream) {
                               cuda::reduce(kind, dtype, in, out, s, workspace, stream);
                             });
        for (std::int64_t o = 0; o < s.outer; ++o)
          for (std::int64_t i = 0; i < s.inner; ++i) {
            double sum = 0, most = -INFINITY, least = INFINITY;
            for (std::int64_t l = 0; l < s.length; ++l) {
              const double v = x.get((o * s.length + l) * s.inner + i);
              sum += v;
              most = std::max(most, v);
              least = std::min(least, v);
            }
            if (dtype == DType::U8) sum = static_cast<double>(static_cast<std::int64_t>(sum) & 255);
            const double want = kind == ReduceKind::Sum    ? sum
                                : kind == ReduceKind::Mean ? sum / static_cast<double>(s.length)
                                : kind == ReduceKind::Max  ? most
                                                           : least;
            ASSERT_EQ(y.get(o * s.inner + i), want)
                << name(dtype) << " outer " << s.outer << " length " << s.length << " inner " << s.inner
                << " kind " << static_cast<int>(kind);
          }
      }
    }
  const Stream stream;
  for (const DType dtype : {DType::I32, DType::Bool})
    EXPECT_THROW(cuda::reduce(ReduceKind::Mean, dtype, nullptr, nullptr, {1, 1, 1}, nullptr, stream),
                 UsageError);
  EXPECT_THROW(cuda::reduce(ReduceKind::Max, DType::I32, nullptr, nullptr, {1, 0, 1}, nullptr, stream),
               UsageError);
}

TEST_F(Fold, DoubleExtremaOfNan) {
  Tensor x = Tensor::full({DType::F64, {1, 50}}, 2.0);
  x.set(30, NAN);
  for (const ReduceKind kind : {ReduceKind::Max, ReduceKind::Min}) {
    const Tensor y = run(x, {DType::F64, {1}}, 0, 0,
                         [&](const void* in, void* out, void* workspace, const Stream& stream) {
                           cuda::reduce(kind, DType::F64, in, out, {1, 50, 1}, workspace, stream);
                         });
    EXPECT_TRUE(std::isnan(y.get(0)));
  }
}

}  // namespace
}  // namespace ingot
