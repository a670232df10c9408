// Random graphs through the whole pipeline, in f32, bf16 and f16: optimised against plain, planned against
// unplanned, forward, gradients and updates.
#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>

#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/random_graph.h"

namespace ingot::test {
namespace {

constexpr int kChunks = 20, kPerChunk = 100;  // 2,000 graphs
constexpr int kSteps = 2;                     // the second one reads updated states
// Sums of f32 in another order, over a chain of ops that are smooth or never near their kinks.
constexpr double kF32Tolerance = 1e-3;
// Optimised and plain round the same values to the half type: a fused tape rounds where its nodes did, and
// what a kernel adds up inside is f32. So a value differs where f32 noise carries it over a boundary between
// two numbers of the type, which is one epsilon of its size. A path from a feed to an update has up to eight
// ops forward and as many backward; such steps go either way, so of sixteen that add up eight are plenty.
constexpr double kHalfSteps = 8.0;

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

double largest_of(const Tensor& t) {
  double largest = 0.0;
  for (std::int64_t i = 0; i < t.numel(); ++i) largest = std::max(largest, std::abs(t.get(i)));
  return largest;
}

double distance(const Tensor& a, const Tensor& b) {
  double largest = 0.0;
  for (std::int64_t i = 0; i < a.numel(); ++i) largest = std::max(largest, std::abs(a.get(i) - b.get(i)));
  return largest;
}

// Against the size of the whole tensor: sums over many elements may cancel. `more` of a tensor's name is
// allowed on top.
void expect_close(const NamedTensors& got, const NamedTensors& want, double tolerance,
                  const std::function<double(const std::string&)>& more = {}) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, w] : want) {
    const Tensor& t = got.at(name);
    ASSERT_EQ(to_string(t.type()), to_string(w.type())) << name;
    const double allowed = tolerance * std::max(1.0, largest_of(w)) + (more ? more(name) : 0.0);
    for (std::int64_t i = 0; i < w.numel(); ++i)
      if (!(std::abs(t.get(i) - w.get(i)) <= allowed)) {
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

NamedTensors run_plain(const RandomGraph& r, CompileOptions options) {
  options.optimise = false;
  return run(r, options);
}

// Some graphs turn roundings of a half type into much more: a division by a small deviation, or a maximum
// whose two greatest are as good as equal, so that the gradient goes another way. How much, is what the type
// costs the plain graph itself, its distance from the same graph in f32, and that is allowed once more.
void expect_close_in_half(const NamedTensors& optimised, const NamedTensors& plain,
                          const NamedTensors& plain_f32, DType half) {
  const double epsilon = half == DType::F16 ? 0x1p-10 : 0x1p-7;
  expect_close(optimised, plain, kHalfSteps * epsilon,
               [&](const std::string& name) { return distance(plain.at(name), plain_f32.at(name)); });
}

class FuzzSlow : public testing::TestWithParam<std::tuple<DType, int>> {};

TEST_P(FuzzSlow, RandomGraphs) {
  const auto [dtype, chunk] = GetParam();
  for (int k = 0; k < kPerChunk; ++k) {
    const auto seed = static_cast<std::uint64_t>(chunk * kPerChunk + k);
    SCOPED_TRACE(cat("seed ", seed));
    RandomGraph r;
    try {
      r = random_graph(seed, dtype);
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
      if (dtype == DType::F32)
        expect_close(optimised, run_plain(r, options), kF32Tolerance);
      else
        expect_close_in_half(optimised, run_plain(r, options), run_plain(random_graph(seed), options), dtype);
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
    if (HasFailure()) {
      std::printf("seed %llu\n%s", static_cast<unsigned long long>(seed), print_graph(r.graph).c_str());
      return;
    }
  }
  std::printf("seeds %d to %d in %s\n", chunk * kPerChunk, (chunk + 1) * kPerChunk - 1,
              std::string(name(dtype)).c_str());
}

INSTANTIATE_TEST_SUITE_P(Seeds, FuzzSlow,
                         testing::Combine(testing::Values(DType::F32, DType::BF16, DType::F16),
                                          testing::Range(0, kChunks)),
                         [](const auto& p) {
                           return cat(name(std::get<0>(p.param)), "_", std::get<1>(p.param));
                         });

// In half precision it is half precision that runs: most graphs have products or convolutions, and these give
// other numbers than f32.
TEST(Fuzz, HalfTypesRunInHalf) {
  for (const DType half : {DType::BF16, DType::F16}) {
    int in_half = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      const Graph g = random_graph(seed, half).graph;
      int nodes = 0, gradients = 0;
      for (const Node& n : g.nodes())
        for (const ValueId v : n.outputs)
          if (g.type(v).dtype == half) ++(n.name.starts_with("grad/") ? gradients : nodes);
      in_half += nodes > 1 && gradients > 1;
    }
    EXPECT_GT(in_half, 50) << name(half);
  }
}

}  // namespace
}  // namespace ingot::test
