// CpuLevel: which compilation of the vector kernels this machine runs.
//
// Chosen once from what the processor reports; INGOT_CPU_LEVEL=base|v3|v4 in the environment lowers it, and a
// test may set it for a scope. A step keeps the kernels of the level under which it was lowered.
//
//   for (CpuLevel level : available_cpu_levels()) { CpuLevelScope use(level); ... }
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ingot::cpu {

// x86-64 levels; Base is also what other processors run.
enum class CpuLevel : std::uint8_t { Base, V3, V4 };

CpuLevel cpu_level();
std::string_view name(CpuLevel level);
std::vector<CpuLevel> available_cpu_levels();

class CpuLevelScope {
 public:
  explicit CpuLevelScope(CpuLevel level);
  ~CpuLevelScope();
  CpuLevelScope(const CpuLevelScope&) = delete;
  CpuLevelScope& operator=(const CpuLevelScope&) = delete;

 private:
  CpuLevel before_;
};

}  // namespace ingot::cpu
