// SqueezeNet: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB
// model size", arXiv 1602.07360, with the keys and shapes of torchvision's. Version 1.1, by the same authors,
// pools earlier: 2.3 times less work, the same accuracy. Images of 21 x 21 (1.0) or 17 x 17 (1.1) or more.
//
//   auto net = make_squeezenet(SqueezeNetVersion::V1_1, 3, 1000);
#pragma once

#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

enum class SqueezeNetVersion { V1_0, V1_1 };

std::shared_ptr<Module> make_squeezenet(SqueezeNetVersion version, std::int64_t in_channels,
                                        std::int64_t num_classes);

}  // namespace ingot
