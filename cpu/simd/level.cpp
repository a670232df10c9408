#include "cpu/simd/level.h"

#include <atomic>
#include <cstdlib>

#include "core/base/error.h"

namespace ingot::cpu {

namespace {

CpuLevel detect() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return CpuLevel::V4;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return CpuLevel::V3;
#endif
  return CpuLevel::Base;
}

CpuLevel best() {
  static const CpuLevel level = detect();
  return level;
}

CpuLevel initial() {
  const char* asked = std::getenv("INGOT_CPU_LEVEL");
  if (asked == nullptr) return best();
  for (const CpuLevel l : available_cpu_levels())
    if (name(l) == asked) return l;
  throw UsageError(cat("INGOT_CPU_LEVEL=", asked, ": this processor runs ", name(best()),
                       " and below; the levels are base, v3, v4"));
}

std::atomic<CpuLevel>& current() {
  static std::atomic<CpuLevel> level{initial()};
  return level;
}

}  // namespace

CpuLevel cpu_level() {
  return current().load(std::memory_order_relaxed);
}

std::string_view name(CpuLevel level) {
  return level == CpuLevel::V4 ? "v4" : level == CpuLevel::V3 ? "v3" : "base";
}

std::vector<CpuLevel> available_cpu_levels() {
  std::vector<CpuLevel> levels{CpuLevel::Base};
  if (best() >= CpuLevel::V3) levels.push_back(CpuLevel::V3);
  if (best() >= CpuLevel::V4) levels.push_back(CpuLevel::V4);
  return levels;
}

CpuLevelScope::CpuLevelScope(CpuLevel level) : before_(cpu_level()) {
  current().store(level);
}
CpuLevelScope::~CpuLevelScope() {
  current().store(before_);
}

}  // namespace ingot::cpu
