// Residual networks: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
//
// Keys and shapes of the ImageNet nets are torchvision's (stride on the 3x3 convolution of a bottleneck:
// "v1.5"). The CIFAR net (section 4.2 of the paper) uses the same key names, and a 1x1 convolution + batch
// norm where the shape changes.
#pragma once

#include <array>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct ResNetConfig {
  bool bottleneck = false;
  std::array<std::int64_t, 4> blocks{2, 2, 2, 2};
};

std::shared_ptr<Module> make_resnet(const ResNetConfig& config, std::int64_t in_channels,
                                    std::int64_t num_classes);
// 6 n + 2 layers: n = 3 is ResNet-20.
std::shared_ptr<Module> make_cifar_resnet(std::int64_t n, std::int64_t in_channels, std::int64_t num_classes);

}  // namespace ingot
