// What the optimisers check of their options, and the part that they share.
#pragma once

#include <string_view>

#include "optim/optimizer.h"

namespace ingot::detail {

inline void require_nonnegative(std::string_view optimizer, std::string_view what, double v) {
  if (!(v >= 0.0)) throw UsageError(cat(optimizer, ": ", what, " must not be negative, got ", v));
}

inline void require_fraction(std::string_view optimizer, std::string_view what, double v) {
  if (!(v >= 0.0 && v < 1.0)) throw UsageError(cat(optimizer, ": ", what, " must be in [0, 1), got ", v));
}

template <class O>
OptimizerOptions common(const O& o) {
  return {o.lr, o.weight_decay, o.schedule, o.clip_norm, o.groups, o.clip_value, o.ema_decay};
}

}  // namespace ingot::detail
