// Random numbers, and dropout.
//
//   word(i)  = philox4x32(seed, i / 4, (offset << 20) + stream)[i % 4],  u = (word >> 8) / 2^24
//   uniform    y = lo + u (hi - lo)
//   normal     y(2k), y(2k + 1) = mean + stddev sqrt(-2 log u') (cos, sin)(2 pi u'')
//   dropout    keep = u >= p;  y = keep ? x / (1 - p) : 0
//
// Bytes that must move: y once; for dropout x, y and a byte of the mask; for its gradient the same. A thread
// of uniform and dropout draws two counters, which are eight elements in a row: 16 or 32 bytes and 8 of the
// mask. Images in channels-last order have their eight elements apart, so there a thread has one: ten rounds
// of Philox cost less than two changes of layout. A thread of normal has the two results of one Box-Muller
// step; its arithmetic in f64, not the memory, takes the time.
#include "cuda/kernels/random.h"

#include "core/base/error.h"
#include "core/base/philox.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/tensor_table.h"

namespace ingot::cuda::random_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kOwn = 8;  // elements of a thread

// The generator of one op, from its state.
__device__ inline Philox generator(const long long* state, long long stream) {
  return {static_cast<unsigned long long>(state[0]), random_stream(state[1], stream)};
}

__device__ inline void draw8(const Philox& rng, long long at, unsigned (&words)[kOwn]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const Philox4 four = rng(static_cast<unsigned long long>(at / 4 + half));
#pragma unroll
    for (int k = 0; k < 4; ++k) words[4 * half + k] = four.v[k];
  }
}

__device__ inline long long first_of_thread(int own) {
  return (static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * own;
}

// ---- Draws ----------------------------------------------------------------------------------------------

// Bound by: bandwidth (stores).
template <class T>
__global__ void __launch_bounds__(kThreads)
    uniform_kernel(T* y, long long count, bool wide, const long long* state, long long stream, float lo,
                   float hi) {
  const long long at = first_of_thread(kOwn);
  if (at >= count) return;
  unsigned words[kOwn];
  draw8(generator(state, stream), at, words);
  float v[kOwn];
#pragma unroll
  for (int k = 0; k < kOwn; ++k) v[k] = uniform_in<float>(words[k], lo, hi);
  if (wide && at + kOwn <= count) {
    store8(y + at, v);
  } else {
#pragma unroll
    for (int k = 0; k < kOwn; ++k)
      if (at + k < count) y[at + k] = narrow<T>(v[k]);
  }
}

// Bound by: arithmetic: sine, cosine and logarithm in f64.
template <class T>
__global__ void __launch_bounds__(kThreads) normal_kernel(T* y, long long count, const long long* state,
                                                          long long stream, double mean, double stddev) {
  const long long at = first_of_thread(2);
  if (at >= count) return;
  const Philox4 four = generator(state, stream)(static_cast<unsigned long long>(at / 4));
  double z[2];
  box_muller<double>(at % 4 == 0 ? four.v[0] : four.v[2], at % 4 == 0 ? four.v[1] : four.v[3], z[0], z[1]);
  y[at] = narrow<T>(static_cast<float>(mean + stddev * z[0]));
  if (at + 1 < count) y[at + 1] = narrow<T>(static_cast<float>(mean + stddev * z[1]));
}

// ---- Dropout --------------------------------------------------------------------------------------------

// 1 / (1 - p). The CPU multiplies f32 by it as an f32, and half types in f64; their product is had here in
// two f32, which gives the same bits: `low` is what `high` lacks.
struct Scale {
  float high, low;
};

template <class T>
__device__ inline float scaled(float x, const Scale& s) {
  const float product = x * s.high;
  if constexpr (sizeof(T) == 4) {
    return product;
  } else {
    constexpr float kMost = 3.402823466e38f;
    const float rest = fmaf(x, s.high, -product) + x * s.low;
    return product <= kMost && product >= -kMost ? product + rest : product;  // else NaN would come of it
  }
}

// Bound by: bandwidth (loads, stores).
template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(const T* x, T* y, bool* mask, long long count, bool wide, const long long* state,
                   long long stream, float p, Scale scale) {
  const long long at = first_of_thread(kOwn);
  if (at >= count) return;
  const bool whole = wide && at + kOwn <= count;
  float v[kOwn];
  if (whole) {
    load8(x + at, v);
  } else {
#pragma unroll
    for (int k = 0; k < kOwn; ++k) v[k] = at + k < count ? widen(x[at + k]) : 0.0f;
  }
  unsigned words[kOwn];
  draw8(generator(state, stream), at, words);
  unsigned kept[2] = {0, 0};  // bytes
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    const bool keep = uniform01(words[k]) >= p;
    v[k] = keep ? scaled<T>(v[k], scale) : 0.0f;
    kept[k / 4] |= (keep ? 1u : 0u) << (k % 4 * 8);
  }
  if (whole) {
    store8(y + at, v);
    *reinterpret_cast<uint2*>(mask + at) = make_uint2(kept[0], kept[1]);
  } else {
#pragma unroll
    for (int k = 0; k < kOwn; ++k)
      if (at + k < count) {
        y[at + k] = narrow<T>(v[k]);
        mask[at + k] = (kept[k / 4] >> (k % 4 * 8) & 1u) != 0;
      }
  }
}

