// The kernels that conv.cu chooses from. Plain C++, for the conv*.cu files alone.
//
//   tile_conv_f32(call, stream);      // call.pass says which of the three
#pragma once

#include "cuda/kernels/conv.h"
#include "cuda/kernels/conv_geometry.h"
#include "cuda/kernels/tile_schedule.h"

namespace ingot::cuda {

enum class ConvPass : std::uint8_t { Forward, GradInput, GradWeight };

// first and second are x and w, dy and w, or x and dy.
struct ConvCall {
  ConvPass pass = ConvPass::Forward;
  DType dtype = DType::F32;
  ConvGeometry geometry;
  bool tf32 = false;
  const void *first = nullptr, *second = nullptr;
  void* result = nullptr;
  Epilogue epilogue{};
  void* workspace = nullptr;
};

// The product that a pass is: rows, columns and length of its sums, one for each group.
ProductSizes conv_product(ConvPass pass, const ConvGeometry& g);

void tile_conv_f32(const ConvCall& call, const Stream& stream);
void tile_conv_half(const ConvCall& call, const Stream& stream);  // f16, bf16

std::size_t depthwise_workspace(ConvPass pass, const ConvGeometry& g, ScalarOp activation);
void depthwise_conv(const ConvCall& call, const Stream& stream);

}  // namespace ingot::cuda
