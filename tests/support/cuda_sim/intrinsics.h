// CUDA's built-in device functions, for g++ (included by prelude.h alone). Only names that our kernels use
// have a place here; a kernel that needs another one adds it, with the meaning of the CUDA C++ Programming
// Guide.
#pragma once

#define INGOT_SIM_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(INGOT_SIM_SITE) {
  ::ingot::sim::barrier(file, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, INGOT_SIM_SITE) {
  ::ingot::sim::warp_barrier(mask, file, line);
}
inline void __threadfence() {
  ::ingot::sim::fence();
}
inline void __threadfence_block() {}
inline unsigned __activemask() {
  return ::ingot::sim::active_lanes();
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, INGOT_SIM_SITE) {
  ::ingot::sim::warp_shuffle(::ingot::sim::Shuffle::Index, mask, &value, sizeof(T), lane, width, file, line);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, INGOT_SIM_SITE) {
  ::ingot::sim::warp_shuffle(::ingot::sim::Shuffle::Xor, mask, &value, sizeof(T), lane_mask, width, file,
                             line);
  return value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, INGOT_SIM_SITE) {
  ::ingot::sim::warp_shuffle(::ingot::sim::Shuffle::Up, mask, &value, sizeof(T), static_cast<int>(delta),
                             width, file, line);
  return value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, INGOT_SIM_SITE) {
  ::ingot::sim::warp_shuffle(::ingot::sim::Shuffle::Down, mask, &value, sizeof(T), static_cast<int>(delta),
                             width, file, line);
  return value;
}

inline unsigned __ballot_sync(unsigned mask, int predicate, INGOT_SIM_SITE) {
  return ::ingot::sim::warp_ballot(mask, predicate != 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, INGOT_SIM_SITE) {
  return ::ingot::sim::warp_ballot(mask, predicate != 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, INGOT_SIM_SITE) {
  return ::ingot::sim::warp_ballot(mask, predicate == 0, file, line) == 0;
}

// ---- Atomics: all return the old value ----
#define INGOT_SIM_ATOMIC(name, expression)                                                                 \
  template <class T>                                                                                       \
  INGOT_SIM_NO_CALLBACKS T name(T* address, std::type_identity_t<T> value) {                               \
    return ::ingot::sim::atomic_update(address,                                                            \
                                       [value](T old) INGOT_SIM_NO_CALLBACKS -> T { return expression; }); \
  }
INGOT_SIM_ATOMIC(atomicAdd, static_cast<T>(old + value))
INGOT_SIM_ATOMIC(atomicSub, static_cast<T>(old - value))
INGOT_SIM_ATOMIC(atomicMax, old > value ? old : value)
INGOT_SIM_ATOMIC(atomicMin, old < value ? old : value)
INGOT_SIM_ATOMIC(atomicAnd, static_cast<T>(old& value))
INGOT_SIM_ATOMIC(atomicOr, static_cast<T>(old | value))
INGOT_SIM_ATOMIC(atomicXor, static_cast<T>(old ^ value))
INGOT_SIM_ATOMIC(atomicExch, (static_cast<void>(old), value))
// Counts up to `value`, then starts again at 0.
INGOT_SIM_ATOMIC(atomicInc, old >= value ? T(0) : static_cast<T>(old + 1))
#undef INGOT_SIM_ATOMIC

template <class T>
INGOT_SIM_NO_CALLBACKS T atomicCAS(T* address, std::type_identity_t<T> compare,
                                   std::type_identity_t<T> value) {
  return ::ingot::sim::atomic_update(
      address, [=](T old) INGOT_SIM_NO_CALLBACKS -> T { return old == compare ? value : old; });
}

// ---- Graphs ----
inline void cudaGraphSetConditional(unsigned long long handle, unsigned value) {
  ::ingot::sim::set_condition(handle, value);
}

// ---- Loads with a cache hint, bits, maths ----
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
