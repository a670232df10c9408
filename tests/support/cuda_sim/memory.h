// The device's memory, and pinned host memory.
//
// One range of addresses is reserved; an allocation takes pages of its own, ends within 255 bytes of an
// inaccessible page, and its addresses are never given out again, so that a use after free or a long overrun
// faults on any build. Contents start as 0xFF bytes: NaN in every float type. Outside an operation of the
// device all of it is inaccessible: host code that reads device memory dies at that line. Bytes behind the
// end are a redzone that is checked at the free.
//
// An allocation has a place in its stream's order: it is Reserved from the call, Live from its turn, Freed
// from the turn of its free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ingot::sim {

// Who touched a byte last, for the race detector; defined in access.h.
struct Cell;

struct Allocation {
  enum class State { Reserved, Live, Freed };
  std::size_t id = 0;  // counted from 1, for messages
  std::uintptr_t base = 0;
  std::size_t bytes = 0;
  std::uintptr_t first_page = 0;
  std::size_t page_bytes = 0;  // without the inaccessible page behind
  State state = State::Reserved;
  bool freeing = false;   // a free was issued
  Cell* cells = nullptr;  // one per byte, mapped on first use
};

std::string describe(const Allocation& allocation);

class Memory {
 public:
  explicit Memory(std::size_t limit);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Null when `bytes` do not fit below the limit.
  Allocation* reserve(std::size_t bytes);
  void make_live(Allocation& allocation);
  void release(Allocation& allocation);

  bool contains(std::uintptr_t address) const { return address - base_ < kReserved; }
  // The allocation whose pages hold the address, freed ones included; null between them.
  Allocation* find(std::uintptr_t address);
  Allocation* find_base(const void* pointer);

  // Between these two, live allocations are accessible. Calls nest.
  void open();
  void close();

  std::size_t used() const { return used_; }
  std::size_t limit() const { return limit_; }
  std::vector<const Allocation*> live() const;

  // Reports every live allocation whose redzone was written.
  void check_redzones() const;

  void* pin(std::size_t bytes);
  bool unpin(void* pointer);
  // The pinned buffer that holds the address, as (base, bytes); (0, 0) for none.
  std::pair<std::uintptr_t, std::size_t> pinned(std::uintptr_t address) const;
  const std::map<std::uintptr_t, std::size_t>& all_pinned() const { return pinned_; }

  Cell* cells_of(Allocation& allocation);
  void forget_accesses();

 private:
  static constexpr std::size_t kReserved = std::size_t{1} << 38;

  void protect(const Allocation& allocation, bool accessible) const;
  void check_redzone(const Allocation& allocation) const;

  std::uintptr_t base_ = 0, next_ = 0;
  std::size_t limit_, used_ = 0;
  int open_ = 0;
  std::map<std::uintptr_t, Allocation> allocations_;  // by first page
  Allocation* last_ = nullptr;
  std::map<std::uintptr_t, std::size_t> pinned_;
};

}  // namespace ingot::sim
