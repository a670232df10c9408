// Softmax cross-entropy with integer labels, fused with the softmax, and its gradient.
//
//   lse = log sum_c exp x[c],   loss = lse - (1 - s) x[label] - s/C sum_c x[c]
//   dx[c] = dloss (exp(x[c] - lse) - s/C - (1 - s) [c = label])
//
// Bytes that must move: x once for the loss; x and dx once for the gradient. No probabilities are stored.
// Rows of up to 2048 classes take a warp, longer ones a block; each element is read once, into a running
// maximum and sum. The loss is put together from differences to the maximum, log sum exp(x - m) + (1 - s)
// (m - x[label]) + s (m - mean x), so that large logits cost a small loss no digits. The order of sums is
// fixed.
#include "cuda/kernels/loss.h"

#include "cuda/base/launch.h"
#include "cuda/kernels/block_reduce.h"
#include "cuda/kernels/dispatch.h"
#include "cuda/kernels/running_softmax.h"

namespace ingot::cuda::loss_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kWarpClasses = 2048;  // rows up to here take a warp

struct Labels {
  const void* data;
  bool wide;  // i64
  long long ignore;

  __device__ long long at(long long row) const {
    return wide ? static_cast<const long long*>(data)[row] : static_cast<const int*>(data)[row];
  }
};

// What a row adds up: the softmax's running numbers, and the sum of x - shift.
struct RowSums {
  Running softmax;
  float sum;
};
__device__ inline RowSums join(RowSums a, RowSums b) {
  return {gpu::join(a.softmax, b.softmax), a.sum + b.sum};
}
__device__ inline RowSums shuffled(RowSums r, int step) {
  return {gpu::shuffled(r.softmax, step), shuffle_xor(r.sum, step)};
}

template <int Group>
__device__ inline RowSums group_join(RowSums value) {
  if constexpr (Group == kWarpSize) {
#pragma unroll
    for (int step = kWarpSize / 2; step > 0; step /= 2) value = join(value, shuffled(value, step));
    return value;
  } else {
    // One after the other: nvcc reads 12 bytes of shared memory as 16, beyond what was written.
    GPU_SHARED(slots, Running, [Group / kWarpSize + 1]);
    GPU_SHARED(sums, float, [Group / kWarpSize + 1]);
    return {block_reduce<Group>(
                value.softmax, &slots[0], [](Running a, Running b) { return gpu::join(a, b); },
                [](Running r, int step) { return gpu::shuffled(r, step); }),
            block_reduce<Group>(
                value.sum, &sums[0], [](float a, float b) { return a + b; },
                [](float v, int step) { return shuffle_xor(v, step); })};
  }
}

// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, int V, int Group>
__global__ void loss_kernel(const T* logits, Labels labels, T* loss, T* lse, long long rows, int classes,
                            float smoothing) {
  constexpr int kAtOnce = V >= 8 ? 1 : 8 / V;  // 8 elements
  const int thread = static_cast<int>(threadIdx.x) % Group;
  const long long row =
      static_cast<long long>(blockIdx.x) * (kThreads / Group) + static_cast<int>(threadIdx.x) / Group;
  if (row >= rows) return;  // the whole group
  const T* const x = logits + row * classes;
  const float first = widen(x[0]);
  const float shift = first - first == 0.0f ? first : 0.0f;  // a number
  RowSums own{nothing(), 0.0f};
  int at = thread * V;
  for (; at + (kAtOnce - 1) * Group * V < classes; at += kAtOnce * Group * V) {
    float v[kAtOnce * V];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      float some[V];
      load_some<V>(x + at + i * Group * V, some);
#pragma unroll
      for (int k = 0; k < V; ++k) v[i * V + k] = some[k];
    }
    own.softmax = add(own.softmax, v);
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < kAtOnce * V; ++k) sum += v[k] - shift;
    own.sum += sum;
  }
  for (; at < classes; at += Group * V) {
    float v[V];
    load_some<V>(x + at, v);
    own.softmax = add(own.softmax, v);
#pragma unroll
    for (int k = 0; k < V; ++k) own.sum += v[k] - shift;
  }
  const RowSums all = group_join<Group>(own);
  if (thread != 0) return;
  const float most = all.softmax.most;
  // A row of minus infinities has no logarithm, here as in the reference.
  const float log_sum = all.softmax.sum == 0.0f ? NAN : logf(all.softmax.sum);
  const long long label = labels.at(row);
  float value = 0.0f;
  if (label != labels.ignore) {
    value = NAN;
    if (label >= 0 && label < classes) {
      value = log_sum + (1.0f - smoothing) * (most - widen(x[label]));
      if (smoothing != 0.0f) value += smoothing * ((most - shift) - all.sum / static_cast<float>(classes));
    }
  }
  loss[row] = narrow<T>(value);
  lse[row] = narrow<T>(most + log_sum);
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, int Group>
__global__ void loss_grad_kernel(const T* dloss, const T* logits, Labels labels, const T* lse, T* dlogits,
                                 long long rows, int classes, float smoothing) {
  const int thread = static_cast<int>(threadIdx.x) % Group;
  const long long row =
      static_cast<long long>(blockIdx.x) * (kThreads / Group) + static_cast<int>(threadIdx.x) / Group;
  if (row >= rows) return;
  const long long label = labels.at(row);
  const bool ignored = label == labels.ignore;
  const float up = ignored ? 0.0f : label < 0 || label >= classes ? NAN : widen(dloss[row]);
  const float total = widen(lse[row]), spread = smoothing / static_cast<float>(classes);
  const T* const x = logits + row * classes;
  T* const to = dlogits + row * classes;
  for (int at = thread * V; at < classes; at += Group * V) {
    float v[V];
    load_some<V>(x + at, v);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float target = spread + (at + k == label ? 1.0f - smoothing : 0.0f);
      v[k] = ignored ? 0.0f : up * (expf(v[k] - total) - target);
    }
    store_some<V>(to + at, v);
  }
}

