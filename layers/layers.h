// The layers of this library, with PyTorch's names, arguments, defaults and initialisation.
//
// The first argument is the layer's name inside its module, the last a struct of options:
//
//   Conv2d conv{"conv1", 3, 64, 7, {.stride = 2, .padding = 3, .bias = false}};
//   BatchNorm2d bn{"bn1", 64};
//   Value y = relu(bn(conv(x)));        // x: f32[N, 3, H, W]
//
// Tensors are f32 here; precision is a compile option. Wrong shapes throw ShapeError with the layer's name
// and the calling line.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "layers/module.h"

namespace ingot {

// One number for both spatial axes, or {height, width}.
struct Pair {
  std::int64_t h = 0, w = 0;
  Pair(std::int64_t both) : h(both), w(both) {}
  Pair(int both) : h(both), w(both) {}
  Pair(std::int64_t height, std::int64_t width) : h(height), w(width) {}
  std::array<std::int64_t, 2> array() const { return {h, w}; }
};

struct Conv2dOptions {
  Pair stride = 1, padding = 0, dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
  std::optional<Init> weight_init{}, bias_init{};  // default: U(-b, b), b = 1 / sqrt(fan_in)
};

// x[N, in, H, W] -> [N, out, H', W'], H' = (H + 2 padding - dilation (kernel - 1) - 1) / stride + 1.
// Parameters: weight[out, in / groups, kh, kw], bias[out].
class Conv2d : public Layer {
 public:
  Conv2d(std::string name, std::int64_t in_channels, std::int64_t out_channels, Pair kernel_size,
         Conv2dOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t in_, out_;
  Pair kernel_;
  Conv2dOptions options_;
};

struct LinearOptions {
  bool bias = true;
  std::optional<Init> weight_init{}, bias_init{};  // default: U(-1 / sqrt(in), 1 / sqrt(in))
};

// x[..., in] -> [..., out]: x W^T + b. Parameters: weight[out, in], bias[out].
class Linear : public Layer {
 public:
  Linear(std::string name, std::int64_t in_features, std::int64_t out_features, LinearOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t in_, out_;
  LinearOptions options_;
};

struct BatchNormOptions {
  double eps = 1e-5, momentum = 0.1;
  double weight_init = 1.0;
};

// x[N, C, ...], normalised per channel (Ioffe, Szegedy, arXiv 1502.03167). Training: with the batch's
// statistics, over the real rows only when the batch is padded; running_mean and running_var follow with
// `momentum`, once per call. Parameters: weight[C], bias[C]; buffers: running_mean[C], running_var[C],
// num_batches_tracked (i64 scalar).
class BatchNorm2d : public Layer {
 public:
  BatchNorm2d(std::string name, std::int64_t num_features, BatchNormOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t features_;
  BatchNormOptions options_;
};
using BatchNorm1d = BatchNorm2d;

// Over the last axes, whose sizes are `normalized_shape` (Ba, Kiros, Hinton, arXiv 1607.06450). Parameters:
// weight, bias of that shape.
class LayerNorm : public Layer {
 public:
  LayerNorm(std::string name, Shape normalized_shape, double eps = 1e-5);

 protected:
  Value forward(Value x) override;

 private:
  Shape shape_;
  double eps_;
};

// Training: each element is zero with probability p, the others are scaled by 1 / (1 - p); p = 1 gives
// zeros. Otherwise the identity.
class Dropout : public Layer {
 public:
  explicit Dropout(std::string name, double p = 0.5);

 protected:
  Value forward(Value x) override;

 private:
  double p_;
};

// torchvision's, in its mode "row" (Huang et al., arXiv 1603.09382). Training: each row of the batch, one
// sample's branch, is zero with probability p, the others are scaled by 1 / (1 - p); p = 1 gives zeros.
// Otherwise the identity.
class StochasticDepth : public Layer {
 public:
  explicit StochasticDepth(double p);

 protected:
  Value forward(Value x) override;

 private:
  double p_;
};

// indices (i32 or i64) [...] -> [..., dim]. Parameter: weight[num, dim], N(0, 1).
class Embedding : public Layer {
 public:
  Embedding(std::string name, std::int64_t num_embeddings, std::int64_t embedding_dim);

 protected:
  Value forward(Value indices) override;

 private:
  std::int64_t num_, dim_;
};

struct PoolOptions {
  std::optional<Pair> stride{};  // default: the kernel size
  Pair padding = 0;
  Pair dilation = 1;  // max only
  bool ceil_mode = false;
  bool count_include_pad = true;  // average only
};

class MaxPool2d : public Layer {
 public:
  explicit MaxPool2d(Pair kernel_size, PoolOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  Pair kernel_;
  PoolOptions options_;
};

class AvgPool2d : public Layer {
 public:
  explicit AvgPool2d(Pair kernel_size, PoolOptions options = {});

 protected:
  Value forward(Value x) override;

 private:
  Pair kernel_;
  PoolOptions options_;
};

class AdaptiveAvgPool2d : public Layer {
 public:
  explicit AdaptiveAvgPool2d(Pair output_size);

 protected:
  Value forward(Value x) override;

 private:
  Pair size_;
};

// x[N, ...] -> [N, rest].
class Flatten : public Layer {
 public:
  explicit Flatten(std::int64_t start_dim = 1);

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t start_;
};

// An elementwise function as a layer: Activation("relu"), Activation("gelu"), ... any unary row of
// core/expr/scalar_ops.def.
class Activation : public Layer {
 public:
  explicit Activation(std::string function);

 protected:
  Value forward(Value x) override;

 private:
  std::string function_;
};

class ReLU : public Activation {
 public:
  ReLU() : Activation("relu") {}
};
class GELU : public Activation {
 public:
  GELU() : Activation("gelu") {}
};
class SiLU : public Activation {
 public:
  SiLU() : Activation("silu") {}
};
class Hardswish : public Activation {
 public:
  Hardswish() : Activation("hard_swish") {}
};
class Hardsigmoid : public Activation {
 public:
  Hardsigmoid() : Activation("hard_sigmoid") {}
};
class Tanh : public Activation {
 public:
  Tanh() : Activation("tanh") {}
};
class Sigmoid : public Activation {
 public:
  Sigmoid() : Activation("sigmoid") {}
};

// min(max(x, 0), 6), whose gradient at both kinks is 0, as PyTorch's.
class ReLU6 : public Layer {
 protected:
  Value forward(Value x) override;
};

class Softmax : public Layer {
 public:
  explicit Softmax(std::int64_t axis = -1);

 protected:
  Value forward(Value x) override;

 private:
  std::int64_t axis_;
};

// The generator state {seed, offset} (i64[2], named "generator") that random layers share; its offset
// advances once per step.
Value generator(Graph& graph);

// He et al., arXiv 1502.01852: N(0, sqrt(2 / (out_channels kh kw))), as torchvision's ResNets start.
Init kaiming_normal_fan_out(std::int64_t out_channels, Pair kernel);

}  // namespace ingot
