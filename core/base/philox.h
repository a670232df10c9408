// Philox4x32-10, a counter-based generator: random bits are a pure function of (key, counter).
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Element i of a
// random tensor uses counter i/4 and lane i%4, so the result does not depend on the number of threads, and
// CPU and GPU give the same bits.
//
//   Philox rng(seed, stream);            // key = seed; stream goes to the counter's high half
//   auto four = rng(block);              // std::array<uint32_t, 4>
//   float u = uniform01(four[0]);        // in [0, 1)
//
// No CUDA include: the same header compiles under g++, nvcc and NVRTC.
#pragma once

#ifdef __CUDACC__
#define INGOT_HOST_DEVICE __host__ __device__
#else
#define INGOT_HOST_DEVICE
#endif

#ifndef __CUDACC_RTC__
#include <cmath>
#include <cstdint>
#endif

namespace ingot {

struct Philox4 {
  std::uint32_t v[4];
};

INGOT_HOST_DEVICE inline Philox4 philox4x32(std::uint64_t key, std::uint64_t counter_lo,
                                            std::uint64_t counter_hi) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::uint32_t c0 = static_cast<std::uint32_t>(counter_lo),
                c1 = static_cast<std::uint32_t>(counter_lo >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(counter_hi),
                c3 = static_cast<std::uint32_t>(counter_hi >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// [0, 1), 24 bits, exact in f32.
INGOT_HOST_DEVICE inline float uniform01(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

// [lo, hi), 24 random bits. One rounding whatever the compiler contracts, so all backends agree bit by bit.
template <class T>
INGOT_HOST_DEVICE inline T uniform_in(std::uint32_t bits, T lo, T hi) {
  const T v = std::fma(static_cast<T>(uniform01(bits)), hi - lo, lo);
  return v < hi ? v : std::nextafter(hi, lo);
}

// Two independent standard normal numbers from two words.
// Source: Box, Muller, "A note on the generation of random normal deviates", 1958.
template <class T>
INGOT_HOST_DEVICE inline void box_muller(std::uint32_t a, std::uint32_t b, T& z0, T& z1) {
  const T u = (static_cast<T>(a >> 8) + T(1)) * T(0x1p-24);  // (0, 1]: the logarithm is finite
  const T radius = std::sqrt(T(-2) * std::log(u));
  const T angle = T(6.283185307179586476925287) * static_cast<T>(uniform01(b));
  z0 = radius * std::cos(angle);
  z1 = radius * std::sin(angle);
}

class Philox {
 public:
  INGOT_HOST_DEVICE Philox(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  INGOT_HOST_DEVICE Philox4 operator()(std::uint64_t block) const {
    return philox4x32(seed_, block, stream_);
  }
  INGOT_HOST_DEVICE std::uint32_t bits(std::uint64_t index) const { return (*this)(index / 4).v[index % 4]; }

 private:
  std::uint64_t seed_, stream_;
};

}  // namespace ingot
