// Lowerings to cuDNN. They decline what cuDNN does not have, and say so; each takes one plan of cuDNN's for a
// node, the first of the deterministic ones, or another as Problem::alternative says.
//
// Convolutions have precompiled engines and come before our own kernels. Batch norm and average pooling have
// engines that cuDNN compiles on the spot, which needs the device: they come after our own, so that a plan is
// the same with and without a GPU, and are taken where measuring finds them faster (--autotune measure).
// Max pooling is not given to cuDNN: it tells positions in its windows as signed bytes, ours are unsigned and
// reach further, and its engines insist on writing them.
//
//   table.add("conv2d", {.lower = cudnn_conv2d, .layouts = channels_last_layouts, .name = "cudnn",
//                       .alternatives = kCudnnPlans});
#pragma once

#include "core/runtime/lowering.h"
#include "cuda/libs/cudnn.h"

namespace ingot::cuda {

// How many plans of cuDNN's are built for a node whose kernels are measured; of those that cuDNN compiles.
inline constexpr int kCudnnPlans = 8, kCompiledCudnnPlans = 2;

std::unique_ptr<Step> cudnn_conv2d(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_grad_input(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_grad_weight(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_sums(const Problem& p);
std::unique_ptr<Step> cudnn_conv2d_grad_input_sums(const Problem& p);
std::unique_ptr<Step> cudnn_batch_norm(const Problem& p);
std::unique_ptr<Step> cudnn_batch_norm_grad(const Problem& p);
std::unique_ptr<Step> cudnn_avg_pool2d(const Problem& p);

// What they share: the problem's plan as a step. Of at most `most` plans, the one of Problem::alternative.
std::unique_ptr<Step> cudnn_step(const Problem& p, const CudnnProblem& problem, int most,
                                 std::vector<std::array<int, 2>> in_place = {});
// Why cuDNN cannot take the node's operands and results, whatever the op, or "".
std::string cudnn_refuses(const Problem& p);

}  // namespace ingot::cuda
