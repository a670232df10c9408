// Lowerings of reductions: every subset of axes, keepdim, NaN, sizes that need several threads.
#include <limits>

#include "core/ops/reduce.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

TEST(ReduceSteps, EverySubsetOfAxes) {
  const Tensor x = random_tensor({3, 5, 4, 7}, 1);
  for (std::int64_t mask = 0; mask < 16; ++mask) {
    ReduceAttrs at;
    for (std::int64_t d = 0; d < 4; ++d)
      if (mask >> d & 1) at.axes.push_back(d);
    at.keepdim = mask % 3 == 0;
    for (const char* name : {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min"})
      check_step(name, at, {x}, {.tolerance = 5e-6});
    check_step("reduce_var", ReduceVarAttrs{at.axes, at.keepdim, 1.0}, {x},
               {.tolerance = 1e-5, .own_kernel = false});
  }
}

TEST(ReduceSteps, LargeTensorsUseThreads) {
  const Tensor x = random_tensor({6, 16, 33, 35}, 1), wide = random_tensor({700, 130}, 2);
  for (const char* name : {"reduce_sum", "reduce_mean", "reduce_max"}) {
    check_step(name, ReduceAttrs{}, {x}, {.tolerance = 1e-5});
    check_step(name, ReduceAttrs{{0, 2, 3}}, {x}, {.tolerance = 1e-5});
    check_step(name, ReduceAttrs{{2, 3}}, {x}, {.tolerance = 1e-5});
    check_step(name, ReduceAttrs{{0}}, {wide}, {.tolerance = 1e-5});
    check_step(name, ReduceAttrs{{1}}, {wide}, {.tolerance = 1e-5});
  }
  check_step("reduce_var", ReduceVarAttrs{{1}, false, 0.0}, {wide}, {.tolerance = 1e-5});
}

TEST(ReduceSteps, NotANumberWins) {
  const Tensor x = random_tensor({40, 37}, 1);
  x.set(5 * 37 + 20, std::numeric_limits<double>::quiet_NaN());
  for (const char* name : {"reduce_max", "reduce_min", "reduce_sum"})
    for (const std::int64_t axis : {0, 1}) check_step(name, ReduceAttrs{{axis}}, {x}, {.tolerance = 1e-5});
  check_step("reduce_max", ReduceAttrs{}, {x});
  check_step("argmax", ArgmaxAttrs{1, false}, {x}, {.tolerance = 0.0});
}

TEST(ReduceSteps, ArgmaxTakesTheFirst) {
  check_step("argmax", ArgmaxAttrs{-1, true}, {random_tensor({100, 10}, 1)}, {.tolerance = 0.0});
  check_step("argmax", ArgmaxAttrs{1, false}, {Tensor::full({DType::F32, {4, 33}}, 2)}, {.tolerance = 0.0});
}

}  // namespace
}  // namespace ingot::test
