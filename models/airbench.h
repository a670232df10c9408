// airbench94, the network that Keller Jordan's airbench trains to 94 % on CIFAR-10 in a few seconds of a GPU:
// "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, with the keys and shapes of its code.
// A 2x2 convolution whose filters whiten the images' patches and are not trained, three groups of two 3x3
// convolutions with 64, 256 and 256 channels, batch norms of which only the bias is trained, and a linear
// layer whose logits are divided by 9. Images of 25 x 25 or more.
//
//   auto states = session.states();  // of a step that freezes airbench_frozen(): train/freeze.h
//   start_airbench(states, images);  // f32[N, 3, 32, 32], normalised
//   for (const auto& [key, t] : states) session.set_state(key, t);
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/ir/tensor.h"
#include "layers/module.h"

namespace ingot {

std::shared_ptr<Module> make_airbench94(std::int64_t in_channels, std::int64_t image_size,
                                        std::int64_t num_classes);

// The state-dict keys, as patterns, that the paper does not train.
std::vector<std::string> airbench_frozen();

// The paper's start: filters that whiten the patches of `images` (f32[N, C, H, W], normalised; some thousand
// are enough), and convolutions whose first filters hand their channels on (Dirac's). Throws UsageError where
// `states` are not this network's, ShapeError where the images are not its own.
void start_airbench(std::map<std::string, Tensor>& states, const Tensor& images);

}  // namespace ingot
