// DenseNet-BC: Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, with the keys and
// shapes of torchvision's. Images of 29 x 29 or more.
//
//   auto densenet169 = make_densenet({.layers = {6, 12, 32, 32}}, 3, 1000);
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct DenseNetConfig {
  std::array<std::int64_t, 4> layers{6, 12, 24, 16};  // of each block
  std::int64_t growth = 32;                           // channels that a layer adds
  std::int64_t stem = 64;                             // channels of the first convolution
  std::int64_t bottleneck = 4;                        // a layer's 1x1 convolution has bottleneck * growth
};

std::shared_ptr<Module> make_densenet(const DenseNetConfig& config, std::int64_t in_channels,
                                      std::int64_t num_classes);

}  // namespace ingot
