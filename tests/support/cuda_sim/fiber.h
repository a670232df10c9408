// Fibers: stacks and the switch between them, for the threads of a simulated block.
//
// A switch saves the registers that the System V ABI for x86-64 lets a function keep, and nothing else: 6
// pushes and a new stack pointer. Stacks come from one reserved range, so "is this address a thread's local
// variable" is one comparison; each has an inaccessible page below it. Fibers never move to another OS
// thread.
//
//   StackPool pool;
//   Stack* stack = pool.take();
//   void* fiber = prepare(*stack, entry);     // entry() never returns
//   switch_to(&here, fiber, stack);           // runs entry until it switches back to `here`
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot::sim {

struct Stack {
  std::byte* low = nullptr;  // the lowest usable byte
  std::size_t bytes = 0;
  std::byte* top() const { return low + bytes; }
};

class StackPool {
 public:
  static constexpr std::size_t kBytes = 256 * 1024;
  static constexpr std::size_t kGuard = 4096;
  static constexpr std::size_t kMost = 1024 + 8;  // as many as a block has threads, and a few

  StackPool();
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  Stack* take();
  void give(Stack* stack);
  void give_all();
  bool contains(std::uintptr_t address) const { return address - base_ < kMost * (kBytes + kGuard); }
  // The stack whose guard page holds the address, or null.
  const Stack* overflowed(std::uintptr_t address) const;

 private:
  std::uintptr_t base_ = 0;
  std::vector<Stack> stacks_;
  std::vector<Stack*> idle_;
  std::size_t made_ = 0;
};

// A stack pointer that, when switched to, calls entry on this stack.
void* prepare(const Stack& stack, void (*entry)());

// Saves the running context in *save and continues `load`. The stacks (null: the OS thread's own) are told to
// the address sanitizer; `ends` says that the running fiber will never be continued.
void switch_to(void** save, void* load, const Stack* to, bool ends = false);
// The first thing that runs on a new stack, and after each switch_to returns: part of switch_to, called by
// entries.
void arrived();

}  // namespace ingot::sim
