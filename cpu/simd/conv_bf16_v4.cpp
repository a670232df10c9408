#include "cpu/simd/conv_bf16_kernels.h"

#include "cpu/simd/level.h"

#if defined(__AVX512F__)

#pragma GCC target("avx512bf16")
#include <immintrin.h>

namespace ingot::cpu {
namespace {

using u16 = std::uint16_t;

// Neighbours of two images: the first in the lower halves.
inline __m512i join(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}
inline __m256i join(__m128i a, __m128i b) {
  return _mm256_or_si256(_mm256_cvtepu16_epi32(a), _mm256_slli_epi32(_mm256_cvtepu16_epi32(b), 16));
}

void pack_x(const u16* a, const u16* b, std::int64_t channels, u16* to, std::int64_t pitch) {
  for (std::int64_t c = 0; c < channels; c += 16, to += pitch) {
    const auto at = [c](const u16* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + c)); };
    _mm512_storeu_si512(to, join(at(a), b == nullptr ? _mm256_setzero_si256() : at(b)));
  }
}
void pack_dy(const u16* a, const u16* b, std::int64_t channels, u16* to, std::int64_t pitch) {
  for (std::int64_t c = 0; c < channels; c += 8, to += pitch) {
    const auto at = [c](const u16* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + c)); };
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        join(at(a), b == nullptr ? _mm_setzero_si128() : at(b)));
  }
}

template <int V>
void products_of(const PairedPixels& p, const u16* x, const std::int64_t* offset, const u16* dy,
                 float* sums) {
  constexpr int kOutputs = static_cast<int>(BFloatPairs::kOutputs);
  __m512 s[kOutputs][V];
#pragma GCC unroll 8
  for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) s[o][v] = _mm512_loadu_ps(sums + (o * V + v) * 16);
  const u16* first[V];
  for (int v = 0; v < V; ++v) first[v] = x + offset[v];
  for (std::int64_t pair = 0; pair < p.pairs; ++pair)
    for (std::int64_t row = 0; row < p.rows; ++row) {
      std::int64_t at = pair * p.x_pair + row * p.x_row;
      const u16* d = dy + pair * p.dy_pair + row * p.dy_row;
      for (std::int64_t column = 0; column < p.columns; ++column, at += p.x_column, d += 2 * kOutputs) {
        __m512bh xs[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) xs[v] = (__m512bh)_mm512_loadu_si512(first[v] + at);
#pragma GCC unroll 8
        for (int o = 0; o < kOutputs; ++o) {
          int both;
          __builtin_memcpy(&both, d + 2 * o, sizeof both);
          const __m512bh g = (__m512bh)_mm512_set1_epi32(both);
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) s[o][v] = _mm512_dpbf16_ps(s[o][v], xs[v], g);
        }
      }
    }
#pragma GCC unroll 8
  for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(sums + (o * V + v) * 16, s[o][v]);
}

void products(const PairedPixels& p, int vectors, const u16* x, const std::int64_t* offset, const u16* dy,
              float* sums) {
  (vectors == 3 ? products_of<3> : vectors == 2 ? products_of<2> : products_of<1>)(p, x, offset, dy, sums);
}

void round(const float* from, u16* to, std::int64_t vectors) {
  for (std::int64_t v = 0; v < vectors; ++v) {
    const __m256bh r = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + v * 16));
    __builtin_memcpy(to + v * 16, &r, sizeof r);
  }
}

constexpr BFloatConvKernels kKernels{&pack_x, &pack_dy, &products, &round};

}  // namespace

const BFloatConvKernels* bfloat_conv_kernels() {
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
  return has && cpu_level() == CpuLevel::V4 ? &kKernels : nullptr;
}

}  // namespace ingot::cpu

#else

namespace ingot::cpu {

const BFloatConvKernels* bfloat_conv_kernels() {
  return nullptr;
}

}  // namespace ingot::cpu

#endif
