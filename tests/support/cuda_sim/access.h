// Every access of a simulated thread is judged here: inside memory it may touch, aligned to its size, written
// before it is read (shared memory), and ordered against the accesses of other threads.
//
// For each byte a cell remembers the last writer and two readers. An access is packed as
//   phase (32 bits) | thread of the block (10) | warp clock (21) | atomic (1)
// The phase is a count that grows at each barrier and each block, so it tells launch, block and barrier
// interval at once. Two accesses of one block are ordered when their phases differ; within a phase, when they
// are the same thread's, or a __syncwarp() lies between (each lane knows up to which clock of each other lane
// it has synchronised). Accesses of two blocks of one launch are ordered only by __threadfence() + atomic in
// one and an atomic on the same address in the other (the grain is the whole block, so some races after a
// fence stay unseen). Shuffles order nothing. Atomics conflict with plain accesses, not with each other.
//
//   judge(address, 4, Access::Write, __builtin_return_address(0));
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::sim {

enum class Access { Read, Write, Atomic };

struct Cell {
  std::uint64_t write = 0;
  std::uint64_t read[2] = {};
};

// An access by the running thread; `code` is an address in the kernel for the message, or null. Does not
// return when the access is illegal: the launch is over then.
void judge(std::uintptr_t address, std::size_t bytes, Access access, const void* code);

// The same on behalf of another thread of the block (operations that a whole warp does at once).
void judge_for(int thread, std::uintptr_t address, std::size_t bytes, Access access, const void* code);

// The engine tells the detector what happens.
void races_begin_launch();
void races_begin_block();
void races_barrier();
// The running thread's __threadfence().
void races_fence();

}  // namespace ingot::sim
