// Small networks for 28 x 28 images: a perceptron, LeNet-5 and a plain convolutional net.
#pragma once

#include <memory>

#include "layers/module.h"

namespace ingot {

// flatten, fc1 -> 256, relu, fc2 -> 128, relu, fc3.
std::shared_ptr<Module> make_mlp(std::int64_t in_features, std::int64_t num_classes);
// LeCun et al., "Gradient-based learning applied to document recognition", 1998, with ReLU and max-pooling.
// Images of 14 x 14 or more.
std::shared_ptr<Module> make_lenet5(std::int64_t in_channels, std::int64_t image_size,
                                    std::int64_t num_classes);
// Three stages of 3x3 convolution + batch norm + ReLU + 2x2 max-pooling with 32, 64 and 128 channels, one
// linear layer. Images of 8 x 8 or more.
std::shared_ptr<Module> make_simple_cnn(std::int64_t in_channels, std::int64_t image_size,
                                        std::int64_t num_classes);

}  // namespace ingot
