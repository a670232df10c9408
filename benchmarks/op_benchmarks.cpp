// Times single ops as a compiled program runs them: one Google Benchmark per problem, with the kernel that
// was chosen and what it reaches. Only the op's own step is timed; copies between layouts around it are not.
//
//   cmake --preset release -DINGOT_BUILD_BENCHMARKS=ON && cmake --build --preset release --target
//   op_benchmarks build/release/bin/op_benchmarks --threads=2 --benchmark_filter=conv2d
//   build/release/bin/op_benchmarks --benchmark_out=ops.json --benchmark_out_format=json
//   build/release/bin/op_benchmarks --problem='softmax f32[256, 1000]' --problem='conv2d f32[8, 3, 32, 32]
//   f32[16, 3, 3, 3] {padding=[1, 1]}'
//
// Operations and bytes are those of the registry's cost. `roofline` is the time that the machine needs at
// least, by the peak and the copy bandwidth measured in the same run (they stand in the context of the JSON),
// over the time taken: 1 is all there is. Operands that stay in a cache may exceed it, since the bandwidth is
// memory's; functions such as exp have fewer operations in the cost than instructions.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "benchmarks/problems.h"
#include "core/op/registry.h"
#include "tools/peak.h"

namespace {

using namespace ingot;

struct Machine {
  int threads = 0;                            // as asked for; 0 uses every core
  double f32 = 0.0, bf16 = 0.0, bytes = 0.0;  // a second
};

Machine measure_machine(int threads) {
  const int all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int used = threads > 0 ? threads : all;
  const tools::Peak f32 = tools::f32_peak(used, 0.5);
  Machine m{threads, f32.flops, 0.0, tools::copy_bandwidth(used, 0.5)};
  if (const auto bf16 = tools::bf16_peak(used, 0.5)) m.bf16 = bf16->flops;
  benchmark::AddCustomContext("threads", cat(used));
  benchmark::AddCustomContext("peak_f32_flops", cat(m.f32));
  benchmark::AddCustomContext("peak_bf16_flops", m.bf16 > 0.0 ? cat(m.bf16) : "not measured");
  benchmark::AddCustomContext("copy_bytes_per_second", cat(m.bytes));
  return m;
}

// Seconds that the node needs at least; 0 where the peak of its type is not known.
double least_seconds(const Graph& g, const Node& n, const Cost& c, const Machine& m) {
  const bool bf16 = op(n.op).precision == Precision::Compute && !n.inputs.empty() &&
                    g.type(n.inputs[0]).dtype == DType::BF16;
  const double peak = bf16 ? m.bf16 : m.f32;
  return peak > 0.0 ? std::max(c.flops / peak, c.bytes / m.bytes) : 0.0;
}

void run_problem(benchmark::State& state, const bench::Problem& problem, const Machine& machine) {
  try {
    const ProgramPtr program = bench::compile_problem(problem.text, machine.threads);
    Session session(program, {.seed = 1});
    bench::fill(session, problem.integers);
    session.run();
    const Graph& g = program->graph();
    const bool reorders = problem.text.starts_with("reorder ");
    const auto is_timed = [&](const Node& n) { return reorders || n.op != "reorder"; };
    Cost c;
    double least = 0.0;
    std::string kernels;
    for (const NodeId id : program->schedule()) {
      const Node& n = g.node(id);
      if (!is_timed(n)) continue;
      const Cost one = cost(g, n);
      c.flops += one.flops;
      c.bytes += one.bytes;
      least += least_seconds(g, n, one, machine);
      kernels += (kernels.empty() ? "" : " ") + program->step(id).kernel;
    }
    if (kernels.empty()) {
      state.SkipWithError("no step is left of it when it is compiled");
      return;
    }
    double seconds = 0.0;
    for (auto _ : state) {
      double ms = 0.0;
      for (const StepTiming& t : session.run_timed())
        if (is_timed(g.node(t.node))) ms += t.ms;
      state.SetIterationTime(ms / 1e3);
      seconds += ms / 1e3;
    }
    const auto runs = static_cast<double>(state.iterations());
    state.SetLabel(kernels);
    state.counters["FLOP/s"] = benchmark::Counter(c.flops * runs, benchmark::Counter::kIsRate);
    state.counters["B/s"] = benchmark::Counter(c.bytes * runs, benchmark::Counter::kIsRate);
    if (least > 0.0 && seconds > 0.0) state.counters["roofline"] = least * runs / seconds;
  } catch (const std::exception& e) {
    state.SkipWithError(e.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0;
  std::vector<bench::Problem> problems;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a.starts_with("--problem="))
      problems.push_back({std::string(a.substr(10))});
    else if (a.starts_with("--threads="))
      threads = std::atoi(argv[i] + 10);
    else
      rest.push_back(argv[i]);
  }
  if (problems.empty()) problems = bench::problems();
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) {
    std::fprintf(stderr, "op_benchmarks also knows --threads=N and --problem='OP TYPES {ATTRIBUTES}'\n");
    return 1;
  }
  const Machine machine = measure_machine(threads);
  for (const bench::Problem& p : problems)
    benchmark::RegisterBenchmark(p.text.c_str(),
                                 [p, machine](benchmark::State& s) { run_problem(s, p, machine); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
