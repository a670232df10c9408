// Functions made of several ops, with their gradients, as programs of the CUDA backend on the simulated
// device, in f32 and in mixed precision, against the reference node by node.
#include <algorithm>
#include <cmath>

#include "core/base/hash.h"
#include "core/runtime/session.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/composed_case.h"

namespace ingot::test {
namespace {

class ComposedPrograms : public SimTest, public testing::WithParamInterface<ComposedIn> {
 protected:
  void SetUp() override {
    Hasher seed;
    seed.add(std::string_view(GetParam().c.name));
    sim::reset({.seed = seed.value(), .policy = sim::Policy::Random});
  }
};

TEST_P(ComposedPrograms, EqualTheReference) {
  const auto& [c, compute] = GetParam();
  const TypedCase t = composed_program(c, compute);
  Session s(compile(t.graph, {.target = Target::cuda(0)}));
  const std::vector<ValueId> inputs = t.graph.inputs();
  const auto want = rounded_outputs(t);
  for (int run = 1; run <= 2; ++run) {  // issued step by step, then captured
    for (std::size_t i = 0; i < inputs.size(); ++i)
      s.input(t.graph.value(inputs[i]).name).copy_from(t.inputs[i]);
    s.run();
    for (const auto& [name, expected] : want) {
      const Tensor got = s.output(name);
      double size = 1.0;
      for (std::int64_t i = 0; i < expected.numel(); ++i) size = std::max(size, std::abs(expected.get(i)));
      for (std::int64_t i = 0; i < expected.numel(); ++i)
        ASSERT_NEAR(got.get(i), expected.get(i), (4e-5 + 16 * rounding(compute)) * size)
            << name << ", run " << run << ", element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, ComposedPrograms, testing::ValuesIn(all_composed()), composed_name);

}  // namespace
}  // namespace ingot::test
