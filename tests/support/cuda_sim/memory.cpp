#include "tests/support/cuda_sim/memory.h"

#include <sys/mman.h>

#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/access.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;  // what cudaMalloc promises
constexpr unsigned char kRedzone = 0xC5;

std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

void* reserve_range(std::size_t bytes, const char* what) {
  void* const range = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED)
    throw UsageError(cat("the simulated device could not reserve ", bytes, " bytes of address space for ",
                         what, "; raise the limit of `ulimit -v`"));
  return range;
}

}  // namespace

std::string describe(const Allocation& a) {
  return cat("allocation #", a.id, " of ", a.bytes, " bytes");
}

Memory::Memory(std::size_t limit)
    : base_(reinterpret_cast<std::uintptr_t>(reserve_range(kReserved, "its memory"))),
      next_(base_),
      limit_(limit) {}

Memory::~Memory() {
  forget_accesses();
  munmap(reinterpret_cast<void*>(base_), kReserved);
  for (const auto& [address, bytes] : pinned_)
    munmap(reinterpret_cast<void*>(address), round_up(bytes, kPage));
}

Allocation* Memory::reserve(std::size_t bytes) {
  if (bytes > limit_ - used_) return nullptr;
  Allocation a;
  a.id = allocations_.size() + 1;
  a.bytes = bytes;
  a.page_bytes = round_up(round_up(bytes, kAlignment), kPage);
  if (next_ + a.page_bytes + kPage > base_ + kReserved) return nullptr;
  a.first_page = next_;
  a.base = a.first_page + a.page_bytes - round_up(bytes, kAlignment);
  next_ += a.page_bytes + kPage;
  used_ += bytes;
  return &allocations_.emplace(a.first_page, a).first->second;
}

void Memory::protect(const Allocation& a, bool accessible) const {
  if (mprotect(reinterpret_cast<void*>(a.first_page), a.page_bytes,
               accessible ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
    throw UsageError(
        "the simulated device could not change the protection of its memory (mprotect failed): too many "
        "live allocations for this machine's vm.max_map_count");
}

void Memory::make_live(Allocation& a) {
  a.state = Allocation::State::Live;
  protect(a, true);
  std::memset(reinterpret_cast<void*>(a.base), 0xFF, a.bytes);
  std::memset(reinterpret_cast<void*>(a.base + a.bytes), kRedzone,
              a.first_page + a.page_bytes - a.base - a.bytes);
  std::memset(reinterpret_cast<void*>(a.first_page), kRedzone, a.base - a.first_page);
  if (open_ == 0) protect(a, false);
}

void Memory::release(Allocation& a) {
  if (a.state == Allocation::State::Live) {
    open();
    check_redzone(a);
    close();
  }
  a.state = Allocation::State::Freed;
  protect(a, false);
  madvise(reinterpret_cast<void*>(a.first_page), a.page_bytes, MADV_DONTNEED);
  if (a.cells != nullptr) munmap(a.cells, a.bytes * sizeof(Cell));
  a.cells = nullptr;
  used_ -= a.bytes;
}

Allocation* Memory::find(std::uintptr_t address) {
  if (last_ != nullptr && address - last_->first_page < last_->page_bytes) return last_;
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return nullptr;
  Allocation& a = std::prev(next)->second;
  if (address - a.first_page >= a.page_bytes + kPage) return nullptr;
  return last_ = &a;
}

Allocation* Memory::find_base(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (!contains(address)) return nullptr;
  Allocation* const a = find(address);
  return a != nullptr && a->base == address ? a : nullptr;
}

void Memory::open() {
  if (open_++ > 0) return;
  for (const auto& [page, a] : allocations_)
    if (a.state == Allocation::State::Live) protect(a, true);
}

void Memory::close() {
  if (--open_ > 0) return;
  for (const auto& [page, a] : allocations_)
    if (a.state == Allocation::State::Live) protect(a, false);
}

std::vector<const Allocation*> Memory::live() const {
  std::vector<const Allocation*> list;
  for (const auto& [page, a] : allocations_)
    if (a.state != Allocation::State::Freed) list.push_back(&a);
  return list;
}

void Memory::check_redzone(const Allocation& a) const {
  const auto look = [&a](std::uintptr_t from, std::uintptr_t to) {
    for (auto* p = reinterpret_cast<unsigned char*>(from); p < reinterpret_cast<unsigned char*>(to); ++p) {
      if (*p == kRedzone) continue;
      report(Fault::OutOfBounds,
             cat("a kernel wrote at byte ",
                 static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(p) - a.base), " of ",
                 describe(a), "; check its index against the size"));
      std::memset(reinterpret_cast<void*>(from), kRedzone, to - from);  // told once
      return;
    }
  };
  look(a.first_page, a.base);
  look(a.base + a.bytes, a.first_page + a.page_bytes);
}

void Memory::check_redzones() const {
  for (const auto& [page, a] : allocations_)
    if (a.state == Allocation::State::Live) check_redzone(a);
}

void* Memory::pin(std::size_t bytes) {
  void* const p =
      mmap(nullptr, round_up(bytes, kPage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  std::memset(p, 0xFF, bytes);
  pinned_.emplace(reinterpret_cast<std::uintptr_t>(p), bytes);
  return p;
}

bool Memory::unpin(void* pointer) {
  const auto found = pinned_.find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == pinned_.end()) return false;
  munmap(pointer, round_up(found->second, kPage));
  pinned_.erase(found);
  return true;
}

std::pair<std::uintptr_t, std::size_t> Memory::pinned(std::uintptr_t address) const {
  auto next = pinned_.upper_bound(address);
  if (next == pinned_.begin()) return {0, 0};
  --next;
  if (address - next->first >= next->second) return {0, 0};
  return *next;
}

Cell* Memory::cells_of(Allocation& a) {
  if (a.cells == nullptr) {
    void* const range = mmap(nullptr, a.bytes * sizeof(Cell), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
      throw UsageError(cat("the race detector could not map its cells for ", describe(a),
                           "; use smaller shapes, or switch check_races off"));
    a.cells = static_cast<Cell*>(range);
  }
  return a.cells;
}

void Memory::forget_accesses() {
  for (auto& [page, a] : allocations_) {
    if (a.cells != nullptr) munmap(a.cells, a.bytes * sizeof(Cell));
    a.cells = nullptr;
  }
}

}  // namespace ingot::sim
