// Every OpCase with its gradient as a program of the CUDA backend on the simulated device, in f32, f16 and
// bf16: through the passes, the memory plan, capture and replay, against the reference node by node.
//
// What fusion joins is rounded once, not at each node, so 16-bit results may be several units in the last
// place from those of the reference; single nodes are held to one unit by test_lowerings.cpp.
#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/runtime/session.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/typed_case.h"

namespace ingot::test {
namespace {

constexpr double kRoundings = 16;  // half units of 1 + |value|, over a chain of 16-bit nodes

class CasePrograms : public SimTest, public testing::WithParamInterface<CaseIn> {
 protected:
  void SetUp() override {
    Hasher seed;
    seed.add(std::string_view(GetParam().c.name));
    sim::reset({.seed = seed.value(), .policy = sim::Policy::Random});
  }
  void TearDown() override {
    ++seen().programs;
    for (std::string& k : sim::kernels_run()) seen().kernels.insert(std::move(k));
    SimTest::TearDown();
  }

  static bool all_finite(const Tensor& t) {
    bool finite = true;
    for (std::int64_t i = 0; i < t.numel(); ++i) finite = finite && std::isfinite(t.get(i));
    return finite;
  }

  static void expect_outputs(Session& s, const OpCase& c, DType dtype,
                             const std::map<std::string, Tensor>& want, int run) {
    const double tolerance =
        4 * std::max(c.tolerance, 1e-5) + std::max<double>(kRoundings, c.rounded_terms) * rounding(dtype);
    for (const auto& [name, expected] : want) {
      const Tensor got = s.output(name);
      ASSERT_EQ(got.shape(), expected.shape()) << name;
      ASSERT_EQ(got.dtype(), expected.dtype()) << name;
      const bool own = name[0] == 'y';
      int shown = 0;
      for (std::int64_t i = 0; i < expected.numel() && shown < 3; ++i) {
        if (own && c.unspecified && c.unspecified(std::stoi(name.substr(1)), i)) continue;
        const double a = got.get(i), b = expected.get(i);
        if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
        if (std::abs(a - b) <= tolerance * (1.0 + std::abs(b))) continue;
        ++shown;
        ADD_FAILURE() << name << ", run " << run << ", element " << i << " is " << a << ", expected " << b;
      }
    }
  }
};

TEST_P(CasePrograms, EqualTheReference) {
  const auto& [c, dtype] = GetParam();
  const auto t = typed_case(c, dtype, false);
  if (!t) GTEST_SKIP() << c.op << " takes no " << name(dtype);
  const ProgramPtr program = compile(t->graph, {.target = Target::cuda(0)});
  const auto want = rounded_outputs(*t);
  // Guarded where there is nothing to find, for the guard's kernels. PTX cannot be: its interpreter does not
  // know how to set a condition.
  const auto& [guarded, content] = *want.begin();
  const bool clean = !sim_runs_ptx() && is_floating(content.dtype()) && all_finite(content) &&
                     std::all_of(t->inputs.begin(), t->inputs.end(), all_finite);
  Session s(program, {.guard = clean ? guarded : ""});
  const std::vector<ValueId> inputs = t->graph.inputs();
  // Issued step by step, then captured, then replayed.
  for (int run = 1; run <= 3; ++run) {
    for (std::size_t i = 0; i < inputs.size(); ++i)
      s.input(t->graph.value(inputs[i]).name).copy_from(t->inputs[i]);
    s.run();
    if (run != 2) expect_outputs(s, c, dtype, want, run);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CasePrograms, testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace ingot::test
