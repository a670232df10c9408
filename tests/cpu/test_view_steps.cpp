// Lowerings of ops that move elements.
#include "core/ops/view.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

const StepCheck kExact{.tolerance = 0.0, .own_kernel = true, .unspecified = {}};

TEST(ViewSteps, Reshape) {
  check_step("reshape", ReshapeAttrs{{6, 35}}, {random_tensor({2, 3, 5, 7}, 1)}, kExact);
  check_step("reshape", ReshapeAttrs{{4, 9}}, {random_tensor({4, 9, 1, 1}, 1)}, kExact);
}

TEST(ViewSteps, Transpose) {
  for (const DType d : {DType::F32, DType::F64, DType::BF16, DType::U8}) {
    check_step("transpose", TransposeAttrs{{1, 0}}, {random_tensor({131, 257}, 1, 0, 9, d)}, kExact);
    check_step("transpose", TransposeAttrs{{0, 2, 3, 1}}, {random_tensor({2, 5, 9, 7}, 1, 0, 9, d)}, kExact);
  }
  check_step("transpose", TransposeAttrs{{3, 1, 0, 2}}, {random_tensor({4, 40, 41, 6}, 1)}, kExact);
  check_step("transpose", TransposeAttrs{{0, 1}}, {random_tensor({4, 5}, 1)}, kExact);
}

TEST(ViewSteps, SliceAndItsGradient) {
  check_step("slice", SliceAttrs{{1, 0, 4, 0}, {3, 5, -1, 7}, {1, 2, -2, 1}},
             {random_tensor({4, 5, 6, 7}, 1)}, kExact);
  check_step("slice", SliceAttrs{{10}, {90000}, {1}}, {random_tensor({100000}, 1)}, kExact);
  check_step("slice_grad", SliceGradAttrs{{1, 0, 4, 0}, {3, 5, -1, 7}, {1, 2, -2, 1}, {4, 5, 6, 7}},
             {random_tensor({2, 3, 3, 7}, 1)}, kExact);
}

TEST(ViewSteps, ConcatPadBroadcast) {
  check_step(
      "concat", ConcatAttrs{1},
      {random_tensor({3, 8, 9, 11}, 1), random_tensor({3, 5, 9, 11}, 2), random_tensor({3, 64, 9, 11}, 3)},
      kExact);
  check_step("concat", ConcatAttrs{0}, {random_tensor({3, 7}, 1), random_tensor({30, 7}, 2)}, kExact);
  check_step("pad", PadAttrs{{0, 1, 2, 1}, {1, 0, 3, 1}, 0.5}, {random_tensor({3, 4, 30, 31}, 1)}, kExact);
  check_step("pad", PadAttrs{{1}, {0}, 7}, {random_tensor({5}, 1, 0, 9, DType::I64)}, kExact);
  check_step("broadcast_to", BroadcastToAttrs{{4, 5, 60, 70}}, {random_tensor({5, 1, 70}, 1)}, kExact);
  check_step("broadcast_to", BroadcastToAttrs{{3, 4}}, {random_tensor({}, 1)}, kExact);
}

}  // namespace
}  // namespace ingot::test
