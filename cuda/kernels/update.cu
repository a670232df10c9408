// Optimiser steps, element by element, and the norm of many tensors.
//
//   g = grad_scale gradient (+ weight_decay p)
//   sgd      m' = momentum m + (1 - dampening) g (g in the first step);  p' = p - lr (g + momentum m' or m')
//   adam     m' = b1 m + (1 - b1) g;  v' = b2 v + (1 - b2) g^2
//            p' = p - lr / (1 - b1^t) m' / (sqrt(v') / sqrt(1 - b2^t) + eps)
//   rmsprop  s' = a s + (1 - a) g^2;  d = g / (sqrt(s' - avg'^2) + eps);  p' = p - lr (momentum buf + d)
//   norm     sqrt(sum x^2)
//
// With step 0 everything stays as it is: what was read is written again.
//
// Bytes that must move: the gradient once, the parameter and each state in and out; for the norm, everything
// once. A thread has 8 elements, which are 16 or 32 bytes of each role, all loaded before the first is used:
// Adam in f32 has 128 bytes of a thread in flight. Corrections by the step's number are two expm1f a thread
// (1 - b^t = -expm1(t log b), right to the last places in f32, where b^t itself would cancel).
#include "cuda/kernels/update.h"

#include <cmath>

#include "core/base/error.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/tensor_table.h"

namespace ingot::cuda::update_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kBlocks = 4;  // of a multiprocessor; left alone, ptxas spills a register to fit a fifth
constexpr int kOwn = 8;     // elements of a thread
constexpr int kChunk = kThreads * kOwn;
constexpr int kMostTensors = 40;  // 88 bytes each

struct Entry : TensorEntry {
  bool wide = false;  // 16 bytes at a time
  DType gradient_dtype = DType::F32;
  const void* gradient = nullptr;
  const void* from[kMaxUpdateRoles] = {};
  void* to[kMaxUpdateRoles] = {};
};
using Table = TensorTable<Entry, kMostTensors>;
static_assert(sizeof(Table) <= 3900, "all arguments of a kernel have 4 KiB");

__device__ inline float number(const DeviceScalar& s) {
  if (s.dtype == DType::F64) return static_cast<float>(*static_cast<const double*>(s.data));
  return load_any(s.dtype, s.data, 0);
}

// States that fell below the normal numbers become 0, see cpu/simd/rows.inc.
__device__ inline float settle(float x) {
  constexpr float kTiny = 1.17549435e-38f;
  return x < kTiny && x > -kTiny ? 0.0f : x;
}

// ---- Rules: Now holds what a step's number and rate make of the attributes; x[0] is the parameter, the
// others its states.

template <int kRoles_>
struct Sgd {
  static constexpr int kRoles = kRoles_;  // 2 with a momentum
  float momentum, take, weight_decay;
  bool nesterov;

  struct Now {
    float lr, keep, take, from_gradient, from_buffer;
  };
  __device__ Now now(float lr, float step) const {
    const bool first = step == 1.0f;
    return {lr, first ? 0.0f : momentum, first ? 1.0f : take, nesterov ? 1.0f : 0.0f,
            nesterov ? momentum : 1.0f};
  }
  __device__ void step(const Now& n, float g, float (&x)[kRoles]) const {
    g += weight_decay * x[0];
    if constexpr (kRoles == 2) {
      // In the first step the buffer's content does not count, not even a NaN.
      x[1] = settle((n.keep == 0.0f ? 0.0f : n.keep * x[1]) + n.take * g);
      g = n.from_gradient * g + n.from_buffer * x[1];
    }
    x[0] -= n.lr * g;
  }
};

struct Adam {
  static constexpr int kRoles = 3;
  float beta1, beta2, one_minus_beta1, one_minus_beta2, log_beta1, log_beta2, eps, weight_decay,
      decoupled_decay;

  struct Now {
    float step_size, inv_sqrt_correction2, shrink;
  };
  __device__ Now now(float lr, float step) const {
    const float correction1 = -expm1f(step * log_beta1), correction2 = -expm1f(step * log_beta2);
    return {lr / correction1, 1.0f / sqrtf(correction2), 1.0f - lr * decoupled_decay};
  }
  __device__ void step(const Now& n, float g, float (&x)[kRoles]) const {
    g += weight_decay * x[0];
    x[1] = settle(beta1 * x[1] + one_minus_beta1 * g);
    x[2] = settle(beta2 * x[2] + one_minus_beta2 * g * g);
    x[0] = x[0] * n.shrink - n.step_size * x[1] / (sqrtf(x[2]) * n.inv_sqrt_correction2 + eps);
  }
};

