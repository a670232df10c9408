// Divider: division by a number the host knows, for kernels that turn a flat index into coordinates.
//
// quotient(n) equals n / divisor for every 0 <= n < 2^63: a multiplication and a shift below 2^31 (Granlund
// and Montgomery, "Division by invariant integers using multiplication", 1994), a division beyond. For .cu
// files; the host makes it, a kernel takes it by value. The divisor is positive.
//
//   const Divider row(width);                                  // host
//   const long long y = row.quotient(i), x = i - y * row.divisor;   // kernel
#pragma once

#include "cuda/base/kernel.h"

namespace ingot::gpu {

struct Divider {
  long long divisor = 1;
  unsigned magic = 1, shift = 0;

  Divider() = default;
  explicit Divider(long long d) : divisor(d) {
    if (d > (1LL << 31)) {  // larger than every n of the short way
      magic = 0;
      shift = 31;
      return;
    }
    while ((1LL << shift) < d) ++shift;
    const auto one = static_cast<unsigned long long>(1) << 32;
    const auto above = static_cast<unsigned long long>((1LL << shift) - d);
    magic = static_cast<unsigned>(one * above / static_cast<unsigned long long>(d) + 1);
  }

  __device__ long long quotient(long long n) const {
    if (n >= (1LL << 31)) return n / divisor;
    const auto low = static_cast<unsigned>(n);
    return (__umulhi(low, magic) + low) >> shift;
  }
};

}  // namespace ingot::gpu
