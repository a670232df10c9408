// Residual networks: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385;
// with groups Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv 1611.05431
// (ResNeXt); with more than 64 channels per group Zagoruyko, Komodakis, "Wide Residual Networks", arXiv
// 1605.07146.
//
// Keys and shapes of the ImageNet nets are torchvision's (stride on the 3x3 convolution of a bottleneck:
// "v1.5"). The CIFAR net (section 4.2 of the paper) uses the same key names, and a 1x1 convolution + batch
// norm where the shape changes.
//
//   auto resnext = make_resnet({.bottleneck = true, .blocks = {3, 4, 6, 3}, .groups = 32, .width_per_group =
//   4},
//                              3, 1000);
#pragma once

#include <array>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct ResNetConfig {
  bool bottleneck = false;
  std::array<std::int64_t, 4> blocks{2, 2, 2, 2};
  // Of bottlenecks: a 3x3 convolution has `groups` groups of width_per_group channels in the first stage.
  std::int64_t groups = 1, width_per_group = 64;
};

std::shared_ptr<Module> make_resnet(const ResNetConfig& config, std::int64_t in_channels,
                                    std::int64_t num_classes);
// 6 n + 2 layers: n = 3 is ResNet-20.
std::shared_ptr<Module> make_cifar_resnet(std::int64_t n, std::int64_t in_channels, std::int64_t num_classes);

}  // namespace ingot
