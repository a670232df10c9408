// Random graphs through the whole pipeline: optimised against plain, planned against unplanned.
#include <algorithm>
#include <cmath>

#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/random_graph.h"

namespace ingot::test {
namespace {

constexpr int kChunks = 20, kPerChunk = 100;  // 2,000 graphs
constexpr int kSteps = 2;                     // the second one reads updated states

// Outputs and states after some steps.
NamedTensors run(const RandomGraph& r, const CompileOptions& options, bool poison = false) {
  SessionOptions session;
  session.seed = 5;
  session.poison = poison;
  Session s(compile(r.graph, options), session);
  for (const auto& [name, t] : r.feeds) s.input(name).copy_from(t);
  for (int i = 0; i < kSteps; ++i) s.run();
  NamedTensors out;
  for (const Output& o : r.graph.outputs()) out["output " + o.name] = s.output(o.name).contiguous().clone();
  for (const State& st : r.graph.states()) out["state " + st.name] = s.state(st.name);
  return out;
}

// Against the size of the whole tensor: sums over many elements may cancel.
void expect_close(const NamedTensors& got, const NamedTensors& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, w] : want) {
    const Tensor& t = got.at(name);
    ASSERT_EQ(to_string(t.type()), to_string(w.type())) << name;
    double largest = 1.0;
    for (std::int64_t i = 0; i < w.numel(); ++i) largest = std::max(largest, std::abs(w.get(i)));
    for (std::int64_t i = 0; i < w.numel(); ++i)
      if (!(std::abs(t.get(i) - w.get(i)) <= tolerance * largest)) {
        ADD_FAILURE() << name << ", element " << i << ": " << t.get(i) << ", expected " << w.get(i);
        break;
      }
  }
}

void expect_same_bits(const NamedTensors& got, const NamedTensors& want, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, w] : want)
    EXPECT_TRUE(bitwise_equal(got.at(name), w)) << what << " changed " << name;
}

class FuzzSlow : public testing::TestWithParam<int> {};

TEST_P(FuzzSlow, RandomGraphs) {
  for (int k = 0; k < kPerChunk; ++k) {
    const auto seed = static_cast<std::uint64_t>(GetParam() * kPerChunk + k);
    SCOPED_TRACE(cat("seed ", seed));
    RandomGraph r;
    try {
      r = random_graph(seed);
      verify(r.graph);
      EXPECT_TRUE(parse_graph(print_graph(r.graph)) == r.graph);
      CompileOptions options;
      options.target = Target::cpu(1 + static_cast<int>(seed % 2));
      const NamedTensors optimised = run(r, options);
      expect_same_bits(run(r, options, true), optimised, "overwriting memory that is free");
      CompileOptions unplanned = options;
      unplanned.share_memory = false;
      unplanned.in_place = false;
      expect_same_bits(run(r, unplanned), optimised, "sharing memory");
      CompileOptions plain = options;
      plain.optimise = false;
      expect_close(optimised, run(r, plain), 1e-3);
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
    if (HasFailure()) {
      std::printf("seed %llu\n%s", static_cast<unsigned long long>(seed), print_graph(r.graph).c_str());
      return;
    }
  }
  std::printf("seeds %d to %d\n", GetParam() * kPerChunk, (GetParam() + 1) * kPerChunk - 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FuzzSlow, testing::Range(0, kChunks));

}  // namespace
}  // namespace ingot::test