template <bool kMomentum, bool kCentered>
struct Rmsprop {
  static constexpr int kRoles = 2 + (kMomentum ? 1 : 0) + (kCentered ? 1 : 0);
  float alpha, one_minus_alpha, eps, weight_decay, momentum;

  struct Now {
    float lr;
  };
  __device__ Now now(float lr, float) const { return {lr}; }
  __device__ void step(const Now& n, float g, float (&x)[kRoles]) const {
    g += weight_decay * x[0];
    x[1] = settle(alpha * x[1] + one_minus_alpha * g * g);
    float variance = x[1];
    if constexpr (kCentered) {
      float& average = x[kRoles - 1];
      average = settle(alpha * average + one_minus_alpha * g);
      // Not negative but for rounding: equal gradients bring both terms together.
      variance = fmaf(-average, average, variance);
      variance = variance < 0.0f ? 0.0f : variance;
    }
    float d = g / (sqrtf(variance) + eps);
    if constexpr (kMomentum) d = x[2] = settle(momentum * x[2] + d);
    x[0] -= n.lr * d;
  }
};

// Bound by: bandwidth (loads, stores).
template <class Rule, class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    update_kernel(const __grid_constant__ Table table, const Rule rule, const UpdateScalars scalars) {
  constexpr int kRoles = Rule::kRoles;
  const Entry& own = table.mine();
  const int thread = static_cast<int>(threadIdx.x);
  const long long begin = Table::block_of(own) * kChunk, at = begin + thread * kOwn;
  if (own.wide && at + kOwn <= own.count) {
    float x[kRoles][kOwn], g[kOwn];
#pragma unroll
    for (int r = 0; r < kRoles; ++r) load8(static_cast<const T*>(own.from[r]) + at, x[r]);
    load8_any(own.gradient_dtype, own.gradient, at, g);
    const auto now = rule.now(number(scalars.lr), number(scalars.step));
    const float grad_scale = number(scalars.grad_scale);
    if (number(scalars.step) != 0.0f) {
#pragma unroll
      for (int k = 0; k < kOwn; ++k) {
        float v[kRoles];
#pragma unroll
        for (int r = 0; r < kRoles; ++r) v[r] = x[r][k];
        rule.step(now, g[k] * grad_scale, v);
#pragma unroll
        for (int r = 0; r < kRoles; ++r) x[r][k] = v[r];
      }
    }
#pragma unroll
    for (int r = 0; r < kRoles; ++r) store8(static_cast<T*>(own.to[r]) + at, x[r]);
    return;
  }
  // One by one: the last, short eight of the tensor, or all when 16 bytes at a time cannot be had (then
  // neighbours for neighbouring threads).
  const auto now = rule.now(number(scalars.lr), number(scalars.step));
  const float grad_scale = number(scalars.grad_scale);
  const long long stop = own.wide ? at + kOwn : begin + kChunk, end = stop < own.count ? stop : own.count;
#pragma unroll 1
  for (long long i = own.wide ? at : begin + thread; i < end; i += own.wide ? 1 : kThreads) {
    float v[kRoles];
#pragma unroll
    for (int r = 0; r < kRoles; ++r) v[r] = widen(static_cast<const T*>(own.from[r])[i]);
    if (number(scalars.step) != 0.0f)
      rule.step(now, load_any(own.gradient_dtype, own.gradient, i) * grad_scale, v);
#pragma unroll
    for (int r = 0; r < kRoles; ++r) static_cast<T*>(own.to[r])[i] = narrow<T>(v[r]);
  }
}

// ---- Norm -----------------------------------------------------------------------------------------------

constexpr int kNormOwn = 64;  // elements of a thread
constexpr int kNormChunk = kThreads * kNormOwn;
constexpr int kNormTensors = 160;  // 24 bytes each
constexpr int kWarps = kThreads / kWarpSize;

struct NormEntry : TensorEntry {
  DType dtype = DType::F32;
  bool wide = false;
  const void* data = nullptr;
};
using NormTable = TensorTable<NormEntry, kNormTensors>;
static_assert(sizeof(NormTable) <= 3900, "all arguments of a kernel have 4 KiB");

template <class T>
__device__ inline float sum_of_squares(const T* x, long long begin, long long end, bool wide) {
  constexpr int kSize = Vec16<T>::kSize;
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  if (!wide) {
    for (long long i = begin + thread; i < end; i += kThreads) sum += widen(x[i]) * widen(x[i]);
    return sum;
  }
#pragma unroll 4
  for (long long i = begin + thread * kSize; i + kSize <= end; i += kThreads * kSize) {
    float v[kSize];
    load_some<kSize>(x + i, v);
#pragma unroll
    for (int k = 0; k < kSize; ++k) sum += v[k] * v[k];
  }
  const long long rest = begin + (end - begin) / kSize * kSize + thread;
  if (rest < end) sum += widen(x[rest]) * widen(x[rest]);
  return sum;
}

