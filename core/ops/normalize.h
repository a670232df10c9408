// Normalisations as functions: over groups of channels and over each image's channels (both the op
// group_norm), over neighbouring channels, of rows by their mean square, and of vectors to length 1 (made of
// other ops).
//
// Names and arguments are those of torch.nn.functional. Gradients are those of the ops they are made of.
//
//   Value y = group_norm(x, 32, gamma, beta);
//   Value unit = normalize(features, 2.0, 1);
#pragma once

#include <cstdint>
#include <optional>

#include "core/op/builder.h"

namespace ingot {

// x[N, C, ...], normalised over each group of C/num_groups channels of each sample with all their pixels,
// then scaled and shifted per channel (Wu and He 2018, arXiv 1803.08494): gamma and beta are [C], of x's
// dtype or f32; both empty mean 1 and 0. Throws ShapeError when num_groups does not divide the channels.
Value group_norm(Value x, std::int64_t num_groups, Value gamma = {}, Value beta = {}, double eps = 1e-5,
                 SourceLoc loc = SourceLoc::current());
// Every channel of every sample by itself (Ulyanov et al. 2016, arXiv 1607.08022): group_norm with one group
// a channel. No running statistics are kept. Throws ShapeError for a single pixel, as PyTorch does.
Value instance_norm(Value x, Value gamma = {}, Value beta = {}, double eps = 1e-5,
                    SourceLoc loc = SourceLoc::current());

// x / (k + alpha / size sum x^2)^beta, the sum over `size` neighbouring channels, of which size / 2 lie
// before the channel itself; those beyond the first and last count as 0 (Krizhevsky et al. 2012, section 3.3;
// as in PyTorch and ONNX LRN alpha is divided by the size). x[N, C, ...]. The sum is a 1x1 convolution by a
// band of ones: in the layout that the convolutions around it have, and no pass over memory more than they.
struct LocalResponseNormArgs {
  double alpha = 1e-4, beta = 0.75, k = 1.0;
};
Value local_response_norm(Value x, std::int64_t size, const LocalResponseNormArgs& args = {},
                          SourceLoc loc = SourceLoc::current());

// x / max(|x|_p, eps), the p-norm taken along `axis`; p is 1 or more, or infinity. The gradient at 0 is
// finite.
Value normalize(Value x, double p = 2.0, std::int64_t axis = 1, double eps = 1e-12,
                SourceLoc loc = SourceLoc::current());

// x / sqrt(mean x^2 + eps) weight, the mean taken over the last axes, whose sizes are `normalized_shape`
// (Zhang and Sennrich 2019, arXiv 1910.07467). weight has that shape and x's dtype or f32; empty: 1. eps is
// by default the epsilon of x's dtype, as in PyTorch. Throws ShapeError when x does not end in
// normalized_shape.
Value rms_norm(Value x, const Shape& normalized_shape, Value weight = {}, std::optional<double> eps = {},
               SourceLoc loc = SourceLoc::current());

}  // namespace ingot
