// Layers for images beside those of layers/layers.h: transposed convolution, normalisation by groups,
// instances and neighbours, resizing, and space exchanged with channels. PyTorch's names, arguments, defaults
// and initialisation.
//
//   ConvTranspose2d up{"up", 64, 32, 2, {.stride = 2}};
//   GroupNorm norm{"norm", 8, 32};
//   Value y = relu(norm(up(x)));        // f32[N, 64, H, W] -> f32[N, 32, 2 H, 2 W]
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "layers/layers.h"

namespace ingot {

struct ConvTranspose2dOptions {
  Pair stride = 1, padding = 0, output_padding = 0, dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
  std::optional<Init> weight_init{};  // default: U(-b, b), b = 1 / sqrt(out / groups kh kw)
};

// x[N, in, H, W] -> [N, out, H', W'], H' = (H - 1) stride - 2 padding + dilation (kernel - 1) + 1 +
// output_padding. Parameters: weight[in, out / groups, kh, kw], bias[out].
class ConvTranspose2d : public Layer {
 public:
  ConvTranspose2d(std::string name, std::int64_t in_channels, std::int64_t out_channels, Pair kernel_size,
                  ConvTranspose2dOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t in_, out_;
  Pair kernel_;
  ConvTranspose2dOptions options_;
};

struct GroupNormOptions {
  double eps = 1e-5;
  bool affine = true;
};

// x[N, C, ...], normalised over each of num_groups groups of channels of each sample. Parameters, where
// affine: weight[C], bias[C].
class GroupNorm : public Layer {
 public:
  GroupNorm(std::string name, std::int64_t num_groups, std::int64_t num_channels,
            GroupNormOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t groups_, channels_;
  GroupNormOptions options_;
};

struct InstanceNormOptions {
  double eps = 1e-5;
  bool affine = false;
};

// x[N, C, ...], every channel of every sample normalised by itself, in training and in inference. Parameters,
// where affine: weight[C], bias[C].
class InstanceNorm2d : public Layer {
 public:
  InstanceNorm2d(std::string name, std::int64_t num_features, InstanceNormOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t features_;
  InstanceNormOptions options_;
};

// x / (k + alpha / size sum of squares of `size` neighbouring channels)^beta (core/ops/normalize.h).
class LocalResponseNorm : public Layer {
 public:
  explicit LocalResponseNorm(std::int64_t size, double alpha = 1e-4, double beta = 0.75, double k = 1.0);

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t size_;
  double alpha_, beta_, k_;
};

// x[N, C, H, W] at another size (core/ops/resize.h): exactly one of size and scale_factor.
struct UpsampleOptions {
  std::optional<Pair> size{};
  std::optional<double> scale_factor{};
  std::string mode = "nearest";  // "nearest", "nearest-exact", "bilinear"
  bool align_corners = false;
};
class Upsample : public Layer {
 public:
  explicit Upsample(UpsampleOptions options);

 protected:
  Value forward(Value x) override;

 private:
  UpsampleOptions options_;
};

// x[N, C r^2, H, W] -> [N, C, H r, W r], and back.
class PixelShuffle : public Layer {
 public:
  explicit PixelShuffle(std::int64_t upscale_factor);

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t factor_;
};
class PixelUnshuffle : public Layer {
 public:
  explicit PixelUnshuffle(std::int64_t downscale_factor);

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t factor_;
};

}  // namespace ingot
