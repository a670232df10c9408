// Conditional nodes on the simulated device: their bodies run when a kernel of the same launch said so, and
// what a GPU would answer with undefined behaviour is a finding.
#include "cuda/base/check.h"
#include "cuda/base/graph.h"
#include "cuda/kernels/check.h"
#include "cuda/kernels/guard.h"
#include "tests/cuda_sim/kernels.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::Condition;
using cuda::CudaError;
using cuda::DeviceBuffer;
using cuda::Graph;
using cuda::GraphExec;
using cuda::Stream;
using sim::Fault;
using sim::Policy;

class Conditions : public SimTest {
 protected:
  void SetUp() override {
    SimTest::SetUp();
    if (sim_runs_ptx()) GTEST_SKIP() << "the interpreter of PTX knows no conditional nodes";
  }

  static constexpr int kSize = 64;
  static constexpr std::size_t kBytes = kSize * sizeof(float);
  static constexpr std::uint64_t kBad = 5;

  static DeviceBuffer answer(std::uint64_t value, const Stream& stream) {
    return to_device(std::vector<std::uint64_t>{value}, stream);
  }
  static void set_answer(const DeviceBuffer& first, std::uint64_t value, const Stream& stream) {
    cuda::copy_to_device(first.data(), &value, sizeof value, stream);
  }
  static bool says(const std::string& text, const char* what) { return text.find(what) != std::string::npos; }
};

TEST_F(Conditions, TheBodyRunsWhereTheConditionHolds) {
  for (const Policy policy : {Policy::Demand, Policy::Random, Policy::Eager})
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      sim::reset({.seed = seed, .policy = policy});
      const Stream stream;
      const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream),
                         y = to_device(std::vector<float>(kSize, 0.0f), stream),
                         first = answer(cuda::kAllFinite, stream);
      std::unique_ptr<GraphExec> exec;
      {
        const Graph graph = cuda::capture_if(
            stream,
            [&](Condition go) {
              samples::add(x.as<float>(), x.as<float>(), kSize, stream);
              cuda::set_if_finite(go, first.as<std::uint64_t>(), stream);
            },
            [&] {
              samples::add(x.as<float>(), y.as<float>(), kSize, stream);
              cuda::copy_on_device(x.data(), y.data(), kBytes, stream);
            });
        EXPECT_EQ(graph.node_count(), 3u) << "two kernels and the conditional node";
        exec = std::make_unique<GraphExec>(graph);
      }                      // the executable needs no graph
      exec->launch(stream);  // x = 2, y = 2, x = 2
      exec->launch(stream);  // x = 4, y = 6, x = 6
      set_answer(first, kBad, stream);
      exec->launch(stream);  // x = 12
      EXPECT_EQ(to_host<float>(y, stream)[3], 6.0f);
      EXPECT_EQ(to_host<float>(x, stream)[3], 12.0f);
      set_answer(first, cuda::kAllFinite, stream);
      exec->launch(stream);  // x = 24, y = 30
      EXPECT_EQ(to_host<float>(y, stream)[kSize - 1], 30.0f);
      EXPECT_EQ(sim::counters().graph_launches, 4u);
    }
}

TEST_F(Conditions, ABodyMayBeEmpty) {
  const Stream stream;
  const DeviceBuffer first = answer(cuda::kAllFinite, stream);
  const Graph graph = cuda::capture_if(
      stream, [&](Condition go) { cuda::set_if_finite(go, first.as<std::uint64_t>(), stream); }, [] {});
  GraphExec(graph).launch(stream);
  stream.synchronize();
}

TEST_F(Conditions, WithoutAKernelThatSetsItTheDefaultCounts) {
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(kSize, 1.0f), stream);
  const Graph graph = cuda::capture_if(
      stream, [](Condition) {}, [&] { cuda::fill_bytes(x.data(), 0, kBytes, stream); });
  GraphExec(graph).launch(stream);
  EXPECT_EQ(to_host<float>(x, stream)[0], 1.0f) << "which is 0";
}

TEST_F(Conditions, AnErrorInTheBodyEndsTheCapture) {
  const Stream stream;
  const auto first = answer(cuda::kAllFinite, stream);
  const auto look = [&](Condition go) { cuda::set_if_finite(go, first.as<std::uint64_t>(), stream); };
  EXPECT_THROW((void)cuda::capture_if(stream, look, [] { throw UsageError("mine"); }), UsageError);
  EXPECT_FALSE(stream.capturing());
  EXPECT_THROW((void)cuda::capture_if(stream, look, [&] { stream.synchronize(); }), CudaError);
  EXPECT_FALSE(stream.capturing());
  stream.synchronize();
}

// A condition outlives its graph as a number, and a number can be used anywhere.
TEST_F(Conditions, AConditionOfAnotherGraph) {
  const Stream stream;
  const auto first = answer(cuda::kAllFinite, stream);
  const auto* const all_finite = first.as<std::uint64_t>();
  Condition kept{};
  const Graph graph = cuda::capture_if(
      stream,
      [&](Condition go) {
        kept = go;
        cuda::set_if_finite(go, all_finite, stream);
      },
      [] {});
  const Graph other = cuda::capture(stream, [&] { cuda::set_if_finite(kept, all_finite, stream); });
  GraphExec(other).launch(stream);
  stream.synchronize();
  EXPECT_TRUE(says(take(Fault::Condition), "a condition belongs to the graph it was created for"));
  cuda::set_if_finite(kept, all_finite, stream);
  stream.synchronize();
  EXPECT_TRUE(says(take(Fault::Condition), "a kernel of no graph sets a condition of graph #"));
}

