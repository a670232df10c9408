// What layers share: their constructors' checks and PyTorch's initial range.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/ir/graph.h"

namespace ingot::detail {

// "Conv2d 'conv1'", or only the type for a layer that its place will name.
inline std::string titled(std::string_view type, const std::string& name) {
  return name.empty() ? std::string(type) : cat(type, " '", name, "'");
}

inline void require_positive(const std::string& layer, std::string_view what, std::int64_t v) {
  if (v <= 0) throw UsageError(cat(layer, ": ", what, " must be positive, got ", v));
}

// Of a convolution, transposed or not.
inline void check_convolution(const std::string& layer, std::int64_t in_channels, std::int64_t out_channels,
                              std::int64_t kernel_h, std::int64_t kernel_w, std::int64_t groups) {
  require_positive(layer, "in_channels", in_channels);
  require_positive(layer, "out_channels", out_channels);
  require_positive(layer, "kernel height", kernel_h);
  require_positive(layer, "kernel width", kernel_w);
  require_positive(layer, "groups", groups);
  if (in_channels % groups != 0 || out_channels % groups != 0)
    throw UsageError(cat(layer, ": in_channels ", in_channels, " and out_channels ", out_channels,
                         " must be multiples of groups ", groups));
}

// Within 1 / sqrt(fan_in) of 0.
inline Init uniform_bound(std::int64_t fan_in) {
  const double b = fan_in > 0 ? 1.0 / std::sqrt(static_cast<double>(fan_in)) : 0.0;
  return Init::uniform(-b, b);
}

}  // namespace ingot::detail
