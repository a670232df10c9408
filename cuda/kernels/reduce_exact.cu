// Reductions of integers and f64.
//
//   y[o, i] = x[o, 0, i] + ... + x[o, length - 1, i]   (or the mean, the maximum, the minimum)
//
// Bytes that must move: x once, y once. Work is divided as fold.h says. A sum of integers is exact in i64 and
// keeps its low bits, as the CPU's does.
#include "cuda/kernels/reduce_exact.h"

#include <limits>
#include <type_traits>

#include "core/base/error.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/fold.h"

namespace ingot::cuda::reduce_exact_kernels {

using namespace gpu;

template <class T>
struct Exact {
  using Element = T;
  using State = std::conditional_t<std::is_integral_v<T>, long long, double>;
  using Result = T;

  ReduceKind kind;
  State first;  // what a fold of nothing holds
  double count;

  __device__ void begin(const T*) {}
  __device__ State start() const { return first; }
  __device__ State join(State a, State b) const {
    if (kind == ReduceKind::Max) return a > b || a != a ? a : b;
    if (kind == ReduceKind::Min) return a < b || a != a ? a : b;
    return a + b;
  }
  __device__ void take(State& s, T x, long long) const { s = join(s, static_cast<State>(x)); }
  __device__ State shuffled(State s, int step) const { return shuffle_xor(s, step); }
  __device__ T finish(State s) const {
    if constexpr (std::is_same_v<T, double>)
      if (kind == ReduceKind::Mean) return s / count;
    return static_cast<T>(s);
  }
};

template <class T>
void launch_typed(ReduceKind kind, const void* x, void* y, const ReduceShape& s, void* workspace,
                  const Stream& stream) {
  using State = typename Exact<T>::State;
  using Limits = std::numeric_limits<State>;
  constexpr State kLeast = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  constexpr State kMost = Limits::has_infinity ? Limits::infinity() : Limits::max();
  const State first = kind == ReduceKind::Max ? kLeast : kind == ReduceKind::Min ? kMost : State(0);
  fold_kernels::launch_fold<false>(Exact<T>{kind, first, static_cast<double>(s.length)}, x, y, s, workspace,
                                   stream);
}

}  // namespace ingot::cuda::reduce_exact_kernels

namespace ingot::cuda {

void reduce_exact(ReduceKind kind, DType dtype, const void* x, void* y, const ReduceShape& s, void* workspace,
                  const Stream& stream) {
  using namespace reduce_exact_kernels;
  if (kind == ReduceKind::Mean && dtype != DType::F64)
    throw UsageError(cat("the mean takes a floating dtype, got ", name(dtype), "; convert with cast()"));
  switch (dtype) {
    case DType::F64:
      return launch_typed<double>(kind, x, y, s, workspace, stream);
    case DType::I32:
      return launch_typed<int>(kind, x, y, s, workspace, stream);
    case DType::I64:
      return launch_typed<long long>(kind, x, y, s, workspace, stream);
    case DType::U8:
      return launch_typed<unsigned char>(kind, x, y, s, workspace, stream);
    default:
      throw UsageError(cat("reductions on a GPU take a numeric dtype, got ", name(dtype)));
  }
}

}  // namespace ingot::cuda