// What cuda/base does not do, by hand.
TEST_F(Conditions, NodesThatCudaRefuses) {
  const Stream stream;
  const DeviceBuffer x(kBytes), y(kBytes);
  const Graph graph = cuda::capture(stream, [&] { cuda::fill_bytes(x.data(), 0, kBytes, stream); }),
              other = cuda::capture(stream, [&] { cuda::fill_bytes(x.data(), 1, kBytes, stream); });
  const auto add = [](cudaGraph_t to, Condition condition, cudaGraph_t* body) {
    cudaGraphNodeParams params{};
    params.type = cudaGraphNodeTypeConditional;
    params.conditional.handle = condition;
    params.conditional.type = cudaGraphCondTypeIf;
    params.conditional.size = 1;
    cudaGraphNode_t node = nullptr;
#if CUDART_VERSION >= 13000
    const cudaError_t status = cudaGraphAddNode(&node, to, nullptr, nullptr, 0, &params);
#else
    const cudaError_t status = cudaGraphAddNode(&node, to, nullptr, 0, &params);
#endif
    if (status == cudaSuccess) *body = params.conditional.phGraph_out[0];
    return status;
  };
  Condition mine{}, without_default{};
  INGOT_CUDA_CHECK(cudaGraphConditionalHandleCreate(&mine, graph.get(), 1, cudaGraphCondAssignDefault));
  INGOT_CUDA_CHECK(cudaGraphConditionalHandleCreate(&without_default, graph.get(), 1, 0));
  cudaGraph_t body = nullptr;
  EXPECT_EQ(add(other.get(), mine, &body), cudaErrorInvalidValue);
  EXPECT_TRUE(says(take(Fault::Condition), "was created for another graph"));
  EXPECT_EQ(add(graph.get(), 12345, &body), cudaErrorInvalidValue);
  EXPECT_TRUE(says(take(Fault::Condition), "does not exist"));
  EXPECT_EQ(add(graph.get(), mine, &body), cudaSuccess);
  cudaGraph_t second = nullptr;
  EXPECT_EQ(add(graph.get(), mine, &second), cudaErrorInvalidValue);
  EXPECT_TRUE(says(take(Fault::Condition), "has a node already"));

  // The body is the node's: it cannot be destroyed, and is recorded once.
  EXPECT_EQ(cudaGraphDestroy(body), cudaErrorInvalidResourceHandle);
  EXPECT_TRUE(says(take(Fault::BadHandle), "graph"));
  const auto record = [&] {
    return cudaStreamBeginCaptureToGraph(stream.get(), body, nullptr, nullptr, 0,
                                         cudaStreamCaptureModeThreadLocal);
  };
  const GraphExec early(graph);  // without what is recorded later
  ASSERT_EQ(record(), cudaSuccess);
  cuda::fill_bytes(y.data(), 2, kBytes, stream);
  cudaGraph_t recorded = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream.get(), &recorded), cudaSuccess);
  EXPECT_EQ(recorded, body);
  EXPECT_EQ(record(), cudaErrorInvalidValue);
  EXPECT_TRUE(says(take(Fault::Condition), "is recorded a second time"));

  // Without a kernel that sets it and without a default nobody knows what happens.
  cuda::fill_bytes(y.data(), 1, kBytes, stream);
  early.launch(stream);
  EXPECT_EQ(to_host<unsigned char>(y, stream)[0], 1);
  EXPECT_EQ(add(graph.get(), without_default, &second), cudaSuccess);
  GraphExec(graph).launch(stream);
  stream.synchronize();
  EXPECT_TRUE(says(take(Fault::Condition), "which has no default value"));
  EXPECT_EQ(to_host<unsigned char>(y, stream)[0], 2) << "the default 1 of the first";
  (void)cudaGetLastError();
}

TEST_F(Conditions, CopiesThatDependOnTheAnswer) {
  const Stream stream;
  for (const std::size_t bytes : {0, 1, 15, 16, 64, 4097, 10000}) {
    std::vector<unsigned char> from(bytes + 32, 7), to(bytes + 32, 1);
    const DeviceBuffer x = to_device(from, stream), y = to_device(to, stream), first = answer(kBad, stream);
    cuda::copy_if_finite(y.data(), x.data(), bytes, first.as<std::uint64_t>(), stream);
    EXPECT_EQ(to_host<unsigned char>(y, stream), to) << bytes;
    set_answer(first, cuda::kAllFinite, stream);
    cuda::copy_if_finite(y.data(), x.data(), bytes, first.as<std::uint64_t>(), stream);
    std::fill_n(to.begin(), bytes, static_cast<unsigned char>(7));
    EXPECT_EQ(to_host<unsigned char>(y, stream), to) << bytes;
    EXPECT_THROW(cuda::copy_if_finite(y.as<char>() + 1, x.data(), 16, nullptr, stream), UsageError);
  }
}

}  // namespace
}  // namespace ingot
