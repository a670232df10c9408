// The memory planner: gives every block of memory an offset in one arena, so that blocks alive at the same
// time never overlap.
//
// A pure function of sizes and lifetimes. Blocks are placed largest first into the smallest gap that fits
// (greedy by size: Pisarchyk, Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv
// 2001.03288). When the result is above the lower bound, other orders are tried, then the blocks that stick
// out at the top are moved forward in the order, then a seeded walk moves them and what lies beside them,
// sideways steps included; both are bounded by the work they do. The best arrangement wins; equal inputs give
// equal plans.
//
//   std::vector<PlanItem> items{{32, 0, 1}, {28, 1, 4}};
//   MemoryPlan plan = plan_memory(items, 1);
//   plan.arena_bytes;      // 60
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ingot {

struct PlanItem {
  std::size_t bytes = 0;
  std::int32_t first = 0;  // first and last step at which the block is in use, both included
  std::int32_t last = 0;
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  // one per item; items of 0 bytes get 0
  std::size_t arena_bytes = 0;
  std::size_t max_live_bytes =
      0;                       // the lower bound: most bytes (rounded to the alignment) in use at one step
  std::int32_t peak_step = 0;  // the first step that needs max_live_bytes
};

// `alignment` must be a power of two; sizes are rounded up to it.
MemoryPlan plan_memory(std::span<const PlanItem> items, std::size_t alignment = 64);

// Bytes in use at each step from 0 to the last one, sizes rounded to the alignment.
std::vector<std::size_t> live_bytes(std::span<const PlanItem> items, std::size_t alignment = 64);

}  // namespace ingot
