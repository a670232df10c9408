// Tensors that were never given memory, and types that no machine could hold.
#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "core/op/builder.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

TEST(Tensor, WithoutMemoryItSaysSo) {
  const Tensor none, lost(TensorType{DType::F32, {3}}, nullptr, nullptr);
  const Tensor some = Tensor::zeros(none.type());
  EXPECT_THROW(static_cast<void>(none.item()), UsageError);
  EXPECT_THROW(none.set(0, 1.0), UsageError);
  EXPECT_THROW(none.clone(), UsageError);
  EXPECT_THROW(none.to(DType::F64), UsageError);
  EXPECT_THROW(some.copy_from(none), UsageError);
  EXPECT_THROW(none.copy_from(some), UsageError);
  EXPECT_THROW(static_cast<void>(lost.get(2)), UsageError);
}

TEST(Tensor, NothingToHoldNeedsNoMemory) {
  const Tensor empty(TensorType{DType::F32, {0, 3}}, nullptr, nullptr);
  EXPECT_EQ(empty.clone().numel(), 0);
}

// Sums of bytes must not overflow, nor may a type of 2^64 bytes pass for an empty one.
TEST(GraphTypes, MoreThanAnyMachineHoldsIsRefused) {
  Graph g;
  try {
    input(g, "x", {DType::F64, {std::int64_t{1} << 61}});
    FAIL() << "expected an error";
  } catch (const ShapeError& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("2^50 bytes"), std::string::npos) << what;
    EXPECT_NE(what.find("test_tensor.cpp"), std::string::npos) << what;
  }
  EXPECT_NO_THROW(input(g, "y", {DType::F64, {std::int64_t{1} << 47}}));
}

}  // namespace
}  // namespace ingot
