// Convolutions by cuDNN, the first candidates of the three convolution ops: one plan of cuDNN's a node, its
// first choice among the deterministic ones. They decline what cuDNN does not have, and say so.
//
//   table.add("conv2d", {.lower = cudnn_conv2d, .layouts = channels_last_layouts, .name = "cudnn",
//                       .alternatives = kCudnnPlans});
#pragma once

#include "core/runtime/lowering.h"

namespace ingot::cuda {

// How many plans of cuDNN's are built for a node whose kernels are measured.
inline constexpr int kCudnnPlans = 8;

std::unique_ptr<Step> cudnn_conv2d(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_grad_input(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_grad_weight(const Problem& p);

}  // namespace ingot::cuda
