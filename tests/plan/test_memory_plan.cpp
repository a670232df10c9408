#include <random>

#include "core/base/error.h"
#include "core/plan/memory_plan.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

// The example of arXiv 2001.03288: eight tensors, lower bound and plan 124.
TEST(MemoryPlan, PublishedExampleNeeds124Bytes) {
  const std::vector<PlanItem> items{{32, 0, 1}, {28, 1, 4}, {36, 2, 5}, {16, 3, 5},
                                    {8, 4, 5},  {64, 5, 7}, {10, 6, 8}, {40, 7, 8}};
  const MemoryPlan plan = plan_memory(items, 1);
  EXPECT_EQ(plan.arena_bytes, 124u);
  EXPECT_EQ(plan.max_live_bytes, 124u);
  EXPECT_EQ(plan.peak_step, 5);
}

// A LeNet-5 training step of 16 images, its 31 values and 10 largest workspaces: every greedy order, improved
// from the top, ends 4.9 % above the bound.
TEST(MemoryPlan, GetsOutOfWhatGreedyOrdersEndIn) {
  const std::vector<PlanItem> items{
      {301056, 0, 51},  {75264, 1, 46},  {18816, 1, 48},  {102400, 2, 47}, {25600, 3, 4},    {6400, 3, 43},
      {25600, 4, 38},   {7680, 6, 39},   {5376, 7, 34},   {640, 8, 54},    {16, 9, 10},      {64, 10, 25},
      {64, 11, 16},     {64, 11, 26},    {16, 13, 14},    {64, 14, 15},    {4, 15, 24},      {4, 16, 54},
      {128, 18, 19},    {16, 19, 20},    {64, 20, 21},    {4, 21, 54},     {64, 24, 26},     {640, 26, 29},
      {5376, 27, 31},   {7680, 32, 36},  {25600, 37, 42}, {25600, 42, 43}, {102400, 43, 44}, {75264, 45, 48},
      {301056, 48, 49}, {9856, 0, 0},    {12288, 2, 2},   {206080, 6, 6},  {66816, 7, 7},    {50432, 8, 8},
      {16384, 13, 13},  {10240, 31, 31}, {10240, 44, 44}, {55680, 45, 45}, {17984, 46, 46}};
  const MemoryPlan plan = plan_memory(items);
  EXPECT_LE(plan.arena_bytes, plan.max_live_bytes + plan.max_live_bytes / 1000);
}

TEST(MemoryPlan, EmptyAndZeroSizedBlocksNeedNothing) {
  EXPECT_EQ(plan_memory({}).arena_bytes, 0u);
  const std::vector<PlanItem> items{{0, 0, 3}, {0, 1, 2}};
  EXPECT_EQ(plan_memory(items).arena_bytes, 0u);
}

TEST(MemoryPlan, RefusesImpossibleLifetimesAndAlignments) {
  const std::vector<PlanItem> backwards{{8, 3, 2}};
  EXPECT_THROW(plan_memory(backwards), UsageError);
  const std::vector<PlanItem> fine{{8, 0, 0}};
  EXPECT_THROW(plan_memory(fine, 24), UsageError);
}

// Properties on random problems: no overlap in time and space, alignment, peak >= bound, the same answer
// twice.
TEST(MemoryPlan, PropertiesHoldOnRandomProblems) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    std::mt19937 rng(seed);
    const auto pick = [&](int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(rng); };
    const int n = pick(1, 120), steps = pick(1, 200);
    const std::size_t alignment = std::size_t{1} << pick(0, 8);
    std::vector<PlanItem> items;
    for (int i = 0; i < n; ++i) {
      const int first = pick(0, steps - 1);
      items.push_back({static_cast<std::size_t>(pick(0, 5000)), first,
                       pick(first, std::min(steps - 1, first + pick(0, 40)))});
    }
    const MemoryPlan plan = plan_memory(items, alignment);
    const MemoryPlan again = plan_memory(items, alignment);
    ASSERT_EQ(plan.offsets, again.offsets) << "seed " << seed;
    ASSERT_GE(plan.arena_bytes, plan.max_live_bytes) << "seed " << seed;
    for (std::size_t i = 0; i < items.size(); ++i) {
      ASSERT_EQ(plan.offsets[i] % alignment, 0u) << "seed " << seed;
      ASSERT_LE(plan.offsets[i] + items[i].bytes, plan.arena_bytes) << "seed " << seed;
      for (std::size_t j = 0; j < i; ++j) {
        if (items[i].bytes == 0 || items[j].bytes == 0) continue;
        const bool together = items[i].first <= items[j].last && items[j].first <= items[i].last;
        const bool overlap = plan.offsets[i] < plan.offsets[j] + items[j].bytes &&
                             plan.offsets[j] < plan.offsets[i] + items[i].bytes;
        ASSERT_FALSE(together && overlap) << "seed " << seed << ": blocks " << i << " and " << j;
      }
    }
  }
}

}  // namespace
}  // namespace ingot
