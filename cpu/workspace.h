// Workspace: cuts a step's private memory into aligned arrays.
//
// The same code measures (null base) when the step is made and cuts when it runs, so both agree.
//
//   Workspace w(nullptr); carve(w); step bytes = w.used();
//   Workspace w(memory);  auto* sums = w.take<double>(channels);
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::cpu {

class Workspace {
 public:
  explicit Workspace(void* base) : base_(reinterpret_cast<std::uintptr_t>(base)) {}

  template <class T>
  T* take(std::int64_t n) {
    const std::uintptr_t at = base_ + used_;
    used_ += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  std::size_t used() const { return used_; }

 private:
  std::uintptr_t base_;
  std::size_t used_ = 0;
};

// A thread's own cache lines.
inline std::int64_t whole_lines(std::int64_t floats) {
  return (floats + 15) / 16 * 16;
}

// Floats that a thread may work over again and again: half of a usual second cache.
constexpr std::int64_t kMaxScratch = 1 << 17;

}  // namespace ingot::cpu
