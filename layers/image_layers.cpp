#include "layers/image_layers.h"

#include "core/ops/conv_transpose.h"
#include "core/ops/normalize.h"
#include "core/ops/rearrange.h"
#include "core/ops/resize.h"
#include "layers/detail/checks.h"

namespace ingot {

using detail::require_positive;
using detail::titled;
using detail::uniform_bound;

ConvTranspose2d::ConvTranspose2d(std::string name, std::int64_t in_channels, std::int64_t out_channels,
                                 Pair kernel_size, ConvTranspose2dOptions options)
    : Layer(std::move(name)),
      in_(in_channels),
      out_(out_channels),
      kernel_(kernel_size),
      options_(std::move(options)) {
  detail::check_convolution(titled("ConvTranspose2d", this->name()), in_, out_, kernel_.h, kernel_.w,
                            options_.groups);
}

Value ConvTranspose2d::forward(Value x) {
  // PyTorch counts the weight's second axis as what comes in.
  const std::int64_t fan_in = out_ / options_.groups * kernel_.h * kernel_.w;
  const TensorType weight_type{DType::F32, {in_, out_ / options_.groups, kernel_.h, kernel_.w}};
  const Value w =
      parameter(x.graph(), "weight", weight_type, options_.weight_init.value_or(uniform_bound(fan_in)));
  Value bias;
  if (options_.bias) bias = parameter(x.graph(), "bias", {DType::F32, {out_}}, uniform_bound(fan_in));
  ConvTranspose2dArgs args;
  args.stride = options_.stride.array();
  args.padding = options_.padding.array();
  args.output_padding = options_.output_padding.array();
  args.dilation = options_.dilation.array();
  args.groups = options_.groups;
  return conv_transpose2d(x, w, bias, args);
}

GroupNorm::GroupNorm(std::string name, std::int64_t num_groups, std::int64_t num_channels,
                     GroupNormOptions options)
    : Layer(std::move(name)), groups_(num_groups), channels_(num_channels), options_(options) {
  const std::string title = titled("GroupNorm", this->name());
  require_positive(title, "num_groups", groups_);
  require_positive(title, "num_channels", channels_);
  if (channels_ % groups_ != 0)
    throw UsageError(cat(title, ": num_channels ", channels_, " must be a multiple of num_groups ", groups_));
}

Value GroupNorm::forward(Value x) {
  if (!options_.affine) return group_norm(x, groups_, {}, {}, options_.eps);
  const TensorType per_channel{DType::F32, {channels_}};
  const Value gamma = parameter(x.graph(), "weight", per_channel, Init::constant(1.0));
  const Value beta = parameter(x.graph(), "bias", per_channel, Init::constant(0.0));
  return group_norm(x, groups_, gamma, beta, options_.eps);
}

InstanceNorm2d::InstanceNorm2d(std::string name, std::int64_t num_features, InstanceNormOptions options)
    : Layer(std::move(name)), features_(num_features), options_(options) {
  require_positive(titled("InstanceNorm2d", this->name()), "num_features", features_);
}

Value InstanceNorm2d::forward(Value x) {
  if (!options_.affine) return instance_norm(x, {}, {}, options_.eps);
  const TensorType per_channel{DType::F32, {features_}};
  const Value gamma = parameter(x.graph(), "weight", per_channel, Init::constant(1.0));
  const Value beta = parameter(x.graph(), "bias", per_channel, Init::constant(0.0));
  return instance_norm(x, gamma, beta, options_.eps);
}

LocalResponseNorm::LocalResponseNorm(std::int64_t size, double alpha, double beta, double k)
    : size_(size), alpha_(alpha), beta_(beta), k_(k) {
  require_positive("LocalResponseNorm", "size", size);
}

Value LocalResponseNorm::forward(Value x) {
  return local_response_norm(x, size_, {.alpha = alpha_, .beta = beta_, .k = k_});
}

Upsample::Upsample(UpsampleOptions options) : options_(std::move(options)) {}

Value Upsample::forward(Value x) {
  InterpolateArgs args;
  if (options_.size) args.size = options_.size->array();
  if (options_.scale_factor) args.scale_factor = {*options_.scale_factor, *options_.scale_factor};
  args.mode = options_.mode;
  args.align_corners = options_.align_corners;
  return interpolate(x, args);
}

PixelShuffle::PixelShuffle(std::int64_t upscale_factor) : factor_(upscale_factor) {
  require_positive("PixelShuffle", "upscale_factor", factor_);
}
Value PixelShuffle::forward(Value x) {
  return pixel_shuffle(x, factor_);
}

PixelUnshuffle::PixelUnshuffle(std::int64_t downscale_factor) : factor_(downscale_factor) {
  require_positive("PixelUnshuffle", "downscale_factor", factor_);
}
Value PixelUnshuffle::forward(Value x) {
  return pixel_unshuffle(x, factor_);
}

}  // namespace ingot
