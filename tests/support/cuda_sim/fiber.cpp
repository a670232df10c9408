#include "tests/support/cuda_sim/fiber.h"

#include <sys/mman.h>

#include "core/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void ingot_sim_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.globl ingot_sim_switch
.hidden ingot_sim_switch
.type ingot_sim_switch,@function
ingot_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ingot_sim_switch,.-ingot_sim_switch
)");

namespace ingot::sim {

StackPool::StackPool() {
  void* const range =
      mmap(nullptr, kMost * (kBytes + kGuard), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED)
    throw UsageError(
        "the simulated device expects to reserve address space for the stacks of 1032 threads; mmap "
        "refused. Raise the limit of `ulimit -v`.");
  base_ = reinterpret_cast<std::uintptr_t>(range);
  stacks_.resize(kMost);
}

StackPool::~StackPool() {
  munmap(reinterpret_cast<void*>(base_), kMost * (kBytes + kGuard));
}

Stack* StackPool::take() {
  if (!idle_.empty()) {
    Stack* const stack = idle_.back();
    idle_.pop_back();
    return stack;
  }
  if (made_ == kMost)
    throw UsageError("the simulated device has stacks for 1024 threads, and one block asked for more");
  Stack& stack = stacks_[made_];
  stack.low = reinterpret_cast<std::byte*>(base_ + made_ * (kBytes + kGuard) + kGuard);
  // Tops at equal offsets would share one set of the first-level cache.
  stack.bytes = kBytes - made_ % 64 * 320;
  if (mprotect(stack.low, kBytes, PROT_READ | PROT_WRITE) != 0)
    throw UsageError(
        "the simulated device could not make a thread's stack accessible (mprotect failed): too many "
        "mappings, or too little memory");
  ++made_;
  return &stack;
}

void StackPool::give(Stack* stack) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack->low, stack->bytes);
#endif
  idle_.push_back(stack);
}

void StackPool::give_all() {
  idle_.clear();
  for (std::size_t i = made_; i-- > 0;) give(&stacks_[i]);
}

const Stack* StackPool::overflowed(std::uintptr_t address) const {
  if (!contains(address) || (address - base_) % (kBytes + kGuard) >= kGuard) return nullptr;
  return &stacks_[(address - base_) / (kBytes + kGuard)];
}

void* prepare(const Stack& stack, void (*entry)()) {
  // The switch pops six registers and returns to `entry`, which must find the stack as after a call: 16-byte
  // aligned plus the 8 bytes of a return address, which is never used.
  auto* slot = reinterpret_cast<void**>(stack.top());
  *--slot = nullptr;
  *--slot = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--slot = nullptr;
  return slot;
}

#if defined(__SANITIZE_ADDRESS__)
namespace {
// Bounds of the OS thread's own stack, learned at the first switch away from it.
thread_local const void* own_low = nullptr;
thread_local std::size_t own_bytes = 0;
thread_local bool own_known = false;
}  // namespace

// Not instrumented: the sanitizer keeps variables of instrumented functions elsewhere to find uses after a
// return, and that memory is what is exchanged here. A fiber that ends has lost it by the time its stack
// pointer is saved, so the pointer goes to a variable of this function.
__attribute__((no_sanitize_address)) void switch_to(void** save, void* load, const Stack* to, bool ends) {
  void *fake = nullptr, *nowhere = nullptr;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake, to != nullptr ? to->low : own_low,
                                 to != nullptr ? to->bytes : own_bytes);
  ingot_sim_switch(ends ? &nowhere : save, load);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

__attribute__((no_sanitize_address)) void arrived() {
  const void* low = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &low, &bytes);
  if (!own_known) {
    own_low = low;
    own_bytes = bytes;
    own_known = true;
  }
}
#else
void switch_to(void** save, void* load, const Stack*, bool) {
  ingot_sim_switch(save, load);
}

void arrived() {}
#endif

}  // namespace ingot::sim
