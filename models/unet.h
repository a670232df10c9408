// U-Net: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv
// 1505.04597, with batch norm and padded convolutions, and with the keys and shapes of the `unet` that
// torch.hub loads from mateuszbuda/brain-segmentation-pytorch (Buda et al., arXiv 1906.03720), whose weights
// load as they are.
//
// It gives logits where that one gives their sigmoid.
//
//   auto net = make_unet({.classes = 1}, 3);
//   Value logits = (*net)(x);                 // x: f32[N, 3, H, W] -> [N, 1, H, W], H and W multiples of 16
//   Value loss = bce_with_logits(logits, mask) + dice_loss(sigmoid(logits), mask);
#pragma once

#include <cstdint>
#include <memory>

#include "layers/module.h"

namespace ingot {

struct UNetConfig {
  std::int64_t classes = 1;    // channels of the result: one for a mask, or one a class
  std::int64_t features = 32;  // channels at full size; each of the four halvings doubles them
};

std::shared_ptr<Module> make_unet(const UNetConfig& config, std::int64_t in_channels);

}  // namespace ingot
