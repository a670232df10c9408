// The second pass of a product whose sums lie in the workspace: launch of the kernel in tile_finish.cu.
//
//   y[z][m, n] = act(sum over slices of partial[slice][z][m, n] + bias[n] + residual[as y])
//
// Slices are added in order, so the result does not depend on which block came first. No slices (a sum over
// nothing) give act(bias + residual).
//
//   finish_product(dtype, {sizes, slices, partial, y, n, m * n, 0}, epilogue, stream);
#pragma once

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/tile_schedule.h"

namespace ingot::cuda {

namespace tile {
struct RowMap;
}

struct PartialProduct {
  ProductSizes sizes;  // k is not read
  int slices = 1;
  const float* partial = nullptr;
  void* y = nullptr;
  long long row_stride = 0, batch_stride = 0, bias_stride = 0;  // of y (and residual), in elements
};

// y of f32, f16 or bf16. Rows of y lie row_stride apart, or where `map` says (tile_epilogue.h).
void finish_product(DType dtype, const PartialProduct& p, const Epilogue& epilogue, const Stream& stream,
                    const tile::RowMap* map = nullptr);

}  // namespace ingot::cuda
