// What the convolution kernels are told of a node: conv2d, its gradients, and those that make batch norm's
// sums.
//
//   const ConvProblem q = problem_of(p, p.attrs<Conv2dAttrs>(), p.in(0).shape, p.in(1).shape);
#pragma once

#include "core/runtime/lowering.h"
#include "cuda/kernels/conv.h"

namespace ingot::cuda {

// `x` and `w`: the shapes of the image that is convolved, or its gradient, and of the weight, or its
// gradient.
template <class A>
ConvProblem problem_of(const Problem& p, const A& a, const Shape& x, const Shape& w) {
  ConvProblem q;
  q.dtype = p.in(0).dtype;
  q.n = x[0], q.c = x[1], q.h = x[2], q.w = x[3];
  q.o = w[0], q.kh = w[2], q.kw = w[3];
  q.stride = a.stride, q.padding = a.padding, q.dilation = a.dilation;
  q.groups = a.groups;
  q.allow_tf32 = p.target.allow_tf32;
  return q;
}

}  // namespace ingot::cuda
