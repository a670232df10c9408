// A tensor in half precision as f32, which references compute in; others as they are.
#pragma once

#include "core/ir/tensor.h"

namespace ingot::test {

inline Tensor in_f32(const Tensor& t) {
  if (t.dtype() != DType::BF16 && t.dtype() != DType::F16) return t;
  Tensor wide = Tensor::zeros({DType::F32, t.shape()});
  for (std::int64_t i = 0; i < t.numel(); ++i) wide.set(i, t.get(i));
  return wide;
}

}  // namespace ingot::test
