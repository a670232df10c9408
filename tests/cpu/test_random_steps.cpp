// Lowerings of random ops: the reference's draws, whatever the level and the number of threads.
#include "core/ops/random.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

Tensor state(std::int64_t seed, std::int64_t offset) {
  Tensor t = Tensor::zeros({DType::I64, {2}});
  t.data<std::int64_t>()[0] = seed;
  t.data<std::int64_t>()[1] = offset;
  return t;
}

TEST(RandomSteps, UniformHasTheBitsOfTheReference) {
  for (const std::int64_t n : {1, 5, 1024, 40001})
    check_step("uniform", UniformAttrs{{n}, -0.3, 1.7, 3, DType::F32}, {state(-77, 12)}, {.tolerance = 0.0});
}

TEST(RandomSteps, Normal) {
  for (const std::int64_t n : {1, 7, 2049, 20000})
    check_step("normal", NormalAttrs{{n}, 1.0, 2.0, 5, DType::F32}, {state(9, 1)}, {.tolerance = 0.0});
}

TEST(RandomSteps, DropoutAndItsGradient) {
  for (const double p : {0.0, 0.3, 1.0}) {
    const Tensor x = random_tensor({7, 33, 61}, 1);
    check_step("dropout", DropoutAttrs{p, 2}, {x, state(std::int64_t{1} << 40, 3)});
    check_step("dropout_grad", DropoutGradAttrs{p}, {x, random_tensor({7, 33, 61}, 2, -1, 1, DType::Bool)});
  }
}

}  // namespace
}  // namespace ingot::test
