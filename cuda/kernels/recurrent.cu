// One time step of recurrent networks, between two products with w_hh: the gates' functions and the states.
//
//   lstm  i, f, g, o = sigmoid, sigmoid, tanh, sigmoid(p + s);  c = f c + i g;  h = o tanh(c)
//   gru   r, z = sigmoid(p + s);  m = s + b_hn;  n = tanh(p + r m);  h = (1 - z) n + z h
//   rnn   h = tanh or relu(p + s)
//
// and with u = dy + dh their gradients:
//
//   lstm  d = dc + u o (1 - tanh(c)^2);  dp = d g i (1 - i), d c_before f (1 - f), d i (1 - g^2),
//         u tanh(c) o (1 - o);  dc = d f;  dh = 0
//   gru   dn = u (1 - z) (1 - n^2), dz = u (h_before - n) z (1 - z), dr = dn m r (1 - r);  dh = u z
//   rnn   dp = u (1 - y^2), or u where y > 0;  dh = 0
//
// Bytes that must move, per unit of a row: lstm 12 words in (8 of them p and s), 8 out; gru 8 and 6; rnn 3
// and 2; gradients 10 and 6, 8 and 7, 3 and 2. A thread has one unit: neighbours read and write neighbouring
// words of every gate. A step moves a megabyte or two, less than a launch takes; steps wait for one another.
#include "cuda/kernels/recurrent.h"

#include <limits>

#include "core/base/error.h"
#include "core/expr/scalar_ops.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"

namespace ingot::cuda::recurrent_kernels {

using namespace gpu;

constexpr int kThreads = 256;

struct Sizes {
  int count, units;  // of all rows together
  const int* lengths;
  int step;
};

// One unit of one row.
struct Place {
  int at, row, unit;
  bool active;

  __device__ static Place of(const Sizes& s) {
    Place p;
    p.at = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    p.row = p.at / s.units;
    p.unit = p.at - p.row * s.units;
    p.active = p.at < s.count && (s.lengths == nullptr || s.step < s.lengths[p.row]);
    return p;
  }
  // Of gate k of G.
  template <int G>
  __device__ long long gate(int k, int units) const {
    return (static_cast<long long>(row) * G + k) * units + unit;
  }
};

// Bound by: latency: a launch takes longer than a step's words.
__global__ void __launch_bounds__(kThreads) lstm_kernel(const Sizes s, const RecurrentStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float gate[4] = {}, c = 0.0f, h = 0.0f;
  if (p.active) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const long long at = p.gate<4>(k, s.units);
      gate[k] = a.projection[at] + a.sums[at];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) gate[k] = k == 2 ? scalar::tanh(gate[k]) : scalar::sigmoid(gate[k]);
    c = gate[1] * a.c[p.at] + gate[0] * gate[2];
    h = gate[3] * scalar::tanh(c);
    a.c[p.at] = c;
    a.h[p.at] = h;
  }
  a.y[p.at] = h;
  a.cells[p.at] = c;
#pragma unroll
  for (int k = 0; k < 4; ++k) a.gates[p.gate<4>(k, s.units)] = gate[k];
}

// Bound by: latency: a launch takes longer than a step's words.
__global__ void __launch_bounds__(kThreads) gru_kernel(const Sizes s, const RecurrentStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float gate[4] = {}, h = 0.0f;
  if (p.active) {
    float in[3], own[3];
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const long long at = p.gate<3>(k, s.units);
      in[k] = a.projection[at];
      own[k] = a.sums[at];
    }
    gate[0] = scalar::sigmoid(in[0] + own[0]);
    gate[1] = scalar::sigmoid(in[1] + own[1]);
    gate[3] = own[2] + a.b_hn[p.unit];
    gate[2] = scalar::tanh(in[2] + gate[0] * gate[3]);
    h = (1.0f - gate[1]) * gate[2] + gate[1] * a.h[p.at];
    a.h[p.at] = h;
  }
  a.y[p.at] = h;
#pragma unroll
  for (int k = 0; k < 4; ++k) a.gates[p.gate<4>(k, s.units)] = gate[k];
}

// Bound by: latency: a launch takes longer than a step's words.
template <bool kRelu>
__global__ void __launch_bounds__(kThreads) rnn_kernel(const Sizes s, const RecurrentStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float h = 0.0f;
  if (p.active) {
    const float sum = a.projection[p.at] + a.sums[p.at];
    h = kRelu ? scalar::relu(sum) : scalar::tanh(sum);
    a.h[p.at] = h;
  }
  a.y[p.at] = h;
}

// The state that the step found.
__device__ inline float state_before(const Sizes& s, const Place& p, const RecurrentGradStep& a) {
  const bool first = a.first != nullptr && s.lengths[p.row] == s.step + 1;
  return first ? a.first[p.at] : a.before[p.at];
}

