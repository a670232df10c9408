// Small tools for the reference implementations of ops: walking indices, strides, and element access.
//
// References are plain and slow on purpose: they are the meaning that fast paths are tested against. Tensors
// are row-major. Floating arithmetic is done in double and rounded once at the end.
//
//   for_each_offset<2>(out.shape(), {broadcast_strides(a, out), broadcast_strides(b, out)},
//                      [&](std::int64_t i, const std::array<std::int64_t, 2>& at) { y[i] = a[at[0]] +
//                      b[at[1]]; });
//   visit_floating("softmax", dtype, [&]<class T>() { const T* x = args.inputs[0].data<T>(); ... });
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "core/op/registry.h"

namespace ingot::ops {

using Strides = std::array<std::int64_t, Shape::kMaxRank>;

// Strides with which a row-major tensor of shape `from` is read along the axes of `to` (NumPy broadcasting:
// aligned at the last axis, 0 where `from` has one element).
inline Strides broadcast_strides(const Shape& from, const Shape& to) {
  Strides out{};
  const auto own = from.strides();
  const int shift = to.rank() - from.rank();
  for (int i = 0; i < from.rank(); ++i)
    if (from[i] != 1) out[static_cast<std::size_t>(i + shift)] = own[static_cast<std::size_t>(i)];
  return out;
}

// Calls f(i, offsets) for every index of `shape` in row-major order; i counts up from 0 and offsets[k] is
// the sum of index * strides[k].
template <std::size_t N, class F>
void for_each_offset(const Shape& shape, const std::array<Strides, N>& strides, F&& f) {
  const std::int64_t n = shape.numel();
  const int rank = shape.rank();
  std::array<std::int64_t, Shape::kMaxRank> index{};
  std::array<std::int64_t, N> at{};
  for (std::int64_t i = 0; i < n; ++i) {
    f(i, static_cast<const std::array<std::int64_t, N>&>(at));
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      ++index[a];
      for (std::size_t k = 0; k < N; ++k) at[k] += strides[k][a];
      if (index[a] < shape[axis]) break;
      for (std::size_t k = 0; k < N; ++k) at[k] -= strides[k][a] * index[a];
      index[a] = 0;
    }
  }
}

// The sizes before, at and after `axis`: a row-major tensor is outer x dim x inner.
struct AxisSplit {
  std::int64_t outer = 1, dim = 1, inner = 1;
};
inline AxisSplit split_at(const Shape& shape, int axis) {
  AxisSplit s;
  for (int i = 0; i < shape.rank(); ++i) (i < axis ? s.outer : i == axis ? s.dim : s.inner) *= shape[i];
  return s;
}

// Calls f.template operator()<T>() with float or double; anything else is an error that names the op.
template <class F>
void visit_floating(std::string_view op, DType dtype, F&& f) {
  if (dtype == DType::F32)
    f.template operator()<float>();
  else if (dtype == DType::F64)
    f.template operator()<double>();
  else
    throw UsageError(cat(op, ": the reference computes in f32 and f64, got ", name(dtype)));
}

// Index tensors are i32 or i64.
inline std::int64_t index_at(const Tensor& indices, std::int64_t i) {
  return indices.dtype() == DType::I32 ? static_cast<std::int64_t>(indices.data<std::int32_t>()[i])
                                       : indices.data<std::int64_t>()[i];
}

}  // namespace ingot::ops
