// The shared memory of the running block: named arrays with redzones between, all bytes 0xFF (NaN) at the
// block's start.
//
// An array is identified by its declaration (GPU_SHARED's static), so all threads of the block get the same
// one, in the order in which the first of them came by. Arrays are aligned to 16 bytes and no more, as
// cuda/base/kernel.h says.
//
//   arena.begin_block(dynamic_bytes);
//   void* p = arena.array(&site, "tile", 1024);
//   arena.check_redzones();
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/support/cuda_sim/access.h"

namespace ingot::sim {

class SharedArena {
 public:
  struct Array {
    const void* site;
    const char* name;
    std::size_t offset, bytes;
  };

  SharedArena();
  ~SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;

  void begin_block(std::size_t dynamic_bytes);
  void* array(const void* site, const char* name, std::size_t bytes);
  void* dynamic() const { return base_ + arrays_.front().offset; }
  // Bytes of all arrays together, the dynamic one included.
  std::size_t used() const { return used_; }

  bool contains(std::uintptr_t address) const {
    return address - reinterpret_cast<std::uintptr_t>(base_) < kBytes;
  }
  // The array that holds all of the bytes, or null.
  const Array* find(std::uintptr_t address, std::size_t bytes) const;
  // The array that lies nearest below (or at) the address.
  const Array& nearest(std::uintptr_t address) const;
  std::ptrdiff_t offset_in(const Array& array, std::uintptr_t address) const;
  Cell* cells(std::uintptr_t address) { return cells_ + (address - reinterpret_cast<std::uintptr_t>(base_)); }

  void forget_accesses();

  // The first array whose redzone was written, or null.
  const Array* damaged() const;

 private:
  static constexpr std::size_t kBytes = std::size_t{1} << 20;
  static constexpr std::size_t kGap = 64;

  void place(const void* site, const char* name, std::size_t bytes);

  std::byte* base_ = nullptr;
  Cell* cells_ = nullptr;
  std::vector<Array> arrays_;
  std::size_t next_ = 0, used_ = 0;
};

}  // namespace ingot::sim
