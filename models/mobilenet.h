// MobileNets, with the keys and shapes of torchvision's:
//   V2  Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381
//   V3  Howard et al., "Searching for MobileNetV3", arXiv 1905.02244
//
//   auto net = make_mobilenet_v3(MobileNetV3Size::Small, 3, 1000);
#pragma once

#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

enum class MobileNetV3Size { Small, Large };

std::shared_ptr<Module> make_mobilenet_v2(std::int64_t in_channels, std::int64_t num_classes);
std::shared_ptr<Module> make_mobilenet_v3(MobileNetV3Size size, std::int64_t in_channels,
                                          std::int64_t num_classes);

}  // namespace ingot
