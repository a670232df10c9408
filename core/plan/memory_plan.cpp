#include "core/plan/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/base/philox.h"

namespace ingot {

namespace {

std::size_t round_up(std::size_t n, std::size_t alignment) {
  return (n + alignment - 1) & ~(alignment - 1);
}

// Live spans between two allocations repeat, so an arrangement is judged only by its height.
class Placer {
 public:
  Placer(std::span<const PlanItem> items, std::size_t alignment) : items_(items), sizes_(items.size()) {
    for (std::size_t i = 0; i < items.size(); ++i) sizes_[i] = round_up(items[i].bytes, alignment);
    // Which items are alive together does not change between orders; find it once, by a sweep over the start
    // times.
    std::vector<std::uint32_t> by_start(items.size());
    std::iota(by_start.begin(), by_start.end(), 0u);
    std::stable_sort(by_start.begin(), by_start.end(),
                     [&](auto a, auto b) { return items[a].first < items[b].first; });
    conflicts_.resize(items.size());
    std::vector<std::uint32_t> alive;
    for (const std::uint32_t i : by_start) {
      if (sizes_[i] == 0) continue;
      std::erase_if(alive, [&](std::uint32_t j) { return items[j].last < items[i].first; });
      for (const std::uint32_t j : alive) {
        conflicts_[i].push_back(j);
        conflicts_[j].push_back(i);
      }
      alive.push_back(i);
    }
    for (const auto& c : conflicts_) work_ += 1 + c.size();
  }

  const std::vector<std::size_t>& sizes() const { return sizes_; }
  // Blocks and pairs of blocks that one call of place() looks at.
  std::size_t work() const { return work_; }
  // The blocks alive together with block i.
  const std::vector<std::uint32_t>& beside(std::uint32_t i) const { return conflicts_[i]; }

  // Places in the given order, each block in the tightest gap or, with `lowest`, in the first. Stops early,
  // returning max, once the height passes `give_up`.
  std::size_t place(std::span<const std::uint32_t> order, std::vector<std::size_t>& offsets,
                    std::size_t give_up, bool lowest = false) {
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    offsets.assign(items_.size(), kNone);
    std::size_t height = 0;
    for (const std::uint32_t i : order) {
      busy_.clear();
      for (const std::uint32_t j : conflicts_[i])
        if (offsets[j] != kNone) busy_.emplace_back(offsets[j], offsets[j] + sizes_[j]);
      std::sort(busy_.begin(), busy_.end());
      std::size_t end = 0, best = kNone, best_gap = kNone;
      for (const auto& [from, to] : busy_) {
        if (from > end && from - end >= sizes_[i] && from - end < best_gap) {
          best = end;
          best_gap = lowest ? 0 : from - end;
        }
        end = std::max(end, to);
      }
      offsets[i] = best == kNone ? end : best;
      height = std::max(height, offsets[i] + sizes_[i]);
      if (height >= give_up) return kNone;
    }
    return height;
  }

