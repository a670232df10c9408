// Every OpCase (tests/support/op_case.h) on the simulated device, in f32, f16 and bf16: the op and each node
// of its gradient, by the lowering that the CUDA backend has, against the reference. Images also lie
// channels-last, together and one at a time. Results also take the memory of operands where the lowering
// allows it.
//
// A case that an op takes in no such format is skipped; one that no lowering serves is an error.
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/op/registry.h"
#include "cuda/ops/table.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/cuda_sim/kernel_names.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/typed_case.h"

namespace ingot::test {

namespace {

class Lowerings : public SimTest, public testing::WithParamInterface<CaseIn> {
 protected:
  void SetUp() override {
    Hasher seed;
    seed.add(std::string_view(GetParam().c.name));
    seed.add(static_cast<std::uint64_t>(GetParam().dtype));
    sim::reset({.seed = seed.value()});  // another order of threads for each case
  }
  void TearDown() override {
    ++seen().cases;
    for (std::string& k : sim::kernels_run()) seen().kernels.insert(std::move(k));
    SimTest::TearDown();
  }

  // |a - b| <= tolerance * (1 + |b|); NaN equals NaN.
  static bool close(double a, double b, double tolerance) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
    if (std::isinf(a) || std::isinf(b)) return a == b;
    return std::abs(a - b) <= tolerance * (1.0 + std::abs(b));
  }
  // A 16-bit result may be one unit in the last place off: the f32 values before the one rounding differ by a
  // little. The same rounding keeps infinities: what is just below the largest number may round up.
  static void expect_close(const Tensor& got, const Tensor& want, int result, double tolerance,
                           const Unspecified& unspecified, const std::string& what) {
    ASSERT_EQ(to_string(got.shape()), to_string(want.shape())) << what;
    ASSERT_EQ(got.dtype(), want.dtype()) << what;
    tolerance += 2 * rounding(want.dtype());
    int shown = 0;
    for (std::int64_t i = 0; i < want.numel() && shown < 4; ++i) {
      if (unspecified && unspecified(result, i)) continue;
      if (close(got.get(i), want.get(i), tolerance)) continue;
      ++shown;
      ADD_FAILURE() << what << ": result " << result << ", element " << i << " is " << got.get(i)
                    << ", expected " << want.get(i);
    }
  }

  // False when every candidate declines.
  static bool check(const Graph& g, NodeId id, const std::vector<Tensor>& operands,
                    const std::vector<Tensor>& want, double tolerance, double terms,
                    const Unspecified& unspecified) {
    const auto done = run_on_device(g, id, operands, unspecified);
    std::vector<std::string> types;
    for (const ValueId v : g.node(id).inputs) types.push_back(to_string(g.type(v)));
    const std::string what = cat(g.node(id).op, "(", join(types), ")");
    if (!done) return false;
    for (std::size_t k = 0; k < want.size(); ++k)
      expect_close(done->results[k], want[k], static_cast<int>(k),
                   k == 0 ? tolerance : tolerance + terms * rounding(want[0].dtype()), unspecified,
                   cat(what, " by ", done->kernel));
    return true;
  }

  // All nodes, each on what the reference made of those before it. Gives those that did not run.
  static std::set<std::string> check_all(const OpCase& c, const TypedCase& t) {
    std::set<std::string> skipped;
    std::map<ValueId, Tensor> values;
    const std::vector<ValueId> inputs = t.graph.inputs();
    for (std::size_t i = 0; i < inputs.size(); ++i) values[inputs[i]] = t.inputs[i];
    for (std::uint32_t n = 0; n < t.graph.nodes().size(); ++n) {
      const Node& node = t.graph.node({n});
      std::vector<Tensor> operands;
      for (const ValueId v : node.inputs) operands.push_back(values.at(v));
      const auto want = rounded_reference(t.graph, node, operands);
      for (std::size_t k = 0; k < want.size(); ++k) values[node.outputs[k]] = want[k];
      const bool own = n == 0;
      const double tolerance = own ? c.tolerance : std::max(c.tolerance, 1e-5);
      if (!check(t.graph, {n}, operands, want, tolerance, own ? c.rounded_terms : 0,
                 own ? c.unspecified : Unspecified{}))
        skipped.insert(node.op);
      if (own) check_layouts(c, t.graph, operands, want);
    }
    return skipped;
  }

  static void check_layouts(const OpCase& c, const Graph& plain, const std::vector<Tensor>& operands,
                            const std::vector<Tensor>& want) {
    for (const Graph& g : image_layouts(plain)) {
      std::vector<Tensor> placed;
      for (std::size_t i = 0; i < operands.size(); ++i)
        placed.push_back(operands[i].to(g.type(g.node({0}).inputs[i]).layout));
      check(g, {0}, placed, want, c.tolerance, c.rounded_terms, c.unspecified);
    }
  }
};

TEST_P(Lowerings, EqualTheReference) {
  const auto& [c, dtype] = GetParam();
  std::set<std::string> skipped;
  bool any = false;
  for (const bool mixed : {false, true}) {
    if (mixed && dtype == DType::F32) continue;
    const auto t = typed_case(c, dtype, mixed);
    if (!t) continue;
    any = true;
    skipped.merge(check_all(c, *t));
  }
  if (!any) GTEST_SKIP() << c.op << " takes no " << name(dtype);
  EXPECT_EQ(join(std::vector(skipped.begin(), skipped.end())), "") << "no lowering serves these ops here";
}

INSTANTIATE_TEST_SUITE_P(All, Lowerings, testing::ValuesIn(all_cases()), case_name);

// Runs behind all cases: the files of both suites come before this one, and its suite behind theirs.
class LoweringsCoverage : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (seen().cases < all_cases().size() || seen().programs < all_cases().size())
      GTEST_SKIP() << "not all cases were run";
  }
};

TEST_P(LoweringsCoverage, EveryOpHasALowering) {
  for (const OpDef* def : Registry::instance().all())
    EXPECT_NE(cuda::lowerings().find(def->name), nullptr) << def->name;
}

TEST_P(LoweringsCoverage, EveryKernelIsRunByACase) {
  if (sim_runs_ptx()) GTEST_SKIP() << "programs are not guarded there";
  for (const std::string& k : kernel_names(INGOT_SOURCE_DIR "/cuda/kernels"))
    EXPECT_TRUE(seen().kernels.contains(k))
        << k << " is run by no case; tests/ops/cases_large.cpp has a place for one";
}

INSTANTIATE_TEST_SUITE_P(All, LoweringsCoverage, testing::Values(0),
                         [](const testing::TestParamInfo<int>&) { return std::string("all"); });

}  // namespace
}  // namespace ingot::test
