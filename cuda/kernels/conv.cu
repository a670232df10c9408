// Convolutions: which kernel a pass takes.
//
//   y = act(x * w + bias + residual),  dx = dy * w turned,  dw = x * dy
//
// Bytes that must move: both operands and the result once, for 2 n oh ow o (c / groups) kh kw flops. Each
// pass is a matrix product whose operands are read out of the images as they lie (tile_sources.h), one
// product a group:
//   forward      [pixels of y] x [o / groups],  summed over taps and c / groups
//   grad input   [pixels of x] x [c / groups],  summed over taps and o / groups; strides in phases
//   grad weight  [o / groups] x [taps, c / groups], summed over pixels of y, in slices where few tiles result
// A pointwise convolution of all pixels is a plain product and goes to matmul. Depthwise convolutions have no
// channels to sum over and are limited by memory: conv_depthwise.cu.
#include "core/base/error.h"
#include "core/ops/conv.h"
#include "cuda/kernels/conv_paths.h"
#include "cuda/kernels/conv_phases.h"
#include "cuda/kernels/matmul.h"
#include "cuda/kernels/tile_output.h"

namespace ingot::cuda {

std::int64_t ConvProblem::oh() const {
  return conv_output_size(h, kh, stride[0], padding[0], dilation[0]);
}
std::int64_t ConvProblem::ow() const {
  return conv_output_size(w, kw, stride[1], padding[1], dilation[1]);
}

namespace {

ConvGeometry conv_geometry(const ConvProblem& p) {
  static constexpr std::int64_t kMost = std::int64_t{1} << 30;
  const auto fit = [](std::int64_t size, const char* what) {
    if (size < 0 || size >= kMost)
      throw UsageError(cat("convolution on a GPU: ", what, " is ", size, ", which must be below ", kMost,
                           "; split the image or reduce padding and dilation"));
    return static_cast<int>(size);
  };
  // What never counts is set to the neutral value: dilation of one tap, stride of one pixel.
  const std::int64_t oh = p.oh(), ow = p.ow();
  ConvGeometry g;
  g.images = p.n;
  g.h = fit(p.h, "the height"), g.w = fit(p.w, "the width"), g.c = fit(p.c, "the number of channels");
  g.oh = fit(oh, "the output's height"), g.ow = fit(ow, "the output's width");
  g.o = fit(p.o, "the number of output channels");
  g.kh = fit(p.kh, "the kernel's height"), g.kw = fit(p.kw, "the kernel's width");
  g.dilation_h = p.kh == 1 ? 1 : fit(p.dilation[0], "the dilation");
  g.dilation_w = p.kw == 1 ? 1 : fit(p.dilation[1], "the dilation");
  g.stride_h = oh == 1 ? 1 : fit(p.stride[0], "the stride");
  g.stride_w = ow == 1 ? 1 : fit(p.stride[1], "the stride");
  g.pad_h = fit(p.padding[0], "the padding"), g.pad_w = fit(p.padding[1], "the padding");
  fit(p.h + 2 * p.padding[0], "the padded height");
  fit(p.w + 2 * p.padding[1], "the padded width");
  fit((p.kh + 1) * g.dilation_h, "the dilated kernel's height");
  fit((p.kw + 1) * g.dilation_w, "the dilated kernel's width");
  fit(p.kh * p.kw, "the kernel's number of taps");
  g.groups = fit(p.groups, "the number of groups");
  g.cg = static_cast<int>(p.c / p.groups), g.og = static_cast<int>(p.o / p.groups);
  g.by_stride_h = gpu::Divider(g.stride_h), g.by_stride_w = gpu::Divider(g.stride_w);
  return g;
}

bool is_depthwise(const ConvGeometry& g) {
  return g.groups > 1 && g.groups == g.c && g.groups == g.o;
}

// y[pixel][o] = sum over c of x[pixel][c] w[o][c].
bool is_pointwise(const ConvGeometry& g) {
  return g.groups == 1 && g.kh == 1 && g.kw == 1 && g.oh == g.h && g.ow == g.w && g.stride_h == 1 &&
         g.stride_w == 1 && g.pad_h == 0 && g.pad_w == 0;
}

MatmulProblem pointwise(const ConvProblem& p, ConvPass pass) {
  MatmulProblem q{.dtype = p.dtype, .allow_tf32 = p.allow_tf32};
  const std::int64_t pixels = p.n * p.h * p.w;
  if (pass == ConvPass::Forward) {
    q.m = pixels, q.n = p.o, q.k = p.c;
    q.transpose_b = true;
  } else if (pass == ConvPass::GradInput) {
    q.m = pixels, q.n = p.c, q.k = p.o;
  } else {
    q.m = p.o, q.n = p.c, q.k = pixels;
    q.transpose_a = true;
  }
  return q;
}

std::size_t workspace_of(const ConvProblem& p, ConvPass pass, ScalarOp activation) {
  const ConvGeometry g = conv_geometry(p);
  if (is_pointwise(g)) return matmul_workspace(pointwise(p, pass), activation);
  if (is_depthwise(g)) return depthwise_workspace(pass, g, activation);
  if (pass == ConvPass::GradInput) {
    std::size_t most = 0;  // phases run one after another
    for (const ConvPhase& phase : grad_input_phases(g)) {
      const ProductSizes sizes = conv_product(pass, phase.geometry);
      most = std::max(most, plan_tiles(sizes).workspace(sizes));
    }
    return most;
  }
  const ProductSizes sizes = conv_product(pass, g);
  return plan_tiles(sizes, !tile::is_fast(activation)).workspace(sizes);
}

void run(const ConvProblem& p, ConvPass pass, const void* first, const void* second, void* result,
         const Epilogue& epilogue, void* workspace, const Stream& stream) {
  if (p.dtype != DType::F32 && p.dtype != DType::F16 && p.dtype != DType::BF16)
    throw UsageError(
        cat("convolution on a GPU computes f32, f16 or bf16, got ", name(p.dtype), "; cast the operands"));
  ConvCall c;
  c.pass = pass;
  c.dtype = p.dtype;
  c.geometry = conv_geometry(p);
  c.tf32 = p.allow_tf32 && p.dtype == DType::F32;
  c.first = first;
  c.second = second;
  c.result = result;
  c.epilogue = epilogue;
  c.workspace = workspace;
  if (is_pointwise(c.geometry)) {
    // The product's first operand has its rows: dy for the gradient of the weight.
    const bool turned = pass == ConvPass::GradWeight;
    matmul(pointwise(p, pass), turned ? second : first, turned ? first : second, result, epilogue, workspace,
           stream);
  } else if (is_depthwise(c.geometry)) {
    depthwise_conv(c, stream);
  } else if (p.dtype == DType::F32) {
    tile_conv_f32(c, stream);
  } else {
    tile_conv_half(c, stream);
  }
}

}  // namespace

ProductSizes conv_product(ConvPass pass, const ConvGeometry& g) {
  const std::int64_t outputs = g.images * g.oh * g.ow, inputs = g.images * g.h * g.w;
  const std::int64_t taps = std::int64_t{1} * g.kh * g.kw;
  switch (pass) {
    case ConvPass::Forward:
      return {outputs, g.og, taps * g.cg, g.groups};
    case ConvPass::GradInput:
      return {inputs, g.cg, taps * g.og, g.groups};
    case ConvPass::GradWeight:
      break;
  }
  return {g.og, taps * g.cg, outputs, g.groups};
}

std::size_t conv_forward_workspace(const ConvProblem& problem, ScalarOp activation) {
  return workspace_of(problem, ConvPass::Forward, activation);
}
std::size_t conv_grad_input_workspace(const ConvProblem& problem) {
  return workspace_of(problem, ConvPass::GradInput, ScalarOp::None);
}
std::size_t conv_grad_weight_workspace(const ConvProblem& problem) {
  return workspace_of(problem, ConvPass::GradWeight, ScalarOp::None);
}

void conv_forward(const ConvProblem& problem, const void* x, const void* w, void* y, const Epilogue& epilogue,
                  void* workspace, const Stream& stream) {
  run(problem, ConvPass::Forward, x, w, y, epilogue, workspace, stream);
}
void conv_grad_input(const ConvProblem& problem, const void* dy, const void* w, void* dx, void* workspace,
                     const Stream& stream) {
  run(problem, ConvPass::GradInput, dy, w, dx, {}, workspace, stream);
}
void conv_grad_weight(const ConvProblem& problem, const void* x, const void* dy, void* dw, void* workspace,
                      const Stream& stream) {
  run(problem, ConvPass::GradWeight, x, dy, dw, {}, workspace, stream);
}

}  // namespace ingot::cuda