template <class T>
__device__ inline T block_sum(T own, T* slots) {
  own = warp_sum(own);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread % kWarpSize == 0) slots[thread / kWarpSize] = own;
  __syncthreads();
  T all = slots[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) all += slots[w];
  return all;
}

// parts[block] = the squares of its elements.
// Bound by: bandwidth (loads).
__global__ void __launch_bounds__(kThreads)
    norm_parts_kernel(const __grid_constant__ NormTable table, float* parts) {
  GPU_SHARED(slots, float, [kWarps]);
  const NormEntry& own = table.mine();
  const long long begin = NormTable::block_of(own) * kNormChunk, left = own.count - begin,
                  end = begin + (left < kNormChunk ? left : kNormChunk);
  float sum;
  if (own.dtype == DType::F32)
    sum = sum_of_squares(static_cast<const float*>(own.data), begin, end, own.wide);
  else if (own.dtype == DType::F16)
    sum = sum_of_squares(static_cast<const __half*>(own.data), begin, end, own.wide);
  else
    sum = sum_of_squares(static_cast<const __nv_bfloat16*>(own.data), begin, end, own.wide);
  sum = block_sum(sum, &slots[0]);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block; a few numbers a thread, so double costs nothing.
// Bound by: latency: one block adds a few numbers a thread.
__global__ void __launch_bounds__(kThreads) norm_kernel(const float* parts, long long count, float* norm) {
  GPU_SHARED(slots, double, [kWarps]);
  double sum = 0.0;
  for (long long i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    sum += static_cast<double>(parts[i]);
  sum = block_sum(sum, &slots[0]);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

// ---- Launches -------------------------------------------------------------------------------------------

std::uintptr_t address(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

void require_half_or_float(std::string_view op, std::string_view what, DType dtype) {
  if (dtype != DType::F32 && dtype != DType::F16 && dtype != DType::BF16)
    throw UsageError(cat(op, " on a GPU: ", what, " must be f32, f16 or bf16, got ", name(dtype)));
}

void check(std::string_view op, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars) {
  for (const UpdateTensor& t : tensors) {
    require_half_or_float(op, "a parameter", t.dtype);
    require_half_or_float(op, "a gradient", t.gradient_dtype);
  }
  const auto scalar = [op](std::string_view what, const DeviceScalar& s) {
    if (s.dtype != DType::F64) require_half_or_float(op, what, s.dtype);
  };
  scalar("lr", scalars.lr);
  scalar("step", scalars.step);
  scalar("grad_scale", scalars.grad_scale);
}

template <class T, class Rule>
void launch_typed(DType dtype, const Rule& rule, std::span<const UpdateTensor> tensors,
                  const UpdateScalars& scalars, const Stream& stream) {
  auto batch = make_batcher<Entry, kMostTensors>(kChunk, [&](const Table& table, unsigned blocks) {
    launch(update_kernel<Rule, T>, dim3(blocks), dim3(kThreads), 0, stream, table, rule, scalars);
  });
  for (const UpdateTensor& t : tensors) {
    if (t.dtype != dtype) continue;
    Entry e;
    e.count = t.count;
    e.gradient = t.gradient;
    e.gradient_dtype = t.gradient_dtype;
    std::uintptr_t all = address(t.gradient);
    for (std::size_t r = 0; r < static_cast<std::size_t>(Rule::kRoles); ++r) {
      e.from[r] = t.from[r];
      e.to[r] = t.to[r];
      all |= address(t.from[r]) | address(t.to[r]);
    }
    e.wide = all % 16 == 0;
    batch.add(e);
  }
  batch.finish();
}

template <class Rule>
void launch_any(std::string_view op, const Rule& rule, std::span<const UpdateTensor> given,
                const UpdateScalars& scalars, const Stream& stream, std::size_t pad) {
  check(op, given, scalars);
  const std::vector<UpdateTensor> tensors = joined(given, Rule::kRoles, pad);
  launch_typed<float>(DType::F32, rule, tensors, scalars, stream);
  launch_typed<__half>(DType::F16, rule, tensors, scalars, stream);
  launch_typed<__nv_bfloat16>(DType::BF16, rule, tensors, scalars, stream);
}

float f(double v) {
  return static_cast<float>(v);
}

// `next` goes on where `last` ends, `distance` elements after its start in every role.
bool follows(const UpdateTensor& last, const UpdateTensor& next, int kept, std::size_t pad) {
  if (next.dtype != last.dtype || next.gradient_dtype != last.gradient_dtype) return false;
  const std::size_t size = size_of(last.dtype), gradient_size = size_of(last.gradient_dtype);
  const std::size_t count = static_cast<std::size_t>(last.count);
  const std::uintptr_t bytes = address(next.gradient) - address(last.gradient);  // huge when before it
  if (address(next.gradient) < address(last.gradient) || bytes % gradient_size != 0) return false;
  const std::size_t distance = bytes / gradient_size;
  if (distance < count || (distance - count) * std::max(size, gradient_size) >= pad) return false;
  for (std::size_t r = 0; r < static_cast<std::size_t>(kept); ++r)
    if (address(next.from[r]) != address(last.from[r]) + distance * size ||
        address(next.to[r]) != address(last.to[r]) + distance * size)
      return false;
  return true;
}

}  // namespace ingot::cuda::update_kernels

namespace ingot::cuda {

using namespace update_kernels;

int roles(const SgdRule& rule) {
  return rule.momentum != 0.0 ? 2 : 1;
}
int roles(const AdamRule&) {
  return Adam::kRoles;
}
int roles(const RmspropRule& rule) {
  return 2 + (rule.momentum != 0.0 ? 1 : 0) + (rule.centered ? 1 : 0);
}

std::vector<UpdateTensor> joined(std::span<const UpdateTensor> tensors, int kept, std::size_t pad) {
  std::vector<UpdateTensor> out;
  for (const UpdateTensor& t : tensors) {
    if (t.count == 0) continue;
    if (!out.empty() && follows(out.back(), t, kept, pad)) {
      UpdateTensor& last = out.back();
      const std::uintptr_t bytes = address(t.gradient) - address(last.gradient);
      last.count = static_cast<std::int64_t>(bytes / size_of(t.gradient_dtype)) + t.count;
    } else {
      out.push_back(t);
    }
  }
  return out;
}

void sgd(const SgdRule& a, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
         const Stream& stream, std::size_t pad) {
  if (a.momentum != 0.0)
    launch_any("sgd", Sgd<2>{f(a.momentum), f(1.0 - a.dampening), f(a.weight_decay), a.nesterov}, tensors,
               scalars, stream, pad);
  else
    launch_any("sgd", Sgd<1>{0.0f, 1.0f, f(a.weight_decay), false}, tensors, scalars, stream, pad);
}

void adam(const AdamRule& a, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
          const Stream& stream, std::size_t pad) {
  const Adam rule{.beta1 = f(a.beta1),
                  .beta2 = f(a.beta2),
                  .one_minus_beta1 = f(1.0 - a.beta1),
                  .one_minus_beta2 = f(1.0 - a.beta2),
                  .log_beta1 = f(std::log(a.beta1)),
                  .log_beta2 = f(std::log(a.beta2)),
                  .eps = f(a.eps),
                  .weight_decay = a.decoupled ? 0.0f : f(a.weight_decay),
                  .decoupled_decay = a.decoupled ? f(a.weight_decay) : 0.0f};
  launch_any("adam", rule, tensors, scalars, stream, pad);
}

void rmsprop(const RmspropRule& a, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
             const Stream& stream, std::size_t pad) {
  const auto start = [&]<bool kMomentum, bool kCentered>() {
    const Rmsprop<kMomentum, kCentered> rule{f(a.alpha), f(1.0 - a.alpha), f(a.eps), f(a.weight_decay),
                                             f(a.momentum)};
    launch_any("rmsprop", rule, tensors, scalars, stream, pad);
  };
  if (a.momentum != 0.0)
    a.centered ? start.template operator()<true, true>() : start.template operator()<true, false>();
  else
    a.centered ? start.template operator()<false, true>() : start.template operator()<false, false>();
}

std::size_t global_norm_workspace(std::span<const NormOperand> operands) {
  std::size_t parts = 0;
  for (const NormOperand& o : operands)
    parts += (static_cast<std::size_t>(o.count) + kNormChunk - 1) / kNormChunk;
  return parts * sizeof(float);
}

void global_norm(std::span<const NormOperand> operands, float* norm, void* workspace, const Stream& stream) {
  for (const NormOperand& o : operands) require_half_or_float("global_norm", "an operand", o.dtype);
  auto* const parts = static_cast<float*>(workspace);
  long long done = 0;
  auto batch =
      make_batcher<NormEntry, kNormTensors>(kNormChunk, [&](const NormTable& table, unsigned blocks) {
        launch(norm_parts_kernel, dim3(blocks), dim3(kThreads), 0, stream, table, parts + done);
        done += blocks;
      });
  for (const NormOperand& o : operands) {
    NormEntry e;
    e.count = o.count;
    e.dtype = o.dtype;
    e.wide = address(o.data) % 16 == 0;
    e.data = o.data;
    batch.add(e);
  }
  batch.finish();
  launch(norm_kernel, dim3(1), dim3(kThreads), 0, stream, parts, done, norm);
}

}  // namespace ingot::cuda
