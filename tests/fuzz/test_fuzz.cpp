// Random graphs through the whole pipeline, in f32, bf16 and f16: optimised against plain, planned against
// unplanned, forward, gradients and updates.
#include <algorithm>
#include <cmath>
#include <optional>
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

// Differences are measured against the size of the whole tensor, because sums over many elements may cancel,
// and a tensor counts as no smaller than `floor`.
double size_of_tensor(const Tensor& t, double floor) {
  double largest = floor;
  for (std::int64_t i = 0; i < t.numel(); ++i) largest = std::max(largest, std::abs(t.get(i)));
  return largest;
}

void expect_close(const NamedTensors& got, const NamedTensors& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, w] : want) {
    const Tensor& t = got.at(name);
    ASSERT_EQ(to_string(t.type()), to_string(w.type())) << name;
    const double allowed = tolerance * size_of_tensor(w, 1.0);
    for (std::int64_t i = 0; i < w.numel(); ++i)
      if (!(std::abs(t.get(i) - w.get(i)) <= allowed)) {
        ADD_FAILURE() << name << ", element " << i << ": " << t.get(i) << ", expected " << w.get(i);
        break;
      }
  }
}

// The largest difference of any two elements; infinite where one is no number.
double distance(const NamedTensors& got, const NamedTensors& want, double floor) {
  double largest = 0.0;
  for (const auto& [name, w] : want)
    for (std::int64_t i = 0; i < w.numel(); ++i) {
      const double d = std::abs(got.at(name).get(i) - w.get(i)) / size_of_tensor(w, floor);
      largest = d <= largest ? largest : std::isnan(d) ? HUGE_VAL : d;
    }
  return largest;
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

// Graphs in half precision. Optimised and plain round the same values to the type: a fused tape rounds where
// its nodes did, and what a kernel adds up inside is f32. So a value differs where f32 noise carries it over
// a boundary between two numbers of the type, which is one epsilon of its size. A path from a feed to an
// update has up to eight ops forward and as many backward; such steps go either way, so of sixteen that add
// up eight are plenty.
//
// Few graphs make much of a rounding: a division by a small deviation, a ReLU or a maximum near its kink,
// where a gradient goes another way and every tensor behind it with it. How much, is what the type costs the
// plain graph, its distance from the plain graph in f32, and that is allowed once more; few graphs may cost
// more than the eight epsilons, else the allowance would hide what it is compared with.
//
// All that holds for each graph where tensors count as 1 at least. Gradients are smaller, and some cancel to
// nothing but noise (of a bias in front of batch norm); against their own size, from 1/20 on, it holds for
// nearly all graphs, while a wrong rewrite would be seen in many.
class HalfPrecision {
 public:
  explicit HalfPrecision(DType half) : steps_(8.0 * (half == DType::F16 ? 0x1p-10 : 0x1p-7)) {}

  void compare(const NamedTensors& optimised, const NamedTensors& plain, const NamedTensors& f32) {
    const double cost = distance(plain, f32, 1.0);
    costly_ += cost > steps_;
    expect_close(optimised, plain, steps_ + cost);
    far_ += distance(optimised, plain, kFloor) > steps_ + distance(plain, f32, kFloor);
  }
  void expect_few(int graphs) const {
    EXPECT_LE(costly_, graphs / 20) << "graphs to which the type makes much of a difference";
    EXPECT_LE(far_, graphs / 20) << "graphs whose small tensors differ";
  }
  std::string text() const { return cat(", ", costly_, " costly, ", far_, " far"); }

 private:
  static constexpr double kFloor = 0.05;
  double steps_;
  int costly_ = 0, far_ = 0;
};

// The program with 2 % less memory than it would take, by computing results again; nothing where that is
// not to be had.
std::optional<NamedTensors> run_with_less(const RandomGraph& r, CompileOptions options) {
  const std::size_t bytes = compile(r.graph, options)->report().total_bytes;
  options.memory_budget = bytes - bytes / 50;
  try {
    EXPECT_LE(compile(r.graph, options)->report().total_bytes, options.memory_budget);
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("the budget is"), std::string::npos) << e.what();
    return std::nullopt;
  }
  const NamedTensors out = run(r, options);
  expect_same_bits(run(r, options, true), out, "overwriting memory that is free, within a budget,");
  return out;
}

class FuzzSlow : public testing::TestWithParam<std::tuple<DType, int>> {};

TEST_P(FuzzSlow, RandomGraphs) {
  const auto [dtype, chunk] = GetParam();
  HalfPrecision half(dtype);
  int with_less = 0;
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
      const NamedTensors plain = run_plain(r, options);
      if (dtype == DType::F32) {
        expect_close(optimised, plain, kF32Tolerance);
        if (const auto less = run_with_less(r, options)) {
          expect_close(*less, optimised, kF32Tolerance);
          ++with_less;
        }
      } else
        half.compare(optimised, plain, run_plain(random_graph(seed), options));
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
    if (HasFailure()) {
      std::printf("seed %llu\n%s", static_cast<unsigned long long>(seed), print_graph(r.graph).c_str());
      return;
    }
  }
  half.expect_few(kPerChunk);
  if (dtype == DType::F32) {
    EXPECT_GE(with_less, kPerChunk / 20) << "graphs that ran in 2 % less memory";
  }
  std::printf(
      "seeds %d to %d in %s%s\n", chunk * kPerChunk, (chunk + 1) * kPerChunk - 1,
      std::string(name(dtype)).c_str(),
      dtype == DType::F32 ? cat(", ", with_less, " also in 2 % less memory").c_str() : half.text().c_str());
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

// Graphs have independent nodes that are alike, so that joined ones are among what is compared.
TEST(Fuzz, JoinedNodesAreAmongThem) {
  for (const DType dtype : {DType::F32, DType::BF16, DType::F16}) {
    int joined = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      const ProgramPtr p = compile(random_graph(seed, dtype).graph, {.target = Target::cpu(1)});
      joined += std::any_of(p->graph().nodes().begin(), p->graph().nodes().end(),
                            [](const Node& n) { return n.op == "fused_many"; });
    }
    EXPECT_GT(joined, dtype == DType::F32 ? 5 : 20) << name(dtype);
  }
}

}  // namespace
}  // namespace ingot::test
