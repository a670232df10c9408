// cuda/kernels/copy on the simulated device against plain loops: pieces of every width, tiles, gathered and
// single elements, four element sizes, pointers off 16 bytes, bytes around the result untouched.
#include <cstring>

#include "core/base/error.h"
#include "cuda/kernels/copy.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::CopyAxis;
using cuda::plan_copy;
using cuda::Stream;
using cuda::StridedCopy;

using Axes = std::vector<CopyAxis>;

void plain_copy(const Axes& axes, std::size_t d, std::size_t element, const unsigned char* from,
                unsigned char* to) {
  if (d == axes.size()) {
    std::memcpy(to, from, element);
    return;
  }
  const auto e = static_cast<std::int64_t>(element);
  for (std::int64_t i = 0; i < axes[d].size; ++i)
    plain_copy(axes, d + 1, element, from + i * axes[d].from * e, to + i * axes[d].to * e);
}

// The result's memory starts as zeros: what the copy does not name must stay.
void check(const Axes& axes, std::size_t element, std::int64_t from_base = 0, std::int64_t to_base = 0,
           std::size_t shift = 0) {
  std::int64_t source = from_base + 1, result = to_base + 1;
  for (const CopyAxis& a : axes) {
    if (a.from > 0) source += (a.size - 1) * a.from;
    result += (a.size - 1) * a.to;
  }
  const Bytes x = numbered(source, element);
  Bytes y(static_cast<std::size_t>(result) * element, 0), want = y;
  const Stream stream;
  const Placed dx(x, shift * element, stream), dy(y, shift * element, stream);
  cuda::strided_copy(plan_copy(axes, element, from_base, to_base), dx.data(), dy.data(), stream);
  plain_copy(axes, 0, element, x.data() + from_base * static_cast<std::int64_t>(element),
             want.data() + to_base * static_cast<std::int64_t>(element));
  std::string text;
  for (const CopyAxis& a : axes) text += cat("(", a.size, ", ", a.from, ", ", a.to, ") ");
  EXPECT_EQ(dy.bytes(stream), want) << text << "element " << element << " shift " << shift;
}

class Copy : public SimTest {};

constexpr std::size_t kElements[] = {1, 2, 4, 8};

TEST_F(Copy, PiecesOfEveryWidth) {
  for (const std::size_t element : kElements)
    for (const std::int64_t width : {1, 2, 3, 4, 8, 16, 37, 1024}) {
      check({{3, width + 5, width + 3}, {width, 1, 1}}, element);
      check({{3, 2 * width, 4 * width}, {2, 16 * width, 32 * width}, {width, 1, 1}}, element, width,
            3 * width);
      check({{4, 64, 16}, {16, 1, 1}}, element, 0, 0, 1);
    }
}

TEST_F(Copy, Transposed) {
  for (const std::size_t element : kElements) {
    for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{32, 32},
                                        {64, 128},
                                        {33, 65},
                                        {16, 200},
                                        {130, 18},
                                        {3, 70},
                                        {70, 3},
                                        {160, 132}}) {
      check({{columns, 1, rows}, {rows, columns, 1}}, element);
      check({{2, rows * columns, rows * columns}, {columns, 1, rows}, {rows, columns, 1}}, element, 0, 0, 1);
    }
    // Images to channels last and back, and pictures inside a larger row.
    check({{2, 20 * 36, 20 * 36}, {36, 1, 20}, {20, 36, 1}}, element);
    check({{3, 24 * 40, 24 * 40}, {24, 1, 40}, {40, 24, 1}}, element);
    check({{2, 2000, 3000}, {3, 500, 1000}, {24, 1, 40}, {32, 24, 1}}, element, 4, 8);
  }
}

TEST_F(Copy, RepeatedSkippedAndReversed) {
  for (const std::size_t element : kElements) {
    for (const std::int64_t n : {1, 5, 16, 48, 1000}) {
      check({{n, 0, 1}}, element);                     // one element everywhere
      check({{7, 0, n}, {n, 1, 1}}, element);          // a row repeated
      check({{n, 1, 7}, {7, 0, 1}}, element);          // a column repeated
      check({{3, 2 * n, n}, {n, 2, 1}}, element);      // every other element
      check({{3, n, n}, {n, -1, 1}}, element, n - 1);  // mirrored
      check({{3, n, 2 * n}, {n, 1, 2}}, element);      // spread
      check({{n, 0, 1}}, element, 0, 1, 1);            // off 16 bytes
    }
  }
}

TEST_F(Copy, EightAxesThatCannotBeJoined) {
  Axes axes;
  std::int64_t to = 1;
  for (int d = 0; d < 8; ++d) {
    const std::int64_t size = d % 2 == 0 ? 2 : 3;
    axes.push_back({size, 0, to});
    to *= size;
  }
  // The source runs through the axes in the opposite order.
  std::int64_t from = 1;
  for (std::size_t d = 8; d-- > 0;) {
    axes[d].from = from;
    from *= axes[d].size;
  }
  for (const std::size_t element : kElements) check(axes, element);
  axes.push_back({2, 4, 2 * to});
  EXPECT_THROW(plan_copy(axes, 4), UsageError);
}

TEST_F(Copy, AxesAreJoined) {
  EXPECT_TRUE(plan_copy({{2, 12, 12}, {3, 4, 4}, {4, 1, 1}}, 4).is_identity());
  EXPECT_TRUE(plan_copy({{4, 1, 1}, {2, 12, 12}, {3, 4, 4}, {1, 77, 0}}, 4).is_identity());
  EXPECT_TRUE(plan_copy({}, 2).is_identity());
  EXPECT_FALSE(plan_copy({{4, 1, 1}}, 4, 1).is_identity());
  EXPECT_FALSE(plan_copy({{2, 1, 3}, {3, 2, 1}}, 4).is_identity());
  EXPECT_EQ(plan_copy({{8, 48, 3}, {2, 24, 24}, {3, 8, 1}}, 4).axes.size(), 3u);
  EXPECT_EQ(plan_copy({{2, 24, 24}, {4, 3, 6}, {2, 12, 3}, {3, 1, 1}}, 4).axes.size(), 4u);
  EXPECT_EQ(plan_copy({{5, 0, 12}, {3, 4, 4}, {4, 1, 1}}, 4).axes.size(), 2u);
}

TEST_F(Copy, NothingToDoAndRefusals) {
  const Stream stream;
  cuda::strided_copy(plan_copy({{3, 0, 1}, {0, 1, 1}}, 4), nullptr, nullptr, stream);
  EXPECT_THROW(plan_copy({{4, 1, 1}}, 3), UsageError);
  EXPECT_THROW(plan_copy({{4, 1, 0}}, 4), UsageError);
  EXPECT_THROW(plan_copy({{4, 1, -1}}, 4), UsageError);
}

}  // namespace
}  // namespace ingot
