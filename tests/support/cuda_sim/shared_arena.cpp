#include "tests/support/cuda_sim/shared_arena.h"

#include <sys/mman.h>

#include <cstring>

#include "core/base/error.h"

namespace ingot::sim {

namespace {

constexpr std::byte kRedzone{0xC5};

void* map_bytes(std::size_t bytes) {
  void* const range =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) throw UsageError("the simulated device could not map its shared memory");
  return range;
}

}  // namespace

SharedArena::SharedArena()
    : base_(static_cast<std::byte*>(map_bytes(kBytes))),
      cells_(static_cast<Cell*>(map_bytes(kBytes * sizeof(Cell)))) {}

SharedArena::~SharedArena() {
  munmap(base_, kBytes);
  munmap(cells_, kBytes * sizeof(Cell));
}

void SharedArena::begin_block(std::size_t dynamic_bytes) {
  arrays_.clear();
  used_ = 0;
  next_ = 16;  // aligned to 16 and not to 32
  std::memset(base_, static_cast<int>(kRedzone), next_);
  place(nullptr, "dynamic shared memory", dynamic_bytes);
}

void SharedArena::place(const void* site, const char* name, std::size_t bytes) {
  const std::size_t padded = (bytes + 31) / 32 * 32;
  if (next_ + padded + kGap > kBytes)
    throw UsageError(
        cat("shared array '", name, "' of ", bytes, " bytes does not fit the simulator's arena of 1 MiB"));
  arrays_.push_back({site, name, next_, bytes});
  std::memset(base_ + next_, 0xFF, bytes);
  std::memset(base_ + next_ + bytes, static_cast<int>(kRedzone), padded - bytes + kGap);
  next_ += padded + kGap;
  used_ += bytes;
}

void* SharedArena::array(const void* site, const char* name, std::size_t bytes) {
  for (const auto& a : arrays_)
    if (a.site == site) return base_ + a.offset;
  place(site, name, bytes);
  return base_ + arrays_.back().offset;
}

const SharedArena::Array* SharedArena::find(std::uintptr_t address, std::size_t bytes) const {
  const std::size_t offset = address - reinterpret_cast<std::uintptr_t>(base_);
  for (const auto& a : arrays_)
    if (offset >= a.offset && offset + bytes <= a.offset + a.bytes) return &a;
  return nullptr;
}

const SharedArena::Array& SharedArena::nearest(std::uintptr_t address) const {
  const std::size_t offset = address - reinterpret_cast<std::uintptr_t>(base_);
  const Array* best = &arrays_.front();
  for (const auto& a : arrays_)
    if (a.offset <= offset) best = &a;
  return *best;
}

std::ptrdiff_t SharedArena::offset_in(const Array& array, std::uintptr_t address) const {
  return static_cast<std::ptrdiff_t>(address - reinterpret_cast<std::uintptr_t>(base_ + array.offset));
}

void SharedArena::forget_accesses() {
  madvise(cells_, kBytes * sizeof(Cell), MADV_DONTNEED);
}

const SharedArena::Array* SharedArena::damaged() const {
  for (const auto& a : arrays_) {
    const std::size_t end = (a.bytes + 31) / 32 * 32 + kGap;
    for (std::size_t i = a.bytes; i < end; ++i)
      if (base_[a.offset + i] != kRedzone) return &a;
  }
  return nullptr;
}

}  // namespace ingot::sim
