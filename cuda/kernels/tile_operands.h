// The two operands of a product, as a kernel's parameter. For .cu files.
//
// kAlongKA and kAlongKB say along what vectors of kVector elements lie: along k, or along the rows of the
// source (the rows or the columns of the product). kVector 1 goes with rows and serves everything.
//
//   Operands<Matrix<float>, Matrix<float>, true, false, 4> operands{a, b};
#pragma once

#include "cuda/kernels/tile_sources.h"

namespace ingot::cuda::tile {

template <class A_, class B_, bool kAlongKA_, bool kAlongKB_, int kVector_>
struct Operands {
  using A = A_;
  using B = B_;
  static constexpr bool kAlongKA = kAlongKA_, kAlongKB = kAlongKB_;
  static constexpr int kVector = kVector_;
  A a;
  B b;
};

}  // namespace ingot::cuda::tile
