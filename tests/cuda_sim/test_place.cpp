// cuda/kernels/place and fill on the simulated device against plain loops: padding, gradients of slices with
// steps of either sign, concatenation of many operands, constants and counters; four element sizes, pointers
// off 16 bytes.
#include <cstring>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/place.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::PlaceAxis;
using cuda::plan_place;
using cuda::Stream;

using Axes = std::vector<PlaceAxis>;

void plain_place(const Axes& axes, std::size_t d, std::size_t element, const unsigned char* from,
                 unsigned char* to, std::int64_t at) {
  const auto e = static_cast<std::int64_t>(element);
  if (d == axes.size()) {
    std::memcpy(to + at * e, from, element);
    return;
  }
  for (std::int64_t i = 0; i < axes[d].count; ++i)
    plain_place(axes, d + 1, element, from + i * axes[d].from * e, to,
                at * axes[d].size + axes[d].begin + i * axes[d].step);
}

void check(const Axes& axes, std::size_t element, std::size_t shift = 0) {
  std::int64_t source = 1, result = 1;
  for (const PlaceAxis& a : axes) {
    source += (a.count - 1) * a.from;
    result *= a.size;
  }
  const std::uint64_t value = 0xA1B2C3D4E5F60718u;
  const Bytes x = numbered(source, element);
  Bytes want(static_cast<std::size_t>(result) * element);
  for (std::size_t i = 0; i < want.size(); ++i)
    want[i] = static_cast<unsigned char>(value >> (8 * (i % element)));
  plain_place(axes, 0, element, x.data(), want.data(), 0);
  const Stream stream;
  const Placed dx(x, shift * element, stream), dy(want.size(), shift * element);
  cuda::place(plan_place(axes, element), dx.data(), value, dy.data(), stream);
  std::string text;
  for (const PlaceAxis& a : axes)
    text += cat("(", a.size, ", ", a.begin, ", ", a.step, ", ", a.count, ", ", a.from, ") ");
  EXPECT_EQ(dy.bytes(stream), want) << text << "element " << element << " shift " << shift;
}

constexpr std::size_t kElements[] = {1, 2, 4, 8};

class Place : public SimTest {};

TEST_F(Place, Padding) {
  for (const std::size_t element : kElements) {
    check({{7, 2, 1, 3, 1}}, element);
    check({{4, 1, 1, 2, 3}, {7, 2, 1, 3, 1}}, element);
    check({{2, 0, 1, 2, 64}, {6, 1, 1, 4, 16}, {16, 0, 1, 16, 1}}, element);    // channels last
    check({{2, 0, 1, 2, 96}, {48, 16, 1, 16, 6}, {16, 16, 1, 0, 1}}, element);  // an empty operand
    check({{2, 0, 1, 2, 32}, {3, 1, 1, 1, 32}, {64, 16, 1, 32, 1}}, element);   // whole pieces
    check({{2, 0, 1, 2, 32}, {3, 1, 1, 1, 32}, {64, 16, 1, 32, 1}}, element, 1);
    check({{5, 1, 1, 3, 40}, {1500, 16, 1, 40, 1}}, element);  // several blocks
    check({{1, 0, 1, 1, 1}}, element);
  }
}

TEST_F(Place, GradientsOfSlices) {
  for (const std::size_t element : kElements) {
    check({{10, 1, 3, 3, 1}}, element);
    check({{10, 9, -3, 4, 1}}, element);
    check({{5, 4, -1, 5, 16}, {16, 0, 1, 16, 1}}, element);
    check({{6, 1, 2, 3, 12}, {9, 8, -2, 4, 3}, {8, 1, 3, 3, 1}}, element);
    check({{7, 3, 5, 1, 4}, {4, 0, 1, 4, 1}}, element);
    check({{4, 2, 1, 0, 4}, {4, 0, 1, 4, 1}}, element);  // nothing was taken
  }
}

TEST_F(Place, AxesAreJoinedAndChecked) {
  EXPECT_EQ(plan_place({{4, 1, 1, 2, 12}, {3, 0, 1, 3, 4}, {4, 0, 1, 4, 1}}, 4).axes.size(), 1u);
  EXPECT_EQ(plan_place({{4, 0, 1, 4, 12}, {5, 1, 1, 3, 4}, {4, 0, 1, 4, 1}}, 4).axes.size(), 2u);
  EXPECT_EQ(plan_place({{1, 0, 1, 1, 9}}, 4).axes.size(), 1u);
  EXPECT_THROW(plan_place({{4, 2, 1, 3, 1}}, 4), UsageError);
  EXPECT_THROW(plan_place({{4, 1, -1, 3, 1}}, 4), UsageError);
  EXPECT_THROW(plan_place({{4, 0, 0, 3, 1}}, 4), UsageError);
  EXPECT_THROW(plan_place({{4, 0, 1, 4, 1}}, 5), UsageError);
  const Stream stream;
  cuda::place(plan_place({{3, 0, 1, 3, 0}, {0, 0, 1, 0, 1}}, 4), nullptr, 0, nullptr, stream);
}

