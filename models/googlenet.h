// GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, with batch norm and with the
// keys and shapes of torchvision's main branch. The two auxiliary classifiers, which only training would use,
// are left out. As in torchvision, the branch of 5x5 convolutions has 3x3 ones. Images of 15 x 15 or more.
//
//   auto net = make_googlenet(3, 1000);
#pragma once

#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

std::shared_ptr<Module> make_googlenet(std::int64_t in_channels, std::int64_t num_classes);

}  // namespace ingot
