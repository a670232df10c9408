// Walks: collapsed dimensions and strides of broadcast operands in every layout.
#include "core/ir/walk.h"

#include <vector>

#include "gtest/gtest.h"

namespace ingot {
namespace {

using Strides = std::vector<std::vector<std::int64_t>>;

Walk walk(const std::vector<TensorType>& inputs, const TensorType& out) {
  EXPECT_TRUE(elementwise_accepts(inputs, {&out, 1}));
  return elementwise_walk(inputs, out);
}
TensorType f32(const Shape& s, const Layout& l = {}) {
  return {DType::F32, s, l};
}

TEST(Walk, ContiguousOperandsAndSingleValuesCollapse) {
  const Walk w = walk({f32({2, 3, 4}), f32({})}, f32({2, 3, 4}));
  EXPECT_EQ(w.dims, (std::vector<std::int64_t>{24}));
  EXPECT_EQ(w.strides, (Strides{{1}, {0}}));
  EXPECT_EQ(walk({f32({1, 1})}, f32({1, 1})).strides, (Strides{{0}}));
  EXPECT_EQ(walk({f32({1, 1})}, f32({1, 1})).dims, (std::vector<std::int64_t>{1}));
  EXPECT_EQ(walk({}, f32({2, 3})).dims, (std::vector<std::int64_t>{6}));
}

TEST(Walk, DimensionsStayApartWhereAnOperandNeedsThem) {
  const Walk w = walk({f32({2, 3, 4, 5}), f32({3, 1, 1}), f32({4, 5})}, f32({2, 3, 4, 5}));
  EXPECT_EQ(w.dims, (std::vector<std::int64_t>{2, 3, 20}));
  EXPECT_EQ(w.strides, (Strides{{60, 20, 1}, {0, 1, 0}, {0, 0, 1}}));
}

TEST(Walk, TheOutputsLayoutGivesTheOrder) {
  const Layout nhwc = Layout::channels_last(4);
  const Walk w = walk({f32({2, 8, 3, 5}, nhwc), f32({8, 1, 1}), f32({2, 8, 3, 5})}, f32({2, 8, 3, 5}, nhwc));
  EXPECT_EQ(w.dims, (std::vector<std::int64_t>{2, 15, 8}));
  EXPECT_EQ(w.strides, (Strides{{120, 8, 1}, {0, 0, 1}, {120, 1, 15}}));
}

TEST(Walk, BlockedLayoutsOnlyAmongThemselves) {
  Layout blocked;
  blocked.rank = 2;
  blocked.order = {0, 1};
  blocked.num_blocks = 1;
  blocked.blocks[0] = {1, 16};
  const Walk w = walk({f32({2, 32}, blocked), f32({})}, f32({2, 32}, blocked));
  EXPECT_EQ(w.dims, (std::vector<std::int64_t>{64}));
  EXPECT_EQ(w.strides, (Strides{{1}, {0}}));
  const auto accepts = [](const TensorType& in, const TensorType& out) {
    return elementwise_accepts({&in, 1}, {&out, 1});
  };
  EXPECT_FALSE(accepts(f32({2, 32}), f32({2, 32}, blocked)));
  EXPECT_FALSE(accepts(f32({2, 20}, blocked), f32({2, 20}, blocked)));  // padded
  EXPECT_FALSE(accepts(f32({3}), f32({2})));
  EXPECT_FALSE(elementwise_accepts({}, {}));
}

}  // namespace
}  // namespace ingot
