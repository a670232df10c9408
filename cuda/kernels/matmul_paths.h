// The kernels that matmul.cu chooses from. Plain C++, for the matmul*.cu files alone.
//
//   tile_matmul_f32(call, stream);      // tiles; call.plan says which
#pragma once

#include "cuda/kernels/matmul.h"
#include "cuda/kernels/tile_schedule.h"

namespace ingot::cuda {

// A product whose batch axes are merged, with its operands.
struct MatmulCall {
  DType dtype = DType::F32;
  ProductSizes sizes;
  bool transpose_a = false, transpose_b = false, tf32 = false;
  BatchStrides strides{};
  TilePlan plan;
  const void *a = nullptr, *b = nullptr;
  void* y = nullptr;
  Epilogue epilogue{};
  void* workspace = nullptr;
};

void tile_matmul_f32(const MatmulCall& call, const Stream& stream);
void tile_matmul_half(const MatmulCall& call, const Stream& stream);  // f16, bf16

// Products with at most kSkinny rows or columns, which tiles would mostly fill with nothing. Its plan's
// slices are of its own making.
constexpr std::int64_t kSkinny = 8;
TilePlan plan_skinny(const ProductSizes& sizes, bool transpose_a, bool transpose_b, bool second_pass);
void skinny_matmul(const MatmulCall& call, const Stream& stream);

}  // namespace ingot::cuda
