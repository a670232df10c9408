// Units: kernels that move bytes without looking at them move the widest piece that shapes and pointers
// allow. For .cu files.
//
// Elements have 1, 2, 4 or 8 bytes and pointers are aligned to them; a unit has 1, 2, 4, 8 or 16.
//
//   const std::size_t unit = widest_unit({row_bytes, address_of(from), address_of(to)});
//   with_unit(unit, [&]<class Unit>(Unit*) { launch(move_kernel<Unit>, ...); });
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "core/base/error.h"
#include "cuda/base/kernel.h"

namespace ingot::cuda {

inline std::size_t address_of(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

// The greatest of 1, 2, 4, 8, 16 that divides each number; zeros are divided by all.
inline std::size_t widest_unit(std::initializer_list<std::size_t> bytes) {
  std::size_t bits = 16;
  for (const std::size_t b : bytes) bits |= b;
  return bits & (~bits + 1);
}

// f(null pointer to an unsigned type of so many bytes).
template <class F>
void with_element(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(static_cast<unsigned char*>(nullptr));
    case 2:
      return f(static_cast<unsigned short*>(nullptr));
    case 4:
      return f(static_cast<unsigned*>(nullptr));
    case 8:
      return f(static_cast<unsigned long long*>(nullptr));
    default:
      throw UsageError(cat("elements have 1, 2, 4 or 8 bytes (16 are moved together), got ", bytes));
  }
}

// 16 bytes as well.
template <class F>
void with_unit(std::size_t bytes, F&& f) {
  if (bytes == 16) return f(static_cast<uint4*>(nullptr));
  with_element(bytes, f);
}

}  // namespace ingot::cuda
