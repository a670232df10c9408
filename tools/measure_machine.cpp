#include "tools/measure_machine.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>
#include <vector>

#include "core/op/registry.h"
#include "core/runtime/prediction.h"
#include "models/models.h"
#include "tools/commands.h"
#include "tools/fit_machine.h"
#include "tools/machine_file.h"
#include "tools/peak.h"
#include "tools/step_timing.h"

namespace ingot::tools {

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
void update_floats(const float* __restrict from, float* __restrict to, std::size_t n) {
  // As a kernel reads and writes: what is written was read, so no line is fetched in vain.
  for (std::size_t i = 0; i < n; ++i) to[i] = 0.5f * to[i] + from[i];
}

// Bytes read and written a second, all threads together, each in a part of its own: the best of several
// windows.
double update_bandwidth(int threads, double working_set, double seconds) {
  constexpr int kWindows = 7;
  const auto each = static_cast<std::size_t>(working_set / 2.0 / sizeof(float) / threads);
  std::vector<std::vector<double>> rates(static_cast<std::size_t>(threads));
  std::barrier together(threads);
  const auto work = [&](std::size_t t) {
    std::vector<float> from(each, 1.0f), to(each, 0.0f);  // by the thread that uses them
    for (int w = 0; w < kWindows; ++w) {
      together.arrive_and_wait();
      double bytes = 0.0, elapsed = 0.0;
      for (const auto start = Clock::now(); elapsed < seconds / kWindows; elapsed = since(start)) {
        update_floats(from.data(), to.data(), each);
        bytes += 3.0 * sizeof(float) * static_cast<double>(each);
      }
      rates[t].push_back(bytes / elapsed);
    }
  };
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) pool.emplace_back(work, static_cast<std::size_t>(t));
  for (std::thread& t : pool) t.join();
  std::vector<double> sums(kWindows, 0.0);
  for (const auto& of : rates)
    for (std::size_t w = 0; w < of.size(); ++w) sums[w] += of[w];
  return *std::max_element(sums.begin(), sums.end());
}

// Of the first processor, as Linux sees it, which on virtual machines is less than what the processor itself
// says.
double cache_bytes(int level, double otherwise) {
  for (int i = 0; i < 8; ++i) {
    const std::string folder = cat("/sys/devices/system/cpu/cpu0/cache/index", i, "/");
    std::ifstream of(folder + "level"), size(folder + "size");
    int found = 0;
    std::string bytes;
    if (of >> found && found == level && size >> bytes) return static_cast<double>(parse_bytes(bytes));
  }
  return otherwise;
}

std::vector<MemoryLevel> measure_levels(int threads, double seconds) {
  const double l2 = cache_bytes(2, 1 << 20) * threads;
  const double l3 = std::max(cache_bytes(3, 32 << 20), 2.0 * l2);
  std::vector<MemoryLevel> levels = {
      {"L2", l2, update_bandwidth(threads, 0.5 * l2, seconds / 3), true},
      {"L3", l3, update_bandwidth(threads, std::sqrt(2.0 * l2 * l3), seconds / 3), false},
      {"memory", 0.0, update_bandwidth(threads, 4.0 * l3, seconds / 3), false}};
  for (std::size_t i = 1; i < levels.size(); ++i)
    levels[i].bytes_per_second = std::min(levels[i].bytes_per_second, levels[i - 1].bytes_per_second);
  return levels;
}

// What a training step takes at the peak where it is sampled: all models are seen for the same time, once
// with most of their operands in the caches, and once with most of them beyond.
constexpr double kProbes[] = {0.02, 0.4};

// A batch at which a training step takes this long at the peak.
std::int64_t probe_batch(const ProgramArguments& a, double peak, double seconds) {
  constexpr std::int64_t kLeast = 2, kMost = 256;
  double flops = 0.0;
  const Graph one = a.graph(1);
  for (const Node& n : one.nodes()) flops += cost(one, n).flops;
  const double fit = seconds * peak / std::max(flops, 1.0);
  std::int64_t batch = kLeast;
  while (batch < kMost && static_cast<double>(2 * batch) <= fit) batch *= 2;
  return batch;
}

// The lower quartile of each step over runs of this program: what others do on the machine only ever makes it
// longer.
void sample(const ProgramArguments& a, std::int64_t batch, double seconds, std::vector<Sample>& samples) {
  const ProgramPtr p = a.program(batch);
  Session s(p, {.seed = 1});
  fill_random_inputs(s);
  s.run();
  constexpr int kLeastRuns = 4, kMostRuns = 100;
  const auto start = Clock::now();
  const StepTimes times = time_steps(
      s, [&](int runs) { return runs < kLeastRuns || (since(start) < seconds && runs < kMostRuns); });
  const std::vector<Amounts> amounts = amounts_of(*p);
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    const NodeId n = p->schedule()[i];
    const Node& node = p->graph().node(n);
    if (p->step(n).is_view) continue;
    samples.push_back({work_of(p->graph(), node), p->step(n).kernel, amounts[i],
                       times.quartile[n.index] * 1e-3, p->step(n).arithmetic});
  }
}

}  // namespace

Machine measure_cpu(const Target& cpu, const MeasureOptions& options) {
  const auto say = [&](const std::string& line) {
    if (options.progress) options.progress(line);
  };
  Machine m = with_threads(read_machine("cpu"), cpu.threads);
  m.name = cpu.name;
  m.source =
      "Measured on this machine: multiply-adds, updates of memory, and the steps of Ingot's models at two "
      "batches each.";
  // A fifth for the machine itself, the rest for kernels.
  const double bare = options.seconds / 5.0;
  say("peak of multiply-adds");
  m.vector = m.matrix = {};
  const Peak f32_rate = f32_peak(cpu.threads, bare / 3);
  const auto dots = bf16_peak(cpu.threads, bare / 6);
  const double f32 = f32_rate.flops, bf16 = dots ? dots->flops : 0.0;
  m.lanes = f32_rate.lanes;
  m.vector[static_cast<std::size_t>(DType::F32)] = m.matrix[static_cast<std::size_t>(DType::F32)] = f32;
  m.vector[static_cast<std::size_t>(DType::F64)] = m.matrix[static_cast<std::size_t>(DType::F64)] = f32 / 2.0;
  m.matrix[static_cast<std::size_t>(DType::BF16)] = bf16;
  say("bandwidth of caches and memory");
  m.levels = measure_levels(cpu.threads, bare / 2);
  std::vector<Sample> samples;
  // A fixed list, not models(): in a share of the time by the dozen no step would run often enough, and a
  // machine's description should not change because a model was added.
  constexpr const char* kModels[] = {"mlp", "lenet5", "simple_cnn", "resnet20", "resnet18", "resnet50"};
  const double each =
      (options.seconds - bare) / (4.0 * static_cast<double>(std::size(kProbes) * std::size(kModels)));
  for (const char* model : kModels) {
    say(cat("steps of ", model));
    for (const char* mode : {"train", "infer"})
      for (const char* dtype : {"f32", "bf16"}) {
        ProgramArguments a;
        a.model.model = model;
        a.device.threads = cpu.threads;
        a.mode = mode;
        a.precision.dtype = dtype;
        for (const double probe : kProbes) sample(a, probe_batch(a, f32, probe), each / 2, samples);
      }
  }
  m.launch_seconds = fit_launch(m, samples, m.launch_seconds);
  m.efficiencies = fit_efficiencies(m, samples);
  check_machine(m);
  return m;
}

}  // namespace ingot::tools
