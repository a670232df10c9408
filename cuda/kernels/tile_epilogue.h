// From a warp's sums to memory: y = min(act(sum + bias[column] + residual), most), rounded once, or plain
// sums into the workspace. For .cu files.
//
// A warp lays a slab of its sums (a few rows) into shared memory and reads it back in rows, so that every
// shape of fragment ends in the same 16-byte stores, and the epilogue's code exists once a kernel instead of
// once an accumulator.
//
//   store_slab<16, 32, 40>(slab, row0, column0, out);      // 16 rows of 32 sums, 40 floats apart
#pragma once

#include "core/expr/scalar_ops.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/tile_schedule.h"

namespace ingot::cuda::tile {

using namespace gpu;

// The activations that products apply themselves.
enum class FastActivation : int { None, Relu, Tanh, Sigmoid };

__device__ inline float activate(FastActivation activation, float v) {
  switch (activation) {
    case FastActivation::Relu:
      return scalar::relu(v);
    case FastActivation::Tanh:
      return scalar::tanh(v);
    case FastActivation::Sigmoid:
      return scalar::sigmoid(v);
    case FastActivation::None:
      break;
  }
  return v;
}

// Rows of y that are pixels of an image, some apart: row (n, i, j) lies at n image + i down + j across.
struct RowMap {
  bool used = false;
  Divider by_width{}, by_height{};
  long long image = 0, down = 0, across = 0;
};

template <class T>
struct Output {
  using Element = T;
  T* y;
  const T* bias;      // of the columns, or null
  const T* residual;  // as y, or null
  float* partial;     // [slices][batches][m][n] sums instead of y, or null
  long long m, n, row_stride;
  FastActivation activation;
  float most;
  bool aligned;  // 16-byte accesses to y, bias and residual at multiples of 16 bytes of columns
  RowMap map;    // in place of row_stride

  __device__ long long row_offset(long long row) const {
    if (!map.used) return row * row_stride;
    const long long line = map.by_width.quotient(row), image = map.by_height.quotient(line);
    return image * map.image + (line - image * map.by_height.divisor) * map.down +
           (row - line * map.by_width.divisor) * map.across;
  }

  // Moves to one product of the batch and, in the workspace, to one slice.
  __device__ void shift(const Schedule& s, unsigned z, unsigned slice) {
    y += z * s.strides.y;
    if (residual != nullptr) residual += z * s.strides.y;
    if (bias != nullptr) bias += z * s.strides.bias;
    if (partial != nullptr) partial += (slice * static_cast<long long>(s.batches) + z) * m * n;
  }
};

// V sums of one row to y; the first `count` columns exist.
template <int V, class T, class Activate>
__device__ inline void store_sums(float (&v)[V], int count, long long row, long long column,
                                  const Output<T>& out, Activate activated) {
  const long long at = out.row_offset(row) + column;
  const bool whole = out.aligned && count >= V;
  float add[V];
  if (out.bias != nullptr) {
    if (whole) {
      load_some<V>(out.bias + column, add);
    } else {
#pragma unroll
      for (int e = 0; e < V; ++e) add[e] = e < count ? widen(out.bias[column + e]) : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < V; ++e) v[e] += add[e];
  }
  if (out.residual != nullptr) {
    if (whole) {
      load_some<V>(out.residual + at, add);
    } else {
#pragma unroll
      for (int e = 0; e < V; ++e) add[e] = e < count ? widen(out.residual[at + e]) : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < V; ++e) v[e] += add[e];
  }
#pragma unroll
  for (int e = 0; e < V; ++e) {
    v[e] = activated(v[e]);
    v[e] = v[e] > out.most ? out.most : v[e];  // NaN stays
  }
  if (whole) {
    store_some<V>(out.y + at, v);
  } else {
#pragma unroll
    for (int e = 0; e < V; ++e)
      if (e < count) out.y[at + e] = narrow<T>(v[e]);
  }
}

// V sums of one row to y or, plain, to the workspace; the first `count` columns exist.
template <int V, class T>
__device__ inline void store_either(float (&v)[V], int count, long long row, long long column,
                                    const Output<T>& out) {
  if (out.partial == nullptr) {
    store_sums<V>(v, count, row, column, out, [&](float x) { return activate(out.activation, x); });
    return;
  }
  float* const to = out.partial + row * out.n + column;
  if (V % 4 == 0 && out.n % 4 == 0) {
#pragma unroll
    for (int e = 0; e + 3 < V; e += 4)
      if (e < count) store16(to + e, Vec16<float>{{v[e], v[e + 1], v[e + 2], v[e + 3]}});
  } else {
#pragma unroll
    for (int e = 0; e < V; ++e)
      if (e < count) to[e] = v[e];
  }
}

template <int kSlabRows, int kColumns, int kStride, class T>
__device__ inline void store_slab(const float* slab, long long row0, long long column0,
                                  const Output<T>& out) {
  constexpr int V = Vec16<T>::kSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll 1
  for (int i = lane; i < kSlabRows * kColumns / V; i += kWarpSize) {
    const int r = i / (kColumns / V), c = i % (kColumns / V) * V;
    const long long row = row0 + r, column = column0 + c;
    if (row >= out.m || column >= out.n) continue;
    const int count = out.n - column < V ? static_cast<int>(out.n - column) : V;
    float v[V];
#pragma unroll
    for (int e = 0; e < V; e += 4) {
      const Vec16<float> four = load16(slab + r * kStride + c + e);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[e + k] = four.at[k];
    }
    store_either<V>(v, count, row, column, out);
  }
}

// Fragments of tensor cores (16 x 8 sums, four a lane), kDown x kAcross of them a warp. Rows lie 8 banks
// apart in the slab, so that a warp's writes of two floats meet no bank twice.
template <int kAcross>
constexpr int kFragmentStride = 8 * kAcross + 8;
template <int kAcross>
constexpr int kFragmentSlab = 16 * kFragmentStride<kAcross>;  // floats of shared memory a warp

template <int kDown, int kAcross, class T>
__device__ inline void store_fragments(const float (&sums)[kDown][kAcross][4], float* slab, long long row0,
                                       long long column0, const Output<T>& out) {
  constexpr int kStride = kFragmentStride<kAcross>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int own = 0; own < kDown; ++own)  // registers have no index: choose among all
      if (own == i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const float2 two = {sums[own][j][2 * half], sums[own][j][2 * half + 1]};
            *reinterpret_cast<float2*>(slab + (g + 8 * half) * kStride + 8 * j + 2 * t) = two;
          }
      }
    __syncwarp();
    store_slab<16, 8 * kAcross, kStride>(slab, row0 + 16 * i, column0, out);
    __syncwarp();
  }
}

}  // namespace ingot::cuda::tile