 private:
  std::span<const PlanItem> items_;
  std::vector<std::size_t> sizes_;
  std::vector<std::vector<std::uint32_t>> conflicts_;
  std::vector<std::pair<std::size_t, std::size_t>> busy_;
  std::size_t work_ = 0;
};

}  // namespace

std::vector<std::size_t> live_bytes(std::span<const PlanItem> items, std::size_t alignment) {
  std::int32_t steps = 0;
  for (const auto& i : items) steps = std::max(steps, i.last + 1);
  std::vector<std::size_t> live(static_cast<std::size_t>(steps) + 1);
  for (const auto& i : items) {  // differences modulo 2^64, summed below
    live[static_cast<std::size_t>(i.first)] += round_up(i.bytes, alignment);
    live[static_cast<std::size_t>(i.last) + 1] -= round_up(i.bytes, alignment);
  }
  std::partial_sum(live.begin(), live.end(), live.begin());
  live.pop_back();
  return live;
}

MemoryPlan plan_memory(std::span<const PlanItem> items, std::size_t alignment) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0)
    throw UsageError(cat("the alignment must be a power of two, got ", alignment));
  for (const auto& i : items)
    if (i.first < 0 || i.last < i.first)
      throw UsageError(cat("a block cannot live from step ", i.first, " to step ", i.last));

  MemoryPlan plan;
  plan.offsets.assign(items.size(), 0);
  const auto live = live_bytes(items, alignment);
  if (!live.empty()) {
    const auto peak = std::max_element(live.begin(), live.end());
    plan.max_live_bytes = *peak;
    plan.peak_step = static_cast<std::int32_t>(peak - live.begin());
  }
  Placer placer(items, alignment);
  const auto& sizes = placer.sizes();
  std::vector<std::uint32_t> used;
  for (std::uint32_t i = 0; i < items.size(); ++i)
    if (sizes[i] != 0) used.push_back(i);
  if (used.empty()) return plan;

  const auto length = [&](std::uint32_t i) {
    return static_cast<std::size_t>(items[i].last - items[i].first + 1);
  };
  std::size_t best = std::numeric_limits<std::size_t>::max();
  std::vector<std::size_t> offsets;
  std::vector<std::uint32_t> order = used, best_order;
  const auto attempt = [&] {
    const std::size_t height = placer.place(order, offsets, best);
    if (height >= best) return false;
    best = height;
    best_order = order;
    for (const std::uint32_t i : used) plan.offsets[i] = offsets[i];
    return true;
  };
  const auto sorted_by = [&](auto key) {
    order = used;
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) > key(b); });
    return attempt();
  };
  sorted_by([&](auto i) { return std::pair(sizes[i], length(i)); });
  if (best > plan.max_live_bytes) sorted_by([&](auto i) { return std::pair(length(i), sizes[i]); });
  if (best > plan.max_live_bytes)
    sorted_by([&](auto i) { return std::pair(length(i) * sizes[i], sizes[i]); });
  if (best > plan.max_live_bytes) sorted_by([&](auto i) { return std::pair(-items[i].first, sizes[i]); });
  if (best > plan.max_live_bytes) sorted_by([&](auto i) { return std::pair(items[i].last, sizes[i]); });

  // Move a block that touches the top to the front of the order and try again.
  for (int round = 0; round < 64 && best > plan.max_live_bytes; ++round) {
    std::vector<std::uint32_t> top;
    for (const std::uint32_t i : best_order)
      if (plan.offsets[i] + sizes[i] == best) top.push_back(i);
    bool better = false;
    for (const std::uint32_t i : top) {
      order = best_order;
      const auto at = std::find(order.begin(), order.end(), i);
      std::rotate(order.begin(), at, at + 1);
      if ((better = attempt())) break;
    }
    if (!better) break;
  }

  // Greedy orders get stuck when two large blocks, neither at the top, lie the wrong way round. A walk gets
  // out: a block at the top, or one that is alive beside it, moves to a random earlier place in the order,
  // and steps sideways are taken too. Where that leads nowhere it starts again from the best order, a few
  // blocks moved. Seeded, and bounded by work and not by time, so that equal inputs give equal plans.
  constexpr std::uint64_t kSeed = 124;
  constexpr std::size_t kBudget = 40'000'000, kCloseEnough = 1000, kStuck = 300, kLarge = 64;
  const auto good = [&] { return best - plan.max_live_bytes <= plan.max_live_bytes / kCloseEnough; };
  std::vector<std::uint32_t> current = best_order;
  std::size_t current_height = best;
  std::vector<std::size_t> current_offsets = plan.offsets;
  std::size_t stuck = 0;  // rounds without a better plan
  for (std::size_t round = 0; round * placer.work() < kBudget && !good(); ++round) {
    const Philox4 random = philox4x32(kSeed, round, 0);
    if (++stuck > kStuck) {
      stuck = 0;
      current = best_order;
      for (const std::uint32_t r : random.v) {
        const auto from =
            current.begin() + static_cast<std::ptrdiff_t>(r % std::min<std::size_t>(current.size(), kLarge));
        std::rotate(current.begin() + static_cast<std::ptrdiff_t>((r / 7919) % (from - current.begin() + 1)),
                    from, from + 1);
      }
      current_height = placer.place(current, current_offsets, std::numeric_limits<std::size_t>::max());
      continue;
    }
    std::vector<std::uint32_t> top;
    for (const std::uint32_t i : current)
      if (current_offsets[i] + sizes[i] == current_height) top.push_back(i);
    std::uint32_t moved = top[random.v[0] % top.size()];
    const auto& beside = placer.beside(moved);
    if (random.v[1] % 2 == 0 && !beside.empty()) moved = beside[random.v[2] % beside.size()];
    order = current;
    const auto from = std::find(order.begin(), order.end(), moved);
    std::rotate(order.begin() + random.v[3] % (from - order.begin() + 1), from, from + 1);
    const std::size_t height = placer.place(order, offsets, current_height + 1, round % 4 == 3);
    if (height > current_height) continue;
    current = order;
    current_height = height;
    current_offsets = offsets;
    if (height >= best) continue;
    best = height;
    best_order = order;
    stuck = 0;
    for (const std::uint32_t i : used) plan.offsets[i] = offsets[i];
  }
  plan.arena_bytes = best;
  return plan;
}

}  // namespace ingot
