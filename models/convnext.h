// ConvNeXt: Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545, with the keys and shapes of
// torchvision's. Stochastic depth rises linearly from 0 at the first block to `drop` at the last. Images of
// 32 x 32 or more.
//
//   auto tiny = make_convnext({}, 3, 1000);
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct ConvNextConfig {
  std::array<std::int64_t, 4> channels{96, 192, 384, 768}, blocks{3, 3, 9, 3};
  double drop = 0.1;
};

std::shared_ptr<Module> make_convnext(const ConvNextConfig& config, std::int64_t in_channels,
                                      std::int64_t num_classes);

}  // namespace ingot
