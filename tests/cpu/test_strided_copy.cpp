// The CPU's StridedCopy against moving element by element: every element size, sides that are and are not
// whole squares of a vector, so that squares, their rests and tiles meet.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "cpu/strided_copy.h"

namespace ingot::test {

namespace {

template <class T>
void expect_transposed(std::int64_t batch, std::int64_t rows, std::int64_t columns, int threads) {
  const std::int64_t n = batch * rows * columns;
  std::vector<T> from(static_cast<std::size_t>(n)), to(from.size() + 1, T{77}), want(to);
  std::iota(from.begin(), from.end(), T{1});
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        want[static_cast<std::size_t>((b * columns + j) * rows + i)] =
            from[static_cast<std::size_t>((b * rows + i) * columns + j)];
  const cpu::StridedCopy copy(
      {{batch, rows * columns, rows * columns}, {rows, columns, 1}, {columns, 1, rows}}, sizeof(T));
  copy.run(from.data(), to.data(), threads);
  EXPECT_EQ(to, want) << batch << " x " << rows << " x " << columns << " of " << sizeof(T) << " bytes";
}

template <class T>
class StridedCopyOf : public testing::Test {};
using Elements = testing::Types<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(StridedCopyOf, Elements);

}  // namespace

TYPED_TEST(StridedCopyOf, TransposesAnySides) {
  for (const std::int64_t rows : {2, 7, 8, 9, 16, 25, 33, 70})
    for (const std::int64_t columns : {2, 3, 8, 15, 16, 17, 32, 65})
      expect_transposed<TypeParam>(3, rows, columns, 1);
  expect_transposed<TypeParam>(40, 64, 31, 2);
}

// Every second element of the result: whole squares of a vector would write between them.
TYPED_TEST(StridedCopyOf, LeavesWhatLiesBetween) {
  const std::int64_t side = 24;
  std::vector<TypeParam> from(static_cast<std::size_t>(side * side)), to(2 * from.size(), TypeParam{99});
  std::iota(from.begin(), from.end(), TypeParam{0});
  const cpu::StridedCopy copy({{side, side, 2}, {side, 1, 2 * side}}, sizeof(TypeParam));
  copy.run(from.data(), to.data(), 1);
  for (std::int64_t i = 0; i < side; ++i)
    for (std::int64_t j = 0; j < side; ++j) {
      const auto at = static_cast<std::size_t>(2 * (j * side + i));
      ASSERT_EQ(to[at], from[static_cast<std::size_t>(i * side + j)]);
      ASSERT_EQ(to[at + 1], TypeParam{99});
    }
}

}  // namespace ingot::test
