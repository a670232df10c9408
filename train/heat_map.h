// Attributions as pictures.
//
//   const Tensor heat = heat_map(attribution.values);           // f32[H, W] in [0, 1]
//   write_png("why.png", heat_overlay(pixels, heat));           // pixels: u8[3, H, W] or u8[1, H, W]
#pragma once

#include "core/ir/tensor.h"

namespace ingot {

enum class HeatSign {
  Absolute,  // what changes the score, either way: gradients
  Positive,  // what speaks for the class
};

// The sum over the channels of `attribution` [C, H, W], of that sign, over its 98th percentile and at most 1:
// a few extreme pixels do not make the others dark (Captum's visualisation leaves out as many). All 0 where
// nothing has that sign. Values that are not finite throw NumericError.
Tensor heat_map(const Tensor& attribution, HeatSign sign = HeatSign::Absolute);

// u8[3, H, W]: the picture in grey, and over it the heat from blue over green to red, the denser the hotter.
Tensor heat_overlay(const Tensor& pixels, const Tensor& heat, double opacity = 0.7);

}  // namespace ingot
