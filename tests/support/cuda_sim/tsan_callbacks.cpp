// The functions that g++ -fsanitize=thread calls before each access. Kernels compiled with it are linked to
// these in place of the thread sanitizer's own library.
#include <cstddef>
#include <cstdint>

#include "tests/support/cuda_sim/access.h"
#include "tests/support/cuda_sim/engine.h"

namespace {

inline void seen(void* address, std::size_t bytes, ingot::sim::Access access, const void* code) {
  using ingot::sim::engine;
  if (engine().judging()) ingot::sim::judge(reinterpret_cast<std::uintptr_t>(address), bytes, access, code);
}

}  // namespace

// The compiler announces an unaligned access, of a packed struct for instance, by another name: byte by byte,
// it is legal anywhere.
#define INGOT_SIM_CALLBACKS(bytes)                                                                \
  void __tsan_read##bytes(void* p) {                                                              \
    seen(p, bytes, ingot::sim::Access::Read, __builtin_return_address(0));                        \
  }                                                                                               \
  void __tsan_write##bytes(void* p) {                                                             \
    seen(p, bytes, ingot::sim::Access::Write, __builtin_return_address(0));                       \
  }                                                                                               \
  void __tsan_unaligned_read##bytes(void* p) {                                                    \
    for (std::size_t i = 0; i < (bytes); ++i)                                                     \
      seen(static_cast<char*>(p) + i, 1, ingot::sim::Access::Read, __builtin_return_address(0));  \
  }                                                                                               \
  void __tsan_unaligned_write##bytes(void* p) {                                                   \
    for (std::size_t i = 0; i < (bytes); ++i)                                                     \
      seen(static_cast<char*>(p) + i, 1, ingot::sim::Access::Write, __builtin_return_address(0)); \
  }

extern "C" {
void __tsan_init() {}
INGOT_SIM_CALLBACKS(1)
INGOT_SIM_CALLBACKS(2)
INGOT_SIM_CALLBACKS(4)
INGOT_SIM_CALLBACKS(8)
INGOT_SIM_CALLBACKS(16)
void __tsan_read_range(void* p, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    seen(static_cast<char*>(p) + i, 1, ingot::sim::Access::Read, __builtin_return_address(0));
}
void __tsan_write_range(void* p, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    seen(static_cast<char*>(p) + i, 1, ingot::sim::Access::Write, __builtin_return_address(0));
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
#undef INGOT_SIM_CALLBACKS
