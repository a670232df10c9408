// Steps of generated kernels: what binding decides, when kernels are compiled, and what goes wrong.
#include <algorithm>
#include <atomic>
#include <thread>

#include "core/op/builder.h"
#include "core/ops/elementwise.h"
#include "cuda/base/graph.h"
#include "cuda/jit/tape_text.h"
#include "cuda/ops/generated_kernel.h"
#include "cuda/ops/table.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/cuda_sim/gxx_compiler.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::Stream;

// Counts how many threads compile at once, and refuses texts that hold `refused`.
class WatchedCompiler final : public cuda::KernelCompiler {
 public:
  std::string compile(const cuda::KernelSource& kernel, int arch) override {
    arch_ = arch;
    ++calls_;
    const int now = ++running_;
    int most = most_;
    while (now > most && !most_.compare_exchange_weak(most, now)) {
    }
    struct Leave {
      std::atomic<int>& running;
      ~Leave() { --running; }
    } leave{running_};
    if (!refused_.empty() && kernel.text.find(refused_) != std::string::npos)
      throw Error(cat("refused on purpose: ", kernel.name));
    return gxx_.compile(kernel, arch);
  }
  std::atomic<int> calls_ = 0, running_ = 0, most_ = 0, arch_ = 0;
  std::string refused_;

 private:
  sim::GxxCompiler gxx_{kChecksAccesses};
};

class ElementwiseSteps : public SimTest {
 protected:
  void SetUp() override {
    SimTest::SetUp();
    cuda::compile_generated_kernels();  // what tests before this one asked for and never launched
    auto watched = std::make_unique<WatchedCompiler>();
    compiler_ = watched.get();
    cuda::use_kernel_compiler(std::move(watched));
  }
  void TearDown() override {
    cuda::use_kernel_compiler(std::make_unique<sim::GxxCompiler>(kChecksAccesses));
    SimTest::TearDown();
  }

  static std::unique_ptr<Step> lower(const Graph& g, std::uint32_t node = 0) {
    const Target target = cuda_target();
    return first_step(cuda::lowerings(), {g, g.node(NodeId{node}), target});
  }
  static std::unique_ptr<BoundStep> bind(const Step& step, std::vector<void*> in, std::vector<void*> out,
                                         const Stream& stream) {
    return step.bind({in, out, nullptr, const_cast<Stream*>(&stream)});
  }

  WatchedCompiler* compiler_ = nullptr;
};

// y = x + v, with a v and a length that make the text this test's own.
Graph add_constant(std::int64_t n, double v) {
  Graph g;
  ScalarExpr e({DType::F32});
  e.add_output(e.emit(ScalarOp::Add, {0, e.emit_const(v, DType::F32)}));
  fused(std::vector<Value>{input(g, "x", {DType::F32, {n}})}, e);
  return g;
}

TEST_F(ElementwiseSteps, AllThatWaitAreCompiledAtTheFirstLaunch) {
  constexpr int kKernels = 6;
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(100, 2.0f), stream), y(400);
  const auto before = cuda::generated_kernel_stats();
  std::vector<std::unique_ptr<BoundStep>> steps;
  for (int i = 0; i < kKernels; ++i)
    steps.push_back(bind(*lower(add_constant(100, 1000.0 + i)), {x.data()}, {y.data()}, stream));
  // The same text again, lowered and bound anew.
  steps.push_back(bind(*lower(add_constant(100, 1000.0)), {x.data()}, {y.data()}, stream));
  EXPECT_EQ(compiler_->calls_, 0) << "binding compiles nothing";
  for (int i = 0; i < kKernels; ++i) {
    steps[static_cast<std::size_t>(i)]->run();
    EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(100, 1002.0f + static_cast<float>(i)));
    EXPECT_EQ(compiler_->calls_, kKernels);
  }
  steps.back()->run();
  EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(100, 1002.0f));
  EXPECT_EQ(compiler_->calls_, kKernels);
  EXPECT_EQ(compiler_->arch_, 90);
  if (std::thread::hardware_concurrency() > 1) {
    EXPECT_GT(compiler_->most_, 1) << "several at once";
  }
  const auto after = cuda::generated_kernel_stats();
  EXPECT_EQ(after.asked - before.asked, kKernels + 1);
  EXPECT_EQ(after.compiled - before.compiled, kKernels);
  EXPECT_EQ(after.loaded - before.loaded, kKernels);
}

