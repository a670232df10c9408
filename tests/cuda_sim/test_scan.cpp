// cuda/kernels/scan and the scan of cuda/libs/thrust on the simulated device against plain loops: every
// dtype, both directions, with and without the element itself; rows and columns, whole and in parts; and the
// selection of slices of any width. Last, that lowerings hand the problems over that they should.
#include <array>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/op/builder.h"
#include "core/op/reference.h"
#include "core/ops/scan.h"
#include "core/ops/sort.h"
#include "cuda/kernels/scan.h"
#include "cuda/libs/thrust.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::ReduceShape;
using cuda::ScanKind;
using cuda::Stream;

constexpr ScanKind kKinds[] = {{false, false}, {false, true}, {true, false}, {true, true}};

enum class By { Own, Thrust };

class Scan : public SimTest {
 protected:
  static void check(By by, DType dtype, const ReduceShape& s, const ScanKind& kind, bool in_place = false) {
    const Stream stream;
    Tensor x({dtype, {s.outer, s.length, s.inner}});
    const std::vector<float> v = sequence(static_cast<std::size_t>(x.numel()), 5);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const double e = static_cast<double>(v[static_cast<std::size_t>(i)]);
      // Small multiples of a power of two: their sums are exact in double, whatever the order.
      x.set(i, is_floating(dtype) ? std::floor(e * 64) / 32
                                  : std::floor(dtype == DType::U8 ? (e + 1) * 128 : e * 1e9));
    }
    Bytes raw(x.bytes());
    if (!raw.empty()) std::memcpy(raw.data(), x.raw(), raw.size());
    const Placed dx(raw, 0, stream), dy(raw.size(), 0);
    void* const y = in_place ? dx.data() : dy.data();
    const std::size_t bytes =
        by == By::Own ? cuda::running_sum_workspace(s) : cuda::thrust_scan_workspace(x.numel());
    const DeviceBuffer workspace(std::max<std::size_t>(bytes, 16));
    (by == By::Own ? cuda::running_sum : cuda::thrust_running_sum)(dtype, dx.data(), dtype, y, s, kind,
                                                                   workspace.data(), stream);
    const bool half = dtype == DType::F16 || dtype == DType::BF16;
    const Tensor wide = half ? x.to(DType::F32) : x;
    const Tensor want =
        run_reference(op("cumsum"), CumsumAttrs{1, kind.exclusive, kind.reverse}, std::array{wide})[0].to(
            dtype);
    Tensor got(want.type());
    const Bytes result = (in_place ? dx : dy).bytes(stream);
    if (!result.empty()) std::memcpy(got.raw(), result.data(), result.size());
    for (std::int64_t i = 0; i < want.numel(); ++i)
      ASSERT_EQ(got.get(i), want.get(i))
          << name(dtype) << " [" << s.outer << ", " << s.length << ", " << s.inner << "] exclusive "
          << kind.exclusive << " reverse " << kind.reverse << " at " << i;
  }
};

TEST_F(Scan, RowsAndColumns) {
  for (const DType dtype :
       {DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32, DType::I64, DType::U8})
    for (const ScanKind& kind : kKinds)
      for (const ReduceShape& s : {ReduceShape{3, 1, 1}, ReduceShape{9, 130, 1}, ReduceShape{2, 129, 1},
                                   ReduceShape{2, 7, 33}, ReduceShape{3, 5, 2}})
        check(By::Own, dtype, s, kind);
  check(By::Own, DType::F32, {0, 4, 1}, {});
  check(By::Own, DType::F32, {2, 0, 3}, {});
}

TEST_F(Scan, InParts) {
  for (const DType dtype : {DType::F32, DType::BF16, DType::I32, DType::I64})
    for (const ScanKind& kind : kKinds)
      for (const ReduceShape& s : {ReduceShape{2, 2049, 1}, ReduceShape{1, 5000, 1}, ReduceShape{2, 131, 3},
                                   ReduceShape{1, 300, 40}}) {
        EXPECT_GT(cuda::running_sum_workspace(s), 0u);
        check(By::Own, dtype, s, kind);
        check(By::Own, dtype, s, kind, true);
      }
}

TEST_F(Scan, ByThrust) {
  for (const DType dtype : {DType::I32, DType::I64, DType::U8})
    for (const ScanKind& kind : kKinds)
      for (const ReduceShape& s : {ReduceShape{3, 1, 1}, ReduceShape{1, 1000, 1}, ReduceShape{5, 77, 1},
                                   ReduceShape{2, 9, 4}, ReduceShape{0, 4, 1}})
        check(By::Thrust, dtype, s, kind);
}

