// EfficientNet: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv
// 1905.11946, with the keys and shapes of torchvision's. Stochastic depth rises from block to block up to
// 0.2 (blocks - 1) / blocks.
//
//   auto b2 = make_efficientnet({.width = 1.1, .depth = 1.2, .dropout = 0.3}, 3, 1000);
#pragma once

#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct EfficientNetConfig {
  double width = 1.0, depth = 1.0;  // factors on B0's channels and blocks
  double dropout = 0.2;             // before the classifier
};

std::shared_ptr<Module> make_efficientnet(const EfficientNetConfig& config, std::int64_t in_channels,
                                          std::int64_t num_classes);

}  // namespace ingot
