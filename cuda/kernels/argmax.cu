// Index of the first greatest element.
//
//   y[o, i] = the least l with x[o, l, i] >= x[o, m, i] for all m; NaN counts as greater than every number
//
// Bytes that must move: x once, y once. Work is divided as fold.h says. A state is the best element so far
// and where it lies; of equal ones the lower index stays, so that it does not matter in which order states
// are joined.
#include "cuda/kernels/argmax.h"

#include <type_traits>

#include "core/base/error.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/fold.h"

namespace ingot::cuda::argmax_kernels {

using namespace gpu;

// What elements are compared as.
template <class T>
using Seen = std::conditional_t<std::is_integral_v<T>, long long,
                                std::conditional_t<std::is_same_v<T, double>, double, float>>;

template <class V>
struct Best {
  V value;
  long long at;  // -1: none yet
};

template <class T>
struct Argmax {
  using Element = T;
  using State = Best<Seen<T>>;
  using Result = long long;

  __device__ void begin(const T*) {}
  __device__ State start() const { return {Seen<T>(0), -1}; }
  // Indices rise within a thread: an equal element does not replace.
  __device__ void take(State& s, T x, long long index) const {
    Seen<T> v;
    if constexpr (std::is_arithmetic_v<T>)
      v = static_cast<Seen<T>>(x);
    else
      v = widen(x);
    if (s.at < 0 || v > s.value || (v != v && s.value == s.value)) s = {v, index};
  }
  __device__ State join(State a, State b) const {
    if (b.at < 0) return a;
    if (a.at < 0) return b;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool same = a_nan == b_nan && (a_nan || a.value == b.value);
    const bool second = same ? b.at < a.at : b_nan || (!a_nan && b.value > a.value);
    return second ? b : a;
  }
  __device__ State shuffled(State s, int step) const {
    return {shuffle_xor(s.value, step), shuffle_xor(s.at, step)};
  }
  __device__ long long finish(State s) const { return s.at; }
};

}  // namespace ingot::cuda::argmax_kernels

namespace ingot::cuda {

std::size_t argmax_workspace(const ReduceShape& s) {
  using argmax_kernels::Best;
  static_assert(sizeof(Best<float>) == 16 && sizeof(Best<long long>) == 16);
  return fold_kernels::fold_workspace(s, sizeof(Best<long long>));
}

void argmax(DType dtype, const void* x, std::int64_t* y, const ReduceShape& s, void* workspace,
            const Stream& stream) {
  using argmax_kernels::Argmax;
  if (s.length == 0) throw UsageError("argmax of no elements is not defined; the axis has length 0");
  if (s.outer == 0 || s.inner == 0) return;
  const auto go = [&]<bool kVector, class T>(Argmax<T> f) {
    fold_kernels::launch_fold<kVector>(f, x, y, s, workspace, stream);
  };
  switch (dtype) {
    case DType::F32:
      return go.operator()<true>(Argmax<float>{});
    case DType::F16:
      return go.operator()<true>(Argmax<__half>{});
    case DType::BF16:
      return go.operator()<true>(Argmax<__nv_bfloat16>{});
    case DType::F64:
      return go.operator()<false>(Argmax<double>{});
    case DType::I32:
      return go.operator()<false>(Argmax<int>{});
    case DType::I64:
      return go.operator()<false>(Argmax<long long>{});
    case DType::U8:
      return go.operator()<false>(Argmax<unsigned char>{});
    case DType::Bool:
      break;
  }
  throw UsageError("argmax takes a numeric dtype, got bool; convert with cast()");
}

}  // namespace ingot::cuda
