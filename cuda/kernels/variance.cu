// Variance.
//
//   y[o, i] = sum_l (x[o, l, i] - mean)^2 / max(0, length - correction)
//
// Bytes that must move: x once, y once. Work is divided as fold.h says. A thread keeps count n, mean m and
// sum of squared distances q of its elements, taken relative to the row's first one so that a large common
// part costs no digits: n' = n + 1, d = x - m, m' = m + d / n', q' = q + d (x - m') (Welford 1962); two
// states join as q = q_a + q_b + (m_b - m_a)^2 n_a n_b / n (Chan, Golub, LeVeque 1979).
#include "cuda/kernels/variance.h"

#include <algorithm>

#include "core/base/error.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/fold.h"

namespace ingot::cuda::variance_kernels {

using namespace gpu;

struct Moments {
  float count, mean, squares;
};

template <class T>
struct Variance {
  using Element = T;
  using State = Moments;
  using Result = T;

  float divisor;
  float pivot = 0.0f;

  __device__ void begin(const T* first) { pivot = widen(*first); }
  __device__ Moments start() const { return {0.0f, 0.0f, 0.0f}; }
  __device__ void take(Moments& s, T x, long long) const {
    const float v = widen(x) - pivot, distance = v - s.mean;
    s.count += 1.0f;
    s.mean += __fdividef(distance, s.count);
    s.squares += distance * (v - s.mean);
  }
  __device__ Moments join(Moments a, Moments b) const {
    const float count = a.count + b.count;
    if (count == 0.0f) return a;
    const float apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * (a.count * share)};
  }
  __device__ Moments shuffled(Moments s, int step) const {
    return {shuffle_xor(s.count, step), shuffle_xor(s.mean, step), shuffle_xor(s.squares, step)};
  }
  __device__ T finish(Moments s) const { return narrow<T>(s.squares / divisor); }
};

}  // namespace ingot::cuda::variance_kernels

namespace ingot::cuda {

std::size_t variance_workspace(const ReduceShape& s) {
  return fold_kernels::fold_workspace(s, sizeof(variance_kernels::Moments));
}

void variance(DType dtype, const void* x, void* y, const ReduceShape& s, double correction, void* workspace,
              const Stream& stream) {
  using variance_kernels::Variance;
  if (dtype != DType::F32 && dtype != DType::F16 && dtype != DType::BF16)
    throw UsageError(cat("variance on a GPU takes f32, f16 or bf16, got ", name(dtype)));
  if (s.outer == 0 || s.inner == 0) return;
  const double divisor = std::max(0.0, static_cast<double>(s.length) - correction);
  if (s.length == 0)
    return fill(element_bits(dtype, 0.0 / divisor), size_of(dtype), y, s.outer * s.inner, stream);
  const auto go = [&]<class T>(Variance<T> f) {
    fold_kernels::launch_fold<true>(f, x, y, s, workspace, stream);
  };
  const auto over = static_cast<float>(divisor);
  if (dtype == DType::F32)
    go(Variance<float>{over});
  else if (dtype == DType::F16)
    go(Variance<__half>{over});
  else
    go(Variance<__nv_bfloat16>{over});
}

}  // namespace ingot::cuda
