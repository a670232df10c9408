// Random numbers of one sample: a stream that is a pure function of (seed, purpose, epoch, index), so that
// what is drawn for a sample depends neither on the order in which samples are read nor on the number of
// threads.
//
//   Draws draws(seed, "crop", epoch, index);
//   const double share = draws.uniform(0.08, 1.0);
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/base/hash.h"
#include "core/base/philox.h"

namespace ingot {

class Draws {
 public:
  Draws(std::uint64_t seed, std::string_view purpose, std::uint64_t epoch, std::int64_t index)
      : index_(static_cast<std::uint64_t>(index)) {
    Hasher key;
    key.add(seed);
    key.add(purpose);
    key.add(epoch);
    key_ = key.value();
  }

  std::uint32_t bits() {
    if (used_ == 4) {
      block_ = philox4x32(key_, index_, counter_++);
      used_ = 0;
    }
    return block_.v[used_++];
  }
  // In [0, 1), of 53 bits.
  double uniform() {
    const std::uint64_t high = bits() >> 5, low = bits() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // In [0, n).
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>((std::uint64_t{bits()} * static_cast<std::uint64_t>(n)) >> 32);
  }
  bool coin() { return (bits() >> 31) != 0; }
  // Of the distribution Beta(alpha, alpha), by two gammas.
  double beta(double alpha) {
    const double a = gamma(alpha), b = gamma(alpha);
    return a + b > 0.0 ? a / (a + b) : coin() ? 1.0 : 0.0;
  }

 private:
  // Marsaglia and Tsang 2000; below one it is drawn for alpha + 1 and lowered.
  double gamma(double alpha) {
    if (alpha < 1.0) {
      const double u = 1.0 - uniform();
      return gamma(alpha + 1.0) * std::pow(u, 1.0 / alpha);
    }
    const double d = alpha - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      double x = 0.0, unused = 0.0;
      const std::uint32_t first = bits();
      box_muller(first, bits(), x, unused);
      const double v = 1.0 + c * x;
      if (v <= 0.0) continue;
      const double cubed = v * v * v, u = 1.0 - uniform();
      if (std::log(u) < 0.5 * x * x + d - d * cubed + d * std::log(cubed)) return d * cubed;
    }
  }

  std::uint64_t key_ = 0, index_ = 0, counter_ = 0;
  Philox4 block_{};
  unsigned used_ = 4;
};

}  // namespace ingot
