// VGG: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv
// 1409.1556, with the keys and shapes of torchvision's. Images of 32 x 32 or more.
//
//   auto vgg16 = make_vgg({.convolutions = {2, 2, 3, 3, 3}}, 3, 1000);
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct VggConfig {
  std::array<std::int64_t, 5> convolutions{1, 1, 2, 2, 2};  // 3x3, before each of the five poolings
  bool batch_norm = false;
  std::int64_t hidden = 4096;  // units of the two hidden linear layers
};

std::shared_ptr<Module> make_vgg(const VggConfig& config, std::int64_t in_channels, std::int64_t num_classes);

}  // namespace ingot