// One element; Index is unsigned while it can count them, because its divisions are far cheaper.
// Bound by: arithmetic: ten rounds of Philox for each element.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    dropout_images_kernel(const T* x, T* y, bool* mask, Index count, Index channels, Index pixels,
                          const long long* state, long long stream, float p, Scale scale) {
  const long long at = first_of_thread(1);
  if (at >= static_cast<long long>(count)) return;
  const Index place = static_cast<Index>(at), channel = place % channels, rest = place / channels;
  const Index pixel = rest % pixels, image = rest / pixels;
  const unsigned long long number =
      static_cast<unsigned long long>((image * channels + channel) * pixels + pixel);
  const Philox4 four = generator(state, stream)(number / 4);
  const unsigned lane = static_cast<unsigned>(number % 4);
  const unsigned word = lane < 2 ? (lane == 0 ? four.v[0] : four.v[1]) : (lane == 2 ? four.v[2] : four.v[3]);
  const bool keep = uniform01(word) >= p;
  y[at] = narrow<T>(keep ? scaled<T>(widen(x[at]), scale) : 0.0f);
  mask[at] = keep;
}

// Bound by: bandwidth (loads, stores).
template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_grad_kernel(const T* dy, const bool* mask, T* dx, long long count, bool wide, Scale scale) {
  const long long at = first_of_thread(kOwn);
  if (at >= count) return;
  float v[kOwn];
  if (wide && at + kOwn <= count) {
    load8(dy + at, v);
    const uint2 kept = *reinterpret_cast<const uint2*>(mask + at);
#pragma unroll
    for (int k = 0; k < kOwn; ++k)
      v[k] = ((k < 4 ? kept.x : kept.y) >> (k % 4 * 8) & 1u) != 0 ? scaled<T>(v[k], scale) : 0.0f;
    store8(dx + at, v);
  } else {
#pragma unroll
    for (int k = 0; k < kOwn; ++k)
      if (at + k < count) dx[at + k] = narrow<T>(mask[at + k] ? scaled<T>(widen(dy[at + k]), scale) : 0.0f);
  }
}

// ---- Launches -------------------------------------------------------------------------------------------

// fn(T*) for the type of `dtype`.
template <class Fn>
void typed(std::string_view op, DType dtype, Fn fn) {
  if (dtype == DType::F32)
    fn(static_cast<float*>(nullptr));
  else if (dtype == DType::F16)
    fn(static_cast<__half*>(nullptr));
  else if (dtype == DType::BF16)
    fn(static_cast<__nv_bfloat16*>(nullptr));
  else
    throw UsageError(cat(op, " on a GPU computes f32, f16 or bf16, got ", name(dtype)));
}

dim3 grid_for(std::int64_t count, int own) {
  return dim3(blocks_for(static_cast<std::size_t>(count), static_cast<unsigned>(kThreads * own)));
}

bool aligned(const void* p, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

const long long* words_of(const RandomSource& source) {
  return reinterpret_cast<const long long*>(source.state);
}

Scale scale_of(DType dtype, double p) {
  const double scale = p < 1.0 ? 1.0 / (1.0 - p) : 0.0;
  const auto high = static_cast<float>(scale);
  return {high, dtype == DType::F32 ? 0.0f : static_cast<float>(scale - static_cast<double>(high))};
}

}  // namespace ingot::cuda::random_kernels

namespace ingot::cuda {

using namespace random_kernels;

void uniform(DType dtype, void* y, std::int64_t count, const RandomSource& source, double lo, double hi,
             const Stream& stream) {
  typed("uniform", dtype, [&]<class T>(T*) {
    if (count == 0) return;
    launch(uniform_kernel<T>, grid_for(count, kOwn), dim3(kThreads), 0, stream, static_cast<T*>(y), count,
           aligned(y, 16), words_of(source), source.stream, static_cast<float>(lo), static_cast<float>(hi));
  });
}

void normal(DType dtype, void* y, std::int64_t count, const RandomSource& source, double mean, double stddev,
            const Stream& stream) {
  typed("normal", dtype, [&]<class T>(T*) {
    if (count == 0) return;
    launch(normal_kernel<T>, grid_for(count, 2), dim3(kThreads), 0, stream, static_cast<T*>(y), count,
           words_of(source), source.stream, mean, stddev);
  });
}

void dropout(DType dtype, const void* x, void* y, bool* mask, const DropoutShape& s,
             const RandomSource& source, double p, const Stream& stream) {
  const auto drop = static_cast<float>(p);
  const Scale scale = scale_of(dtype, p);
  typed("dropout", dtype, [&]<class T>(T*) {
    if (s.count == 0) return;
    const auto* const from = static_cast<const T*>(x);
    auto* const to = static_cast<T*>(y);
    const auto images = [&]<class Index>(Index) {
      launch(dropout_images_kernel<T, Index>, grid_for(s.count, 1), dim3(kThreads), 0, stream, from, to, mask,
             s.count, s.channels, s.pixels, words_of(source), source.stream, drop, scale);
    };
    if (s.channels > 1 && s.pixels > 1) {
      if (s.count <= 0xffffffffll)
        images(0u);
      else
        images(0ull);
    } else {
      const bool wide = aligned(x, 16) && aligned(y, 16) && aligned(mask, 8);
      launch(dropout_kernel<T>, grid_for(s.count, kOwn), dim3(kThreads), 0, stream, from, to, mask, s.count,
             wide, words_of(source), source.stream, drop, scale);
    }
  });
}

void dropout_grad(DType dtype, const void* dy, const bool* mask, void* dx, std::int64_t count, double p,
                  const Stream& stream) {
  const Scale scale = scale_of(dtype, p);
  typed("dropout_grad", dtype, [&]<class T>(T*) {
    if (count == 0) return;
    const bool wide = aligned(dy, 16) && aligned(dx, 16) && aligned(mask, 8);
    launch(dropout_grad_kernel<T>, grid_for(count, kOwn), dim3(kThreads), 0, stream,
           static_cast<const T*>(dy), mask, static_cast<T*>(dx), count, wide, scale);
  });
}

}  // namespace ingot::cuda