// Bound by: latency: a launch takes longer than a step's words.
__global__ void __launch_bounds__(kThreads) lstm_grad_kernel(const Sizes s, const RecurrentGradStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float dp[4] = {};
  if (p.active) {
    float gate[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) gate[k] = a.gates[p.gate<4>(k, s.units)];
    const float i = gate[0], f = gate[1], g = gate[2], o = gate[3], tc = scalar::tanh(a.cells[p.at]);
    const float up = a.dy[p.at] + a.dh[p.at], d = a.dc[p.at] + up * o * (1.0f - tc * tc);
    dp[0] = d * g * i * (1.0f - i);
    dp[1] = d * state_before(s, p, a) * f * (1.0f - f);
    dp[2] = d * i * (1.0f - g * g);
    dp[3] = up * tc * o * (1.0f - o);
    a.dc[p.at] = d * f;
    a.dh[p.at] = 0.0f;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) a.dp[p.gate<4>(k, s.units)] = dp[k];
}

// Bound by: latency: a launch takes longer than a step's words.
__global__ void __launch_bounds__(kThreads) gru_grad_kernel(const Sizes s, const RecurrentGradStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float dp[3] = {}, own = 0.0f;
  if (p.active) {
    float gate[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) gate[k] = a.gates[p.gate<4>(k, s.units)];
    const float r = gate[0], z = gate[1], n = gate[2], m = gate[3], up = a.dy[p.at] + a.dh[p.at];
    dp[2] = up * (1.0f - z) * (1.0f - n * n);
    dp[1] = up * (state_before(s, p, a) - n) * z * (1.0f - z);
    dp[0] = dp[2] * m * r * (1.0f - r);
    own = dp[2] * r;
    a.dh[p.at] = up * z;
  }
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const long long at = p.gate<3>(k, s.units);
    a.dp[at] = dp[k];
    a.dr[at] = k == 2 ? own : dp[k];
  }
}

// Bound by: latency: a launch takes longer than a step's words.
template <bool kRelu>
__global__ void __launch_bounds__(kThreads) rnn_grad_kernel(const Sizes s, const RecurrentGradStep a) {
  const Place p = Place::of(s);
  if (p.at >= s.count) return;
  float dp = 0.0f;
  if (p.active) {
    const float up = a.dy[p.at] + a.dh[p.at], y = a.y[p.at];
    dp = kRelu ? (y > 0.0f ? up : 0.0f) : up * (1.0f - y * y);
    a.dh[p.at] = 0.0f;
  }
  a.dp[p.at] = dp;
}

Sizes sizes_of(const RecurrentSizes& s) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max() - kThreads;
  if (s.rows * s.units > kMost)
    throw UsageError(cat("a step of a recurrent network on a GPU has up to ", kMost,
                         " units in all rows, got ", s.rows, " times ", s.units));
  return {static_cast<int>(s.rows * s.units), static_cast<int>(s.units), s.lengths, static_cast<int>(s.step)};
}

template <class Step>
void start(void (*kernel)(Sizes, Step), const RecurrentSizes& sizes, const Step& step, const Stream& stream) {
  const Sizes s = sizes_of(sizes);
  if (s.count == 0) return;
  launch(kernel, dim3(blocks_for(static_cast<std::size_t>(s.count), kThreads)), dim3(kThreads), 0, stream, s,
         step);
}

}  // namespace ingot::cuda::recurrent_kernels

namespace ingot::cuda {

using namespace recurrent_kernels;

void recurrent_step(RecurrentCell cell, const RecurrentSizes& sizes, const RecurrentStep& step,
                    const Stream& stream) {
  switch (cell) {
    case RecurrentCell::Lstm:
      return start(lstm_kernel, sizes, step, stream);
    case RecurrentCell::Gru:
      return start(gru_kernel, sizes, step, stream);
    case RecurrentCell::Tanh:
      return start(rnn_kernel<false>, sizes, step, stream);
    case RecurrentCell::Relu:
      return start(rnn_kernel<true>, sizes, step, stream);
  }
}

void recurrent_grad_step(RecurrentCell cell, const RecurrentSizes& sizes, const RecurrentGradStep& step,
                         const Stream& stream) {
  switch (cell) {
    case RecurrentCell::Lstm:
      return start(lstm_grad_kernel, sizes, step, stream);
    case RecurrentCell::Gru:
      return start(gru_grad_kernel, sizes, step, stream);
    case RecurrentCell::Tanh:
      return start(rnn_grad_kernel<false>, sizes, step, stream);
    case RecurrentCell::Relu:
      return start(rnn_grad_kernel<true>, sizes, step, stream);
  }
}

}  // namespace ingot::cuda
