// The host's side of a product's output: alignment, the activations that kernels apply themselves, and
// launches over any number of batch entries. For .cu files.
//
//   const Output<float> out = make_output<float>(y, epilogue, sizes, row_stride, strides);
//   for_each_batch_launch(schedule, [&](unsigned batches) { launch(kernel, dim3(x, y, batches), ...); });
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/tile_epilogue.h"

namespace ingot::cuda::tile {

inline bool is_fast(ScalarOp activation) {
  return activation == ScalarOp::None || activation == ScalarOp::Relu || activation == ScalarOp::Tanh ||
         activation == ScalarOp::Sigmoid;
}

inline FastActivation fast_activation(ScalarOp activation) {
  switch (activation) {
    case ScalarOp::Relu:
      return FastActivation::Relu;
    case ScalarOp::Tanh:
      return FastActivation::Tanh;
    case ScalarOp::Sigmoid:
      return FastActivation::Sigmoid;
    default:
      return FastActivation::None;
  }
}

// Whether 16-byte accesses fit: the pointer, and steps of so many elements.
template <class T>
bool is_aligned(const void* p, std::initializer_list<std::int64_t> steps) {
  const bool even =
      std::ranges::all_of(steps, [](std::int64_t n) { return n % (16 / static_cast<int>(sizeof(T))) == 0; });
  return even && reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
}

template <class T>
Output<T> make_output(void* y, const Epilogue& epilogue, const ProductSizes& sizes, long long row_stride,
                      const BatchStrides& strides, const RowMap* map = nullptr) {
  Output<T> out{};
  out.y = static_cast<T*>(y);
  out.bias = static_cast<const T*>(epilogue.bias);
  out.residual = static_cast<const T*>(epilogue.residual);
  out.m = sizes.m;
  out.n = sizes.n;
  out.row_stride = row_stride;
  if (map != nullptr) out.map = *map;
  out.activation = fast_activation(epilogue.activation);
  out.most = epilogue.most;
  // Steps between batch entries count only where there are several.
  const std::int64_t y_step = sizes.batches > 1 ? strides.y : 0,
                     bias_step = sizes.batches > 1 ? strides.bias : 0;
  const bool rows = out.map.used ? is_aligned<T>(y, {out.map.image, out.map.down, out.map.across})
                                 : is_aligned<T>(y, {row_stride});
  out.aligned = rows && is_aligned<T>(y, {y_step}) && is_aligned<T>(epilogue.residual, {}) &&
                is_aligned<T>(epilogue.bias, {bias_step});
  return out;
}

// use(batches) with s.first_batch set, for as many entries as grid.z holds.
template <class Use>
void for_each_batch_launch(Schedule& s, Use use) {
  constexpr unsigned kMostInGrid = 65535;
  for (s.first_batch = 0; s.first_batch < s.batches;) {
    const unsigned batches = std::min(s.batches - s.first_batch, kMostInGrid);
    use(batches);
    s.first_batch += batches;
  }
}

}  // namespace ingot::cuda::tile
