// MixUp and CutMix: every row of a batch is mixed with the row before it, the first with the last.
//
//   const double share = mix_rows(rows, transform.output_type(), count, augment, draws, spare);
#pragma once

#include <vector>

#include "core/ir/type.h"
#include "data/augment.h"
#include "data/draws.h"

namespace ingot::detail {

inline bool mixes(const Augment& augment) {
  return augment.mixup > 0.0 || augment.cutmix > 0.0;
}

// Throws UsageError unless the samples are f32 images and the strengths are numbers of at least 0.
void check_mixing(const Augment& augment, const TensorType& sample, const TensorType& target);

// Mixes `count` samples that lie one behind the other, and returns the share of itself that each keeps.
double mix_rows(float* rows, const TensorType& sample, std::int64_t count, const Augment& augment,
                Draws& draws, std::vector<float>& spare);

}  // namespace ingot::detail
