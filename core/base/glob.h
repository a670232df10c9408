// Patterns for names of states: '*' stands for any run of characters, dots included, everything else for
// itself.
//
//   glob_match("layer1.*", "layer1.0.conv1.weight");   // true
//   glob_match("*.bias", "fc.weight");                 // false
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ingot {

bool glob_match(std::string_view pattern, std::string_view text);
bool any_glob_matches(std::span<const std::string> patterns, std::string_view text);

}  // namespace ingot
