// Times single ops as a compiled program runs them: one Google Benchmark per problem, with the kernel that
// was chosen and what it reaches. Only the op's own step is timed; copies between layouts around it are not.
//
//   cmake --preset release -DINGOT_BUILD_BENCHMARKS=ON && cmake --build --preset release --target
//   op_benchmarks build/release/bin/op_benchmarks --threads=2 --benchmark_filter=conv2d
//   build/release/bin/op_benchmarks --problem='softmax f32[256, 1000]' --problem='conv2d f32[8, 3, 32, 32]
//   f32[16, 3, 3, 3] {padding=[1, 1]}'
//
// A problem is an op, the types of its operands and its attributes, written as in a graph's text
// (core/op/text.h).
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/philox.h"
#include "core/op/registry.h"
#include "core/runtime/session.h"
#include "tools/op_problem.h"

namespace {

using namespace ingot;

// The layers of the published networks, and memory-bound ops on 64 MiB.
constexpr const char* kProblems[] = {
    "conv2d f32[16, 3, 224, 224] f32[64, 3, 7, 7] {stride=[2, 2], padding=[3, 3]}",
    "conv2d f32[16, 64, 56, 56] f32[64, 64, 3, 3] {padding=[1, 1]}",
    "conv2d f32[16, 64, 56, 56] f32[256, 64, 1, 1]",
    "conv2d f32[16, 512, 7, 7] f32[512, 512, 3, 3] {padding=[1, 1]}",
    "conv2d f32[128, 16, 32, 32] f32[16, 16, 3, 3] {padding=[1, 1]}",
    "conv2d f32[16, 96, 112, 112] f32[96, 1, 3, 3] {padding=[1, 1], groups=96}",
    "conv2d f32[64, 1, 28, 28] f32[6, 1, 5, 5] {padding=[2, 2]}",
    "conv2d_grad_input f32[16, 64, 56, 56] f32[64, 64, 3, 3] {padding=[1, 1], input_shape=[16, 64, 56, 56]}",
    "conv2d_grad_input f32[64, 16, 10, 10] f32[16, 6, 5, 5] {input_shape=[64, 6, 14, 14]}",
    "conv2d_grad_weight f32[16, 64, 56, 56] f32[16, 64, 56, 56] {padding=[1, 1], weight_shape=[64, 64, 3, "
    "3]}",
    "conv2d_grad_weight f32[64, 1, 28, 28] f32[64, 6, 28, 28] {padding=[2, 2], weight_shape=[6, 1, 5, 5]}",
    "matmul f32[512, 512] f32[512, 512]",
    "matmul f32[64, 400] f32[120, 400] {transpose_b=true}",
    "matmul f32[16, 128, 64] f32[16, 64, 128]",
    "max_pool2d f32[16, 64, 112, 112] {kernel=[3, 3], stride=[2, 2], padding=[1, 1]}",
    "max_pool2d f32[64, 6, 28, 28]",
    "avg_pool2d f32[16, 64, 56, 56] {kernel=[2, 2], stride=[2, 2]}",
    "adaptive_avg_pool2d f32[64, 512, 7, 7] {output_size=[1, 1]}",
    "add f32[16777216] f32[16777216]",
    "relu f32[16777216]",
    "gelu f32[16777216]",
    "exp f32[16777216]",
    "add f32[16, 64, 128, 128] f32[64, 1, 1]",
    "softmax f32[16384, 1024]",
    "log_softmax f32[16384, 1000]",
    "reduce_sum f32[16384, 1024] {axes=[1]}",
    "reduce_sum f32[16384, 1024] {axes=[0]}",
    "transpose f32[4096, 4096] {perm=[1, 0]}",
};

ProgramPtr compile_problem(const std::string& text, int threads) {
  const std::size_t brace = text.find('{');
  const std::string head = text.substr(0, brace),
                    attributes = brace == std::string::npos ? "" : text.substr(brace);
  const std::size_t name_end = head.find(' ');
  const std::string name = head.substr(0, name_end);
  std::vector<TensorType> types;
  for (std::size_t at = name_end; at != std::string::npos && at < head.size();) {
    const std::size_t begin = head.find_first_not_of(' ', at);
    if (begin == std::string::npos) break;
    std::size_t end = head.find(']', begin);
    if (end == std::string::npos)
      throw UsageError(cat("'", text, "': expected a type such as f32[8, 4] in '", head.substr(begin), "'"));
    end = std::min(head.find(' ', end), head.size());
    types.push_back(parse_type(head.substr(begin, end - begin)));
    at = end;
  }
  return compile(tools::op_graph(name, types, attributes), {.target = Target::cpu(threads)});
}

void fill(const Session& s) {
  for (const ValueId v : s.program().graph().inputs()) {
    const Tensor t = s.input(s.program().graph().value(v).name);
    const Philox rng(1, v.index);
    for (std::int64_t i = 0; i < t.numel(); ++i)
      t.set(i, is_floating(t.dtype())
                   ? 2.0 * static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i)))) - 1.0
                   : 0.0);
  }
}

bool is_timed(const Node& n) {
  return n.op != "reorder";
}

void run_problem(benchmark::State& state, const std::string& text, int threads) {
  try {
    const ProgramPtr program = compile_problem(text, threads);
    Session session(program, {.seed = 1});
    fill(session);
    session.run();
    const Graph& g = program->graph();
    Cost c;
    std::string kernels;
    for (const NodeId id : program->schedule()) {
      if (!is_timed(g.node(id))) continue;
      const Cost one = cost(g, g.node(id));
      c.flops += one.flops;
      c.bytes += one.bytes;
      kernels += (kernels.empty() ? "" : " ") + program->step(id).kernel;
    }
    for (auto _ : state) {
      double ms = 0.0;
      for (const StepTiming& t : session.run_timed())
        if (is_timed(g.node(t.node))) ms += t.ms;
      state.SetIterationTime(ms / 1e3);
    }
    const auto runs = static_cast<double>(state.iterations());
    state.SetLabel(kernels);
    state.counters["FLOP/s"] = benchmark::Counter(c.flops * runs, benchmark::Counter::kIsRate);
    state.counters["B/s"] = benchmark::Counter(c.bytes * runs, benchmark::Counter::kIsRate);
  } catch (const std::exception& e) {
    state.SkipWithError(e.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0;
  std::vector<std::string> problems;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a.starts_with("--problem="))
      problems.emplace_back(a.substr(10));
    else if (a.starts_with("--threads="))
      threads = std::atoi(argv[i] + 10);
    else
      rest.push_back(argv[i]);
  }
  if (problems.empty()) problems.assign(std::begin(kProblems), std::end(kProblems));
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) {
    std::fprintf(stderr, "op_benchmarks also knows --threads=N and --problem='OP TYPES {ATTRIBUTES}'\n");
    return 1;
  }
  for (const std::string& text : problems)
    benchmark::RegisterBenchmark(text.c_str(),
                                 [text, threads](benchmark::State& s) { run_problem(s, text, threads); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