// One of the two directions, so that both choose alike: for the loss `dloss` is null.
template <class T>
struct Operands {
  const T *dloss, *logits;
  Labels labels;
  const T* lse;
  T *first, *second;  // loss and lse, or dlogits
};

template <class T, int V, int Group>
void launch_group(const Operands<T>& o, const CrossEntropyShape& s, float smoothing, const Stream& stream) {
  const dim3 grid(blocks_for(static_cast<std::size_t>(s.rows), kThreads / Group)), block(kThreads);
  const auto rows = static_cast<long long>(s.rows);
  const int classes = static_cast<int>(s.classes);
  if (o.dloss == nullptr)
    launch(loss_kernel<T, V, Group>, grid, block, 0, stream, o.logits, o.labels, o.first, o.second, rows,
           classes, smoothing);
  else
    launch(loss_grad_kernel<T, V, Group>, grid, block, 0, stream, o.dloss, o.logits, o.labels, o.lse, o.first,
           rows, classes, smoothing);
}

template <class T, int V>
void launch_vectors(const Operands<T>& o, const CrossEntropyShape& s, float smoothing, const Stream& stream) {
  if (s.classes <= kWarpClasses)
    launch_group<T, V, kWarpSize>(o, s, smoothing, stream);
  else
    launch_group<T, V, kThreads>(o, s, smoothing, stream);
}

void launch_any(const char* what, const CrossEntropyConfig& config, const CrossEntropyShape& s,
                const void* dloss, const void* logits, const void* labels, const void* lse, void* first,
                void* second, const Stream& stream) {
  if (config.labels != DType::I32 && config.labels != DType::I64)
    throw UsageError(cat(what, " on a GPU takes labels of i32 or i64, got ", name(config.labels)));
  if (s.classes > std::int64_t{1} << 30)
    throw ShapeError(cat(what, " on a GPU takes up to ", std::int64_t{1} << 30, " classes, got ", s.classes));
  for_floating(what, config.dtype, [&]<class T>(T*) {
    if (s.rows == 0 || s.classes == 0) return;
    constexpr int kVector = Vec16<T>::kSize;
    const Operands<T> o{static_cast<const T*>(dloss),
                        static_cast<const T*>(logits),
                        {labels, config.labels == DType::I64, config.ignore_index},
                        static_cast<const T*>(lse),
                        static_cast<T*>(first),
                        static_cast<T*>(second)};
    const auto smoothing = static_cast<float>(config.label_smoothing);
    // loss and lse are written one by one.
    if (s.classes % kVector == 0 && on_16_bytes({logits, dloss == nullptr ? nullptr : first}))
      launch_vectors<T, kVector>(o, s, smoothing, stream);
    else
      launch_vectors<T, 1>(o, s, smoothing, stream);
  });
}

}  // namespace ingot::cuda::loss_kernels

namespace ingot::cuda {

void cross_entropy(const CrossEntropyConfig& config, const CrossEntropyShape& shape, const void* logits,
                   const void* labels, void* loss, void* lse, const Stream& stream) {
  loss_kernels::launch_any("softmax_cross_entropy", config, shape, nullptr, logits, labels, nullptr, loss,
                           lse, stream);
}

void cross_entropy_grad(const CrossEntropyConfig& config, const CrossEntropyShape& shape, const void* dloss,
                        const void* logits, const void* labels, const void* lse, void* dlogits,
                        const Stream& stream) {
  loss_kernels::launch_any("softmax_cross_entropy_grad", config, shape, dloss, logits, labels, lse, dlogits,
                           nullptr, stream);
}

}  // namespace ingot::cuda
