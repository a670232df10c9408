// What the layers' constructors check alike.
#pragma once

#include <string>
#include <string_view>

#include "core/base/error.h"

namespace ingot::detail {

// "Conv2d 'conv1'", or only the type for a layer that its place will name.
inline std::string titled(std::string_view type, const std::string& name) {
  return name.empty() ? std::string(type) : cat(type, " '", name, "'");
}

inline void require_positive(const std::string& layer, std::string_view what, std::int64_t v) {
  if (v <= 0) throw UsageError(cat(layer, ": ", what, " must be positive, got ", v));
}

}  // namespace ingot::detail
