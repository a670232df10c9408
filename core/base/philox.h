// Philox4x32-10, a counter-based generator: random bits are a pure function of (key, counter).
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Element i of a
// random tensor uses counter i/4 and lane i%4, so the result does not depend on the number of threads, and
// CPU and GPU give the same bits.
//
//   Philox rng(seed, stream);            // key = seed; stream goes to the counter's high half
//   Philox4 four = rng(block);           // four.v[0 ... 3]
//   float u = uniform01(four.v[0]);      // in [0, 1)
//
// The same header compiles under g++, nvcc and NVRTC (which has no standard library, hence the plain types),
// so there is one generator. Words and uniform numbers are equal bit for bit on all of them. Box and Muller's
// logarithm, cosine and sine are the compiler's library's: in double they differ by a unit or two in the last
// place between the C library and CUDA, so normal numbers that are then rounded to float or less are equal
// but for a rare last bit.
#pragma once

#ifndef __CUDACC_RTC__
#include <cmath>
#endif

#ifndef INGOT_HOST_DEVICE
#ifdef __CUDACC__
#define INGOT_HOST_DEVICE __host__ __device__
#else
#define INGOT_HOST_DEVICE
#endif
#endif

namespace ingot {

namespace philox {

using Word = unsigned int;        // 32 bits
using Wide = unsigned long long;  // 64 bits

constexpr int kRounds = 10;
constexpr Wide kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr Word kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

#ifdef __CUDACC_RTC__
using ::cos, ::fma, ::log, ::nextafter, ::sin, ::sqrt;
#else
using std::cos, std::fma, std::log, std::nextafter, std::sin, std::sqrt;
#endif

}  // namespace philox

struct Philox4 {
  philox::Word v[4];
};

INGOT_HOST_DEVICE inline Philox4 philox4x32(philox::Wide key, philox::Wide counter_lo,
                                            philox::Wide counter_hi) {
  using philox::Wide, philox::Word;
  Word k0 = static_cast<Word>(key), k1 = static_cast<Word>(key >> 32);
  Word c0 = static_cast<Word>(counter_lo), c1 = static_cast<Word>(counter_lo >> 32);
  Word c2 = static_cast<Word>(counter_hi), c3 = static_cast<Word>(counter_hi >> 32);
  for (int round = 0; round < philox::kRounds; ++round) {
    const Wide p0 = philox::kMultiplier0 * c0, p1 = philox::kMultiplier1 * c2;
    const Word n0 = static_cast<Word>(p1 >> 32) ^ c1 ^ k0;
    const Word n2 = static_cast<Word>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<Word>(p1);
    c3 = static_cast<Word>(p0);
    c0 = n0;
    c2 = n2;
    k0 += philox::kWeyl0;
    k1 += philox::kWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// A generator state {seed, offset} serves 2^20 streams per offset: `offset` counts steps, a stream is one op
// of a graph (core/ops/random.h). This is their counter's high half.
constexpr int kRandomStreamBits = 20;
INGOT_HOST_DEVICE constexpr philox::Wide random_stream(long long offset, long long stream) {
  return (static_cast<philox::Wide>(offset) << kRandomStreamBits) + static_cast<philox::Wide>(stream);
}

// [0, 1), 24 bits, exact in f32.
INGOT_HOST_DEVICE inline float uniform01(philox::Word bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

// [lo, hi), 24 random bits. One rounding whatever the compiler contracts, so all backends agree bit by bit.
template <class T>
INGOT_HOST_DEVICE inline T uniform_in(philox::Word bits, T lo, T hi) {
  const T v = philox::fma(static_cast<T>(uniform01(bits)), hi - lo, lo);
  return v < hi ? v : philox::nextafter(hi, lo);
}

// Two independent standard normal numbers from two words.
// Source: Box, Muller, "A note on the generation of random normal deviates", 1958.
template <class T>
INGOT_HOST_DEVICE inline void box_muller(philox::Word a, philox::Word b, T& z0, T& z1) {
  const T u = (static_cast<T>(a >> 8) + T(1)) * T(0x1p-24);  // (0, 1]: the logarithm is finite
  const T radius = philox::sqrt(T(-2) * philox::log(u));
  const T angle = T(6.283185307179586476925287) * static_cast<T>(uniform01(b));
  z0 = radius * philox::cos(angle);
  z1 = radius * philox::sin(angle);
}

class Philox {
 public:
  INGOT_HOST_DEVICE Philox(philox::Wide seed, philox::Wide stream) : seed_(seed), stream_(stream) {}
  INGOT_HOST_DEVICE Philox4 operator()(philox::Wide block) const { return philox4x32(seed_, block, stream_); }
  INGOT_HOST_DEVICE philox::Word bits(philox::Wide index) const { return (*this)(index / 4).v[index % 4]; }

 private:
  philox::Wide seed_, stream_;
};

}  // namespace ingot
