// What Ingot asks of cuDNN: plans for one problem on one target, and their execution.
//
// A plan is an engine with its knobs, finalised by cuDNN, so its workspace is known to the byte before
// anything runs. Convolutions have precompiled engines, whose planning needs no GPU: a target that was only
// described carries cuDNN's JSON of device properties (Target::described), and plans come in the order of
// cuDNN's heuristics. Batch norm and average pooling have engines that cuDNN compiles when they are planned,
// 0.2 to 0.5 s each, and only where a driver is. Running needs a handle, one for each stream, which takes
// device memory that no plan of Ingot's counts: it is freed with the last step that uses it.
//
// Fused epilogues of a convolution need a bias: y = [relu](x * w [+ residual] + bias) has precompiled plans
// on sm_80, sm_89 and sm_90 in f32, f16 and bf16, each of its four forms (cuDNN 9.19). A ReLU or a residual
// without a bias has none, nor has any other order of the sums. Batch norm has plans with a ReLU, or a
// residual and a ReLU behind it, but none with a residual alone; its gradient has none that masks dy with a
// ReLU's result.
//
// A convolution that sums what it stores (`sums`) has precompiled plans in f16 alone, on sm_80, sm_89 and
// sm_90, for images of 8 channels or a multiple: forward without an epilogue, any stride; and the gradient of
// the input behind the ReLU and the batch norm that made it, whose mask cuDNN finds from the batch norm's
// operand, as y given it refuses. With a second gradient, and a residual or a second batch norm in its place,
// the stride must be 1. What it refuses: sums without the mask, one gradient for two batch norms of which one
// is not in the mask, and a second gradient or a mask without sums.
//
// The library is opened when the first plan is wanted (cuda/libs/libraries.h). Images, weights and their
// gradients lie channels-last; sums, scales and statistics are in f32. Unless the problem allows it, no plan
// rounds f32 operands to TF32 and none is nondeterministic.
//
//   const CudnnPlans found = cudnn_plans(problem, target);
//   if (found.plans.empty()) return p.decline(found.why);
//   found.plans[0]->name, found.plans[0]->workspace_bytes
//
// Source: NVIDIA, "cuDNN Backend API" and "cuDNN Frontend" (documentation of cuDNN 9).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/base/dtype.h"
#include "core/runtime/target.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

enum class ConvDirection : std::uint8_t { Forward, GradInput, GradWeight };

// Shapes as in core/ops/conv.h, sums as in core/ops/conv_norm.h. Operands, in this order:
//   Forward      x, w, [bias], [residual] -> y = relu(x * w + bias + residual)
//     sums       x, w -> y, sum of y, sum of y^2
//   GradInput    dy, w -> dx
//     sums       dy, w, x, scale, bias, mean, rstd, [second gradient, residual | second x, scale, bias, mean,
//                rstd] -> dx, dscale, dbias, [dscale and dbias of the second]
//   GradWeight   x, dy -> dw
struct CudnnConv {
  ConvDirection direction = ConvDirection::Forward;
  DType dtype = DType::F32;
  std::int64_t n = 0, c = 0, h = 0, w = 0;
  std::int64_t o = 0, kh = 0, kw = 0, oh = 0, ow = 0;
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool bias = false, residual = false, relu = false, sums = false, second = false;
  bool allow_tf32 = false, deterministic = true;

  auto operator<=>(const CudnnConv&) const = default;
};

// Batch norm in training (core/ops/norm.h). Operands and results, in this order:
//   forward   x, scale, bias, running mean, running variance, [residual]
//             -> y, mean, 1 / sqrt(var + eps), running mean, running variance
//   backward  dy, x, scale, mean, 1 / sqrt(var + eps) -> dx, dscale, dbias
struct CudnnBatchNorm {
  bool backward = false;
  DType dtype = DType::F32;  // of x and y; everything else is f32
  std::int64_t n = 0, c = 0, h = 1, w = 1;
  double eps = 1e-5, momentum = 0.1;
  bool residual = false, relu = false;  // forward only
  bool deterministic = true;

  auto operator<=>(const CudnnBatchNorm&) const = default;
};

// Average pooling, x -> y; `end` is the padding behind the last row and column.
struct CudnnAveragePool {
  DType dtype = DType::F32;
  std::int64_t n = 0, c = 0, h = 0, w = 0, oh = 0, ow = 0;
  std::array<std::int64_t, 2> kernel{2, 2}, stride{2, 2}, padding{0, 0}, end{0, 0};
  bool count_include_pad = true;
  bool deterministic = true;

  auto operator<=>(const CudnnAveragePool&) const = default;
};

using CudnnProblem = std::variant<CudnnConv, CudnnBatchNorm, CudnnAveragePool>;

// "conv2d f32 n64 c3 224x224 o64 7x7 stride 2,2 padding 3,3", for messages and keys.
std::string to_string(const CudnnProblem& problem);

class CudnnHandle;

class CudnnPlan {
 public:
  virtual ~CudnnPlan() = default;
  std::string name;  // cuDNN's own: "eng62_k2=5_k13=1"
  std::size_t workspace_bytes = 0;

  // The problem's operands and results, at least 16-byte aligned. Throws DeviceError with cuDNN's message.
  virtual void run(CudnnHandle& handle, void* const* inputs, void* const* outputs, void* workspace) const = 0;
};

struct CudnnPlans {
  std::vector<std::shared_ptr<const CudnnPlan>> plans;  // cuDNN's heuristics' first choice first
  std::string why;                                      // there are none
};

// At most `most` plans; from a memory of this process where it has been asked before. May be called from
// several threads.
CudnnPlans cudnn_plans(const CudnnProblem& problem, const Target& target, int most = 1);

// Of the stream, for the device that is current: made when first wanted, shared by the steps bound to it.
std::shared_ptr<CudnnHandle> cudnn_handle(const Stream& stream);

// Why this process has no cuDNN, or "". Opens the library.
std::string cudnn_missing();

// Where cuDNN's functions are looked for from now on, instead of the library of this machine: a handle of
// dlopen's, or null for none at all. For tests, before the first plan.
void use_cudnn(void* library);

}  // namespace ingot::cuda
