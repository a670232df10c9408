// Convolutions and their gradients: by cuDNN where it serves, and by kernels of our own for every size,
// number of groups and epilogue in f32, f16 and bf16.
//
// Images and weights lie channels-last, weights' gradients too, so that neither a training step nor its
// update reorders anything; an operand with one channel, or one pixel, lies so anyhow.
#include "core/ops/conv.h"

#include "core/ops/activation.h"
#include "cuda/ops/conv_problem.h"
#include "cuda/ops/cudnn.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

std::unique_ptr<Step> lower_conv2d(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return nullptr;
  const auto& a = p.attrs<Conv2dAttrs>();
  const ConvProblem q = problem_of(p, a, p.in(0).shape, p.in(1).shape);
  const LastFunction act = activation_of(p.node.op, a.activation);
  const int residual = a.has_residual ? 2 + a.has_bias : -1;
  std::vector<std::array<int, 2>> in_place;
  if (a.has_residual) in_place.push_back({residual, 0});
  return launch_step(
      "conv",
      [q, act, residual, bias = a.has_bias](void* const* in, void* const* out, void* workspace,
                                            const Stream& stream) {
        const Epilogue epilogue{bias ? in[2] : nullptr, residual < 0 ? nullptr : in[residual], act.function,
                                static_cast<float>(act.most)};
        conv_forward(q, in[0], in[1], out[0], epilogue, workspace, stream);
      },
      conv_forward_workspace(q, act.function), std::move(in_place));
}

std::unique_ptr<Step> lower_grad_input(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return nullptr;
  const ConvProblem q = problem_of(p, p.attrs<Conv2dGradInputAttrs>(), p.out().shape, p.in(1).shape);
  return launch_step(
      "conv_grad_input",
      [q](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        conv_grad_input(q, in[0], in[1], out[0], workspace, stream);
      },
      conv_grad_input_workspace(q));
}

std::unique_ptr<Step> lower_grad_weight(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return nullptr;
  const ConvProblem q = problem_of(p, p.attrs<Conv2dGradWeightAttrs>(), p.in(0).shape, p.out().shape);
  return launch_step(
      "conv_grad_weight",
      [q](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        conv_grad_weight(q, in[0], in[1], out[0], workspace, stream);
      },
      conv_grad_weight_workspace(q));
}

}  // namespace

void add_conv(LoweringTable& table) {
  const auto cudnn = [&](const char* op, LowerFn lower) {
    table.add(
        op, {.lower = lower, .layouts = channels_last_layouts, .name = "cudnn", .alternatives = kCudnnPlans});
  };
  cudnn("conv2d", cudnn_conv2d);
  cudnn("conv2d_grad_input", cudnn_conv2d_grad_input);
  cudnn("conv2d_grad_weight", cudnn_conv2d_grad_weight);
  table.add("conv2d", {.lower = lower_conv2d, .layouts = channels_last_layouts});
  table.add("conv2d_grad_input", {.lower = lower_grad_input, .layouts = channels_last_layouts});
  table.add("conv2d_grad_weight", {.lower = lower_grad_weight, .layouts = channels_last_layouts});
}

}  // namespace ingot::cuda
