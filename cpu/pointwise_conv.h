// The gradient of a pointwise convolution's weight, f32: one product of two images whose pixels are summed
// over.
//
//   dw[o, c] = sum over pixels p of x[p, c] dy[p, o]
//
// The images lie channels-last, 1 x 1 taps one pixel apart, without padding or groups. Each thread sums a
// share of the pixels, so the result depends on the number of threads, as any order of additions does. Null
// where the channels do not fill vectors, or are so many that oneDNN's kernel does well.
//
//   if (auto step = make_pointwise_grad_weight(p.in(0), p.in(1), p.out(), threads)) return step;
#pragma once

#include <memory>

#include "core/ir/tensor.h"
#include "core/runtime/step.h"

namespace ingot::cpu {

std::unique_ptr<Step> make_pointwise_grad_weight(const TensorType& x, const TensorType& dy,
                                                 const TensorType& dw, int threads);

}  // namespace ingot::cpu
