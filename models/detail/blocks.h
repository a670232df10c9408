// What several networks of the zoo are built from, with the state-dict keys of torchvision.ops.misc and the
// initialisation of torchvision's models. Not public: users compose layers.
//
// Convolutions keep the size of the image where the stride is 1, have no bias where a batch norm follows, and
// start from He's normal distribution by fan-out.
//
//   ConvNorm stem{"0", 3, 32, {.kernel = 3, .stride = 2, .activation = Act::Relu6}};
//   Value y = stem(x);                       // 0.0.weight, 0.1.weight, 0.1.running_mean, ...
#pragma once

#include <cstdint>
#include <string>

#include "layers/layers.h"

namespace ingot::detail {

enum class Act { None, Relu, Relu6, HardSwish, Silu };
Value activate(Value x, Act act);

Conv2d conv_without_bias(std::string name, std::int64_t in, std::int64_t out, std::int64_t kernel,
                         std::int64_t stride = 1, std::int64_t groups = 1);

// Global average pooling: x[N, C, H, W] -> [N, C].
Value pooled(Value x, SourceLoc loc = SourceLoc::current());

// The nearest multiple of 8, at least 8 and not below 0.9 v (torchvision's _make_divisible).
std::int64_t multiple_of_8(double v);

struct ConvNormOptions {
  std::int64_t kernel = 3, stride = 1, groups = 1;
  Act activation = Act::Relu;
  BatchNormOptions norm{};
};

// torchvision's Conv2dNormActivation: convolution "0", batch norm "1", the function without parameters.
class ConvNorm final : public Module {
 public:
  ConvNorm(std::string name, std::int64_t in, std::int64_t out, const ConvNormOptions& options);

 protected:
  Value forward(Value x) override;

 private:
  Conv2d conv_;
  BatchNorm2d norm_;
  Act act_;
};

// MobileNetV3's block, which EfficientNet calls MBConv: a 1x1 convolution to `expanded` channels where those
// are more, a depthwise one, squeeze-and-excitation (arXiv 1709.01507) through `squeeze` channels unless that
// is 0, and a linear 1x1 convolution to `out`; added to x where stride and channels allow it.
struct InvertedResidualConfig {
  std::int64_t in = 0, expanded = 0, out = 0, kernel = 3, stride = 1, squeeze = 0;
  Act activation = Act::Relu;
  // Of squeeze-and-excitation: the function between its convolutions, and whether the gate is hard_sigmoid.
  Act squeeze_activation = Act::Relu;
  bool hard_gate = false;
  double drop = 0.0;  // stochastic depth
  BatchNormOptions norm{};
};

// Keys: block.<i>.<0 or 1> for the convolutions, block.<i>.fc1 and .fc2 for squeeze-and-excitation.
class InvertedResidual final : public Module {
 public:
  InvertedResidual(std::string name, const InvertedResidualConfig& config);

 protected:
  Value forward(Value x) override;

 private:
  Sequential block_;
  StochasticDepth drop_;
  bool adds_;
};

}  // namespace ingot::detail
