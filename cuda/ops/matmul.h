// What the candidates of `matmul` share: the node as a MatmulProblem, and the two of them.
//
// cuBLASLt comes first, kernels of our own last. Planning asks nothing of the library but that it opens: its
// heuristic needs a GPU (without one cublasLtCreate fails), and graphs are compiled for GPUs of other
// machines. So a fixed workspace is planned, LtProduct::recommended_workspace, and the algorithm is asked for
// within it when a session binds the step on its device, at the addresses that it will use: once, never in a
// run.
//
// That is too late for another candidate. Therefore the step carries our own one with it, whose workspace
// is planned too (the larger of both): where the library has no algorithm, or refuses the call before it
// issued anything, one line on stderr says so and our kernel runs from then on. Any other failure is an error
// that names the call and, by the session, the node.
#pragma once

#include <optional>

#include "cuda/kernels/matmul.h"
#include "cuda/ops/launch_step.h"

namespace ingot::cuda {

// Null for what neither takes: other types than f32, f16 and bf16, and operands that are not row-major.
std::optional<MatmulProblem> matmul_problem(const Problem& p);
// Position of the residual among the operands, or -1.
int matmul_residual(const Problem& p);
ScalarOp matmul_activation(const Problem& p);

// All batch axes as one, where entries of each operand lie one stride apart (0: broadcast); nothing where
// they do not.
std::optional<MatmulBatchAxis> one_batch_axis(const MatmulProblem& q);

std::unique_ptr<Step> lower_matmul(const Problem& p);
std::unique_ptr<Step> lower_matmul_cublaslt(const Problem& p);

}  // namespace ingot::cuda
