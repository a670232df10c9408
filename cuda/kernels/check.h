// The first NaN or infinity among many tensors: launches of the kernel in check.cu.
//
// Any floating dtype; everything is read once, 16 bytes at a time where pointers allow it, in as few launches
// as hold the tensors (120 each). The answer is one number in device memory, so that a step can be checked
// within a captured graph and looked at when it is done: kAllFinite, or which tensor and element came first
// in the order of the call. The same answer each time.
//
//   find_not_finite({{{w, n}, {dw, n, DType::BF16}}}, first, stream);
//   copy_to_host(&answer, first, sizeof answer, stream);
//   if (auto bad = not_finite(answer)) ... bad->tensor, bad->element
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct CheckOperand {
  const void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::F32;
};

inline constexpr std::uint64_t kAllFinite = ~std::uint64_t{0};

struct NotFinite {
  std::int64_t tensor = 0;   // its place in the call
  std::int64_t element = 0;  // as it lies in memory
};
// What an answer means; nothing when all were finite.
std::optional<NotFinite> not_finite(std::uint64_t answer);

// Sets *first. At most 2^23 tensors of at most 2^40 elements. Throws UsageError for more, and for a dtype
// that is not floating.
void find_not_finite(std::span<const CheckOperand> tensors, std::uint64_t* first, const Stream& stream);
// The same, but *first stays what it is where it came earlier: what one look found outlives later ones.
void find_more_not_finite(std::span<const CheckOperand> tensors, std::uint64_t* first, const Stream& stream);
// *first = kAllFinite.
void forget_not_finite(std::uint64_t* first, const Stream& stream);

}  // namespace ingot::cuda