TEST_F(ElementwiseSteps, ATextThatIsRefusedIsTheErrorOfItsStepAlone) {
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(101, 2.0f), stream), y(404);
  compiler_->refused_ = cuda::literal(77.0, DType::F32);
  const auto bad = bind(*lower(add_constant(101, 77.0)), {x.data()}, {y.data()}, stream);
  const auto good = bind(*lower(add_constant(101, 78.0)), {x.data()}, {y.data()}, stream);
  good->run();
  EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(101, 80.0f));
  EXPECT_EQ(compiler_->calls_, 2);
  cuda::compile_generated_kernels();
  EXPECT_EQ(compiler_->calls_, 2) << "what was refused is tried again by its own launch only";
  for (int i = 0; i < 2; ++i)
    EXPECT_TRUE(says(message_of<Error>([&] { bad->run(); }), "refused on purpose", "ew_add"));
  compiler_->refused_.clear();
  bad->run();
  EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(101, 79.0f));
}

TEST_F(ElementwiseSteps, AModuleThatCannotBeLoadedIsTriedAgain) {
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(102, 2.0f), stream), y(408);
  const auto step = bind(*lower(add_constant(102, 5.0)), {x.data()}, {y.data()}, stream);
  sim::fail_call("cudaLibraryLoadData", 1, cudaErrorMemoryAllocation);
  EXPECT_TRUE(says(message_of<DeviceError>([&] { step->run(); }), "ew_add", "cudaErrorMemoryAllocation"));
  step->run();
  EXPECT_EQ(to_host<float>(y, stream), std::vector<float>(102, 7.0f));
  EXPECT_EQ(compiler_->calls_, 1);
}

TEST_F(ElementwiseSteps, AddressesDecideHowWideAccessesAre) {
  const Stream stream;
  const auto step = lower(add_constant(103, 6.0));
  for (const std::size_t shift : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
    std::vector<float> values = sequence(103 + shift);
    const DeviceBuffer x = to_device(values, stream), y((103 + shift) * 4);
    const auto bound = bind(*step, {x.as<float>() + shift}, {y.as<float>() + shift}, stream);
    bound->run();
    const auto got = to_host<float>(y, stream);
    for (std::size_t i = 0; i < 103; ++i) ASSERT_EQ(got[shift + i], values[shift + i] + 6.0f) << shift;
  }
  EXPECT_EQ(compiler_->calls_, 3) << "for addresses aligned to 16, 4 and 8 bytes";
}

TEST_F(ElementwiseSteps, PairsThatMayShareMemory) {
  Graph g;
  const Value a = input(g, "a", {DType::F32, {5, 7}}), b = input(g, "b", {DType::F32, {7}}),
              c = input(g, "c", {DType::BF16, {5, 7}});
  add(a, b);            // a lies as the result does, b does not
  cast(c, DType::F32);  // another size of element
  using Pairs = std::vector<std::array<int, 2>>;
  EXPECT_EQ(lower(g, 0)->in_place, (Pairs{{0, 0}}));
  EXPECT_EQ(lower(g, 1)->in_place, Pairs{});

  const Stream stream;
  const std::vector<float> x = sequence(35), bias = sequence(7, 3);
  const DeviceBuffer memory = to_device(x, stream), row = to_device(bias, stream);
  bind(*lower(g, 0), {memory.data(), row.data()}, {memory.data()}, stream)->run();
  const auto got = to_host<float>(memory, stream);
  for (std::size_t i = 0; i < 35; ++i) EXPECT_EQ(got[i], x[i] + bias[i % 7]);
}

TEST_F(ElementwiseSteps, NothingToDoLaunchesNothing) {
  const Stream stream;
  DeviceBuffer x(16);
  bind(*lower(add_constant(0, 1.0)), {x.data()}, {x.data()}, stream)->run();
  stream.synchronize();
  EXPECT_EQ(sim::counters().kernels_run, 0u);
  cuda::compile_generated_kernels();
  EXPECT_EQ(compiler_->calls_, 0) << "there is no kernel to compile";
}

TEST_F(ElementwiseSteps, NeedsAStream) {
  const auto step = lower(add_constant(104, 1.0));
  void* p = nullptr;
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     step->bind({{&p, 1}, {&p, 1}});
                   }),
                   "generated:ew_add", "stream"));
}

TEST_F(ElementwiseSteps, CapturedOnceItIsLoaded) {
  const Stream stream;
  const DeviceBuffer x = to_device(std::vector<float>(105, 0.0f), stream);
  stream.synchronize();
  const auto step = bind(*lower(add_constant(105, 1.0)), {x.data()}, {x.data()}, stream);
  // Loading code is no work of a stream.
  EXPECT_THROW(cuda::capture(stream, [&] { step->run(); }), DeviceError);
  step->run();
  const cuda::GraphExec graph(cuda::capture(stream, [&] { step->run(); }));
  for (int i = 0; i < 3; ++i) graph.launch(stream);
  EXPECT_EQ(to_host<float>(x, stream), std::vector<float>(105, 4.0f));
}

}  // namespace
}  // namespace ingot
