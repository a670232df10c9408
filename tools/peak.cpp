#include "tools/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace ingot::tools {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kIterations = 20000;  // a few tens of microseconds between two looks at the clock
// acc = acc * kScale + kShift converges to 1: no overflow, no denormal numbers.
constexpr float kScale = 0.999f, kShift = 0.001f;

struct Kernel {
  const char* isa;
  float (*run)();  // kIterations rounds over all accumulators; the value keeps the work from being optimised
                   // away
  double flops;    // of one call
  int lanes;
};

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float run_avx512() {
  constexpr int kAccumulators = 16;
  const __m512 scale = _mm512_set1_ps(kScale), shift = _mm512_set1_ps(kShift);
  __m512 acc[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int n = 0; n < kIterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_fmadd_ps(acc[i], scale, shift);
  }
  __m512 sum = acc[0];
  for (int i = 1; i < kAccumulators; ++i) sum = _mm512_add_ps(sum, acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sum);
  return lanes[0];
}

// A dot product of two pairs per f32 lane: twice the multiply-adds of an f32 instruction.
__attribute__((target("avx512f,avx512bf16"))) float run_avx512_bf16() {
  constexpr int kAccumulators = 16;
  // Products of 2^-8 and 2^-8: sums grow, but stay far from where adding another changes nothing.
  const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0x1p-8f), _mm512_set1_ps(0x1p-8f));
  __m512 acc[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int n = 0; n < kIterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], factor, factor);
  }
  __m512 sum = acc[0];
  for (int i = 1; i < kAccumulators; ++i) sum = _mm512_add_ps(sum, acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sum);
  return lanes[0];
}

__attribute__((target("avx2,fma"))) float run_avx2() {
  constexpr int kAccumulators = 12;  // with the two constants they fit the 16 registers
  const __m256 scale = _mm256_set1_ps(kScale), shift = _mm256_set1_ps(kShift);
  __m256 acc[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int n = 0; n < kIterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators; ++i) acc[i] = _mm256_fmadd_ps(acc[i], scale, shift);
  }
  __m256 sum = acc[0];
  for (int i = 1; i < kAccumulators; ++i) sum = _mm256_add_ps(sum, acc[i]);
  return _mm256_cvtss_f32(sum);
}
#endif

// Vectors of four floats, the baseline of every 64-bit machine. On x86 without FMA this is a multiply and an
// add.
float run_baseline() {
  using Vector = float __attribute__((vector_size(16)));
  constexpr int kAccumulators = 12;
  const Vector scale = {kScale, kScale, kScale, kScale}, shift = {kShift, kShift, kShift, kShift};
  Vector acc[kAccumulators];
  for (int i = 0; i < kAccumulators; ++i) acc[i] = Vector{} + static_cast<float>(i);
  for (int n = 0; n < kIterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators; ++i) {
#if defined(__FMA__) || defined(__aarch64__)
      for (int lane = 0; lane < 4; ++lane)
        acc[i][lane] = __builtin_fmaf(acc[i][lane], scale[lane], shift[lane]);
#else
      acc[i] = acc[i] * scale + shift;
#endif
    }
  }
  Vector sum = acc[0];
  for (int i = 1; i < kAccumulators; ++i) sum += acc[i];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

Kernel widest_kernel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return {"avx512", run_avx512, 2.0 * kIterations * 16 * 16, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"avx2", run_avx2, 2.0 * kIterations * 12 * 8, 8};
#endif
  return {"baseline", run_baseline, 2.0 * kIterations * 12 * 4, 4};
}

// Null where another kernel would be the ceiling.
std::optional<Kernel> widest_bf16_kernel() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1u << 22;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0) return std::nullopt;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16"))
    return Kernel{"avx512_bf16", run_avx512_bf16, 2.0 * kIterations * 16 * 32, 16};
#endif
  return widest_kernel();
}

// Operations a second of all threads together over one window. The threads spin until all have started.
double measure(const Kernel& kernel, int threads, double seconds) {
  std::atomic<int> waiting{threads};
  std::vector<double> rates(static_cast<std::size_t>(threads));
  auto work = [&](std::size_t index) {
    waiting.fetch_sub(1);
    while (waiting.load() > 0) std::this_thread::yield();
    volatile float sink = 0.0f;
    double calls = 0.0, elapsed = 0.0;
    const Clock::time_point start = Clock::now();
    while (elapsed < seconds) {
      sink = kernel.run();
      calls += 1.0;
      elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    }
    static_cast<void>(sink);
    rates[index] = calls * kernel.flops / elapsed;
  };
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) pool.emplace_back(work, static_cast<std::size_t>(t));
  for (std::thread& t : pool) t.join();
  double total = 0.0;
  for (const double rate : rates) total += rate;
  return total;
}

constexpr int kWindows = 10;

Peak peak_of(const Kernel& kernel, int threads, double seconds) {
  double best = 0.0;
  for (int w = 0; w < kWindows; ++w) best = std::max(best, measure(kernel, threads, seconds / kWindows));
  return {best, kernel.isa, kernel.lanes};
}

}  // namespace

Peak f32_peak(int threads, double seconds) {
  return peak_of(widest_kernel(), threads, seconds);
}

std::optional<Peak> bf16_peak(int threads, double seconds) {
  const std::optional<Kernel> kernel = widest_bf16_kernel();
  if (!kernel) return std::nullopt;
  return peak_of(*kernel, threads, seconds);
}

double copy_bandwidth(int threads, double seconds) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;  // a thread's buffer: beyond the caches
  std::vector<std::unique_ptr<char[]>> from, to;
  for (int t = 0; t < threads; ++t) {
    from.push_back(std::make_unique<char[]>(kBytes));
    to.push_back(std::make_unique<char[]>(kBytes));
    std::memset(from.back().get(), 1, kBytes);
    std::memset(to.back().get(), 2, kBytes);
  }
  double best = 0.0, spent = 0.0;
  while (spent < seconds) {
    const Clock::time_point start = Clock::now();
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < from.size(); ++t)
      pool.emplace_back([&, t] { std::memcpy(to[t].get(), from[t].get(), kBytes); });
    for (std::thread& t : pool) t.join();
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * static_cast<double>(kBytes) * threads / elapsed);
    spent += elapsed;
  }
  return best;
}

}  // namespace ingot::tools