TEST_F(Scan, SelectionOfAnyWidth) {
  const Stream stream;
  for (const By by : {By::Own, By::Thrust})
    for (const std::int64_t bytes : {1, 2, 3, 4, 8, 16, 36})
      for (const std::int64_t length : {0, 1, 50, 2500}) {
        const ReduceShape s{length > 100 ? 1 : 3, length, bytes}, flags{.length = length};
        const Bytes x = numbered(s.outer * length * bytes, 1);
        Bytes mask(static_cast<std::size_t>(length));
        for (std::size_t k = 0; k < mask.size(); ++k)
          mask[k] = sequence(1, static_cast<unsigned>(k) * 7)[0] > 0;
        const Placed dx(x, 0, stream), dm(mask, 0, stream), dy(x.size(), 0), count(8, 0);
        const DeviceBuffer counts(static_cast<std::size_t>(std::max<std::int64_t>(length, 1)) * 8);
        const DeviceBuffer workspace(cuda::running_sum_workspace(flags) +
                                     cuda::thrust_scan_workspace(length));
        (by == By::Own ? cuda::running_sum : cuda::thrust_running_sum)(
            DType::Bool, dm.data(), DType::I64, counts.data(), flags, {}, workspace.data(), stream);
        cuda::place_selected(dx.data(), dm.data(), counts.as<std::int64_t>(), dy.data(),
                             static_cast<std::int64_t*>(count.data()), s, stream);
        Bytes want(x.size(), 0);
        std::int64_t chosen = 0;
        for (std::int64_t k = 0; k < length; ++k) {
          if (mask[static_cast<std::size_t>(k)] == 0) continue;
          for (std::int64_t o = 0; o < s.outer; ++o)
            std::memcpy(want.data() + (o * length + chosen) * bytes, x.data() + (o * length + k) * bytes,
                        static_cast<std::size_t>(bytes));
          ++chosen;
        }
        EXPECT_EQ(dy.bytes(stream), want) << bytes << " bytes, " << length << " slices";
        std::int64_t got = -1;
        std::memcpy(&got, count.bytes(stream).data(), 8);
        EXPECT_EQ(got, chosen);
      }
}

TEST_F(Scan, Refusals) {
  const Stream stream;
  EXPECT_THROW(
      cuda::running_sum(DType::F32, nullptr, DType::I64, nullptr, {.length = 3}, {}, nullptr, stream),
      UsageError);
  EXPECT_THROW(
      cuda::thrust_running_sum(DType::F32, nullptr, DType::F32, nullptr, {.length = 3}, {}, nullptr, stream),
      UsageError);
  EXPECT_FALSE(cuda::thrust_scan_fits(std::int64_t{1} << 31));
  EXPECT_FALSE(cuda::thrust_sort_fits(std::int64_t{1} << 31));
}

// Memory that the device opens for its own work alone: a call of Thrust beside the stream would end here.
TEST_F(Scan, ThrustRunsInTheOrderOfTheStream) {
  const Stream stream;
  constexpr std::int64_t kLength = 300;
  const Bytes ones(static_cast<std::size_t>(kLength), 1);
  const Placed x(Bytes(ones.size(), 0), 0, stream), y(ones.size(), 0);
  const DeviceBuffer workspace(cuda::thrust_scan_workspace(kLength));
  cuda::copy_to_device(x.data(), ones.data(), ones.size(), stream);
  cuda::thrust_running_sum(DType::U8, x.data(), DType::U8, y.data(), {.length = kLength}, {},
                           workspace.data(), stream);
  cuda::fill_bytes(x.data(), 7, ones.size(), stream);
  EXPECT_EQ(y.bytes(stream)[199], 200);
}

// The kernel of a node of one operand, or of an operand and a mask.
std::string kernel_of(std::string_view name, const Attrs& attrs, const std::vector<TensorType>& types) {
  Graph g;
  std::vector<Value> in;
  std::vector<Tensor> operands;
  for (const TensorType& t : types) {
    in.push_back(input(g, cat("x", in.size()), t));
    operands.push_back(Tensor::zeros(t));
  }
  apply(name, in, attrs);
  const auto done = run_on_device(g, {0}, operands);
  return done ? done->kernel : "none";
}

TEST_F(Scan, WhatLoweringsHandToThrust) {
  const TensorType row{DType::I32, {2, 3000}}, column{DType::I32, {3000, 2}};
  EXPECT_EQ(kernel_of("cumsum", CumsumAttrs{1}, {row}), "thrust:scan");
  EXPECT_EQ(kernel_of("cumsum", CumsumAttrs{0}, {column}), "scan");
  EXPECT_EQ(kernel_of("cumsum", CumsumAttrs{1}, {{DType::F32, {2, 3000}}}), "scan");
  EXPECT_EQ(kernel_of("cumsum", CumsumAttrs{1}, {{DType::I32, {2, 300}}}), "scan");
  const TensorType image{DType::F32, {3000, 4}};
  EXPECT_EQ(kernel_of("compress", CompressAttrs{0}, {image, {DType::Bool, {3000}}}), "thrust:select");
  EXPECT_EQ(kernel_of("compress", CompressAttrs{1}, {image, {DType::Bool, {4}}}), "select");
  EXPECT_EQ(kernel_of("sort", SortAttrs{1}, {row}), "thrust:sort");
  EXPECT_EQ(kernel_of("sort", SortAttrs{0, true}, {column}), "thrust:sort");
  EXPECT_EQ(kernel_of("sort", SortAttrs{0}, {row}), "sort");
  EXPECT_EQ(kernel_of("topk", TopkAttrs{1000, 1}, {row}), "thrust:sort");
  EXPECT_EQ(kernel_of("topk", TopkAttrs{5, 1}, {row}), "sort");
}

}  // namespace
}  // namespace ingot
