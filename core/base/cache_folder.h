// Where programs of Ingot keep what can be made again: compiled kernels, measured choices, measured machines.
#pragma once

#include <cstdlib>
#include <string>

namespace ingot {

// $INGOT_CACHE_DIR, else $XDG_CACHE_HOME/ingot, else ~/.cache/ingot; "" when none of them is set.
inline std::string cache_folder() {
  const auto variable = [](const char* name) {
    const char* v = std::getenv(name);
    return std::string(v != nullptr ? v : "");
  };
  if (const std::string own = variable("INGOT_CACHE_DIR"); !own.empty()) return own;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/ingot";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/ingot";
  return "";
}

}  // namespace ingot