void check_concat(const std::vector<std::int64_t>& runs, std::int64_t outer, std::size_t element,
                  std::size_t shift = 0) {
  const Stream stream;
  std::vector<Bytes> operands;
  std::vector<Placed> placed;
  std::vector<const void*> from;
  std::size_t pitch = 0;
  placed.reserve(runs.size());
  for (std::size_t k = 0; k < runs.size(); ++k) {
    operands.push_back(numbered(outer * runs[k], element, static_cast<unsigned>(k + 1)));
    placed.emplace_back(operands[k], shift * element, stream);
    from.push_back(placed[k].data());
    pitch += static_cast<std::size_t>(runs[k]) * element;
  }
  Bytes want;
  for (std::size_t o = 0; o < static_cast<std::size_t>(outer); ++o)
    for (std::size_t k = 0; k < runs.size(); ++k) {
      const std::size_t run = static_cast<std::size_t>(runs[k]) * element;
      want.insert(want.end(), operands[k].begin() + static_cast<std::ptrdiff_t>(o * run),
                  operands[k].begin() + static_cast<std::ptrdiff_t>((o + 1) * run));
    }
  const Placed dy(want.size(), 0);
  cuda::concat(from.data(), runs, outer, element, dy.data(), stream);
  EXPECT_EQ(dy.bytes(stream), want) << "runs " << join(runs) << " outer " << outer << " element " << element;
}

TEST_F(Place, SideBySide) {
  for (const std::size_t element : kElements) {
    check_concat({5}, 3, element);
    check_concat({16, 32, 48}, 3, element);
    check_concat({16, 32, 48}, 3, element, 1);
    check_concat({1, 2, 3, 0, 4}, 7, element);
    check_concat({1000, 3}, 5, element);
    check_concat({0, 0}, 4, element);
    check_concat({3, 4}, 0, element);
  }
  check_concat(std::vector<std::int64_t>(50, 3), 4, 4);  // two launches
}

TEST_F(Place, TwoDozenSideBySideAreOneLaunch) {
  const std::size_t before = sim::counters().kernels_run;
  check_concat(std::vector<std::int64_t>(24, 8), 2, 2);
  EXPECT_EQ(sim::counters().kernels_run - before, 1u);
}

TEST_F(Place, Constants) {
  const Stream stream;
  for (const std::size_t element : kElements)
    for (const std::int64_t n : {1, 3, 16, 17, 5000})
      for (const std::size_t shift : {0u, 1u}) {
        const std::uint64_t bits = 0x1122334455667788u;
        const Placed y(static_cast<std::size_t>(n) * element, shift * element);
        cuda::fill(bits, element, y.data(), n, stream);
        const Bytes got = y.bytes(stream);
        for (std::size_t i = 0; i < got.size(); ++i)
          ASSERT_EQ(got[i], static_cast<unsigned char>(bits >> (8 * (i % element))));
      }
  cuda::fill(0, 4, nullptr, 0, stream);
  EXPECT_EQ(cuda::element_bits(DType::F16, 0.5), 0x3800u);
  EXPECT_EQ(cuda::element_bits(DType::BF16, -2.0), 0xC000u);
  EXPECT_EQ(cuda::element_bits(DType::F32, 1.0), 0x3F800000u);
  EXPECT_EQ(cuda::element_bits(DType::I64, -1.0), ~std::uint64_t{0});
  EXPECT_EQ(cuda::element_bits(DType::Bool, 3.0), 1u);
}

TEST_F(Place, Counters) {
  const Stream stream;
  for (const DType dtype :
       {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8})
    for (const std::int64_t n : {1, 7, 300, 2999})
      for (const std::size_t shift : {0u, 1u}) {
        Tensor want({dtype, {n}});
        for (std::int64_t i = 0; i < n; ++i)
          want.set(i, static_cast<double>(dtype == DType::U8 ? i % 256 : i));
        const Placed y(want.bytes(), shift * size_of(dtype));
        cuda::iota(dtype, y.data(), n, stream);
        EXPECT_EQ(std::memcmp(y.bytes(stream).data(), want.raw(), want.bytes()), 0)
            << name(dtype) << " " << n;
      }
  cuda::iota(DType::F32, nullptr, 0, stream);
  EXPECT_THROW(cuda::iota(DType::Bool, nullptr, 1, stream), UsageError);
}

}  // namespace
}  // namespace ingot
